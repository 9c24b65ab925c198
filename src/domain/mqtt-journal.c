/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-journal.h"

#include <errno.h>

/* What a value costs on disk beside its own bytes: its key, and its place in a page. */
#define VALUE_OVERHEAD 256
#define VALUE_PAGE     4096
#define VALUE_CELL     60

static void put(MqttServer *s, uint8_t kind, uint64_t a, uint64_t b, Bytes value)
{
        const MqttKey key = { kind, a, b };
        s->n_changes++;
        s->port->put(&key, value, s->userdata);
}

static void forget(MqttServer *s, uint8_t kind, uint64_t a, uint64_t b)
{
        const MqttKey key = { kind, a, b };
        s->n_changes++;
        s->port->remove(&key, s->userdata);
}

/* A value grows in a buffer; where there is no memory for it the server cannot keep its word. */
static void put_built(MqttServer *s, uint8_t kind, uint64_t a, uint64_t b, Buf *value, int error)
{
        if (error < 0)
                s->port->failed(error, s->userdata);
        else
                put(s, kind, a, b, buf_view(value));
        buf_done(value);
}

/* The boot, a moment of its CLOCK_BOOTTIME, the same of CLOCK_REALTIME, how far away it is, and the
 * server's age now. */
static int put_moment(Buf *b, const MqttServer *s, usec_t moment, usec_t now)
{
        int r = buf_append_u64(b, s->config.boot);
        if (r >= 0)
                r = buf_append_u64(b, moment);
        if (r >= 0)
                r = buf_append_u64(b,
                                   moment == USEC_INFINITY ? moment : moment + s->realtime_offset);
        if (r >= 0)
                r = buf_append_u64(b, moment == USEC_INFINITY || moment < now ? 0 : moment - now);
        return r < 0 ? r : buf_append_u64(b, mqtt_server_age(s));
}

static int put_text(Buf *b, Bytes text)
{
        int r = buf_append_u32(b, (uint32_t)text.len);
        return r < 0 ? r : buf_append(b, text);
}

static int put_message(Buf *b, const MqttServer *s, const MqttMessage *m, bool span)
{
        int r = buf_append_u8(b, m->qos);
        if (r >= 0)
                r = buf_append_u8(b, m->retain);
        if (r >= 0)
                r = span ? buf_append_u64(b, m->expires) : put_moment(b, s, m->expires, s->now);
        if (r >= 0)
                r = put_text(b, m->topic);
        if (r >= 0)
                r = put_text(b, m->properties);
        return r < 0 ? r : put_text(b, m->payload);
}

void mqtt_journal_session(const MqttSession *s)
{
        Buf b = BUF_INIT(4096);
        int r = put_text(&b, bytes_from_str(s->device->name));
        if (r >= 0)
                r = put_text(&b, bytes_from_str(s->client_id));
        if (r >= 0)
                r = buf_append_u32(&b, s->expiry);
        if (r >= 0)
                r = buf_append_u8(&b, s->connection != NULL);
        if (r >= 0)
                r = buf_append_u64(&b, s->delivery.last_sent);
        if (r >= 0)
                r = put_moment(&b, s->server, s->ends, s->server->now);
        put_built(s->server, MQTT_KIND_SESSION, s->id, 0, &b, r);
}

void mqtt_journal_age(MqttServer *s)
{
        Buf b = BUF_INIT(sizeof(uint64_t));
        int r = buf_append_u64(&b, mqtt_server_age(s));
        put_built(s, MQTT_KIND_AGE, 1, 0, &b, r);
}

void mqtt_journal_remove_session(const MqttSession *s)
{
        forget(s->server, MQTT_KIND_SESSION, s->id, 0);
}

void mqtt_journal_subscription(const MqttSession *s, const MqttSubscriptionEntry *e)
{
        Buf b = BUF_INIT(8192);
        int r = put_text(&b, bytes_from_str(e->text));
        if (r >= 0)
                r = put_text(&b, bytes_from_str(e->filter));
        if (r >= 0)
                r = buf_append_u32(&b, (uint32_t)e->left_out);
        if (r >= 0)
                r = buf_append_u8(&b, e->qos);
        if (r >= 0)
                r = buf_append_u8(&b, (uint8_t)(e->no_local | e->retain_as_published << 1));
        if (r >= 0)
                r = buf_append_u32(&b, e->id);
        put_built(s->server, MQTT_KIND_SUBSCRIPTION, s->id, e->key, &b, r);
}

void mqtt_journal_remove_subscription(const MqttSession *s, const MqttSubscriptionEntry *e)
{
        forget(s->server, MQTT_KIND_SUBSCRIPTION, s->id, e->key);
}

/* As the store counts it (platform/store.h): only what is small fills a page that it shares. */
static uint64_t value_cost(uint64_t len)
{
        uint64_t in_page = VALUE_PAGE / (len + VALUE_CELL);
        if (in_page > 3)
                return VALUE_OVERHEAD + len;
        if (in_page > 0)
                return VALUE_OVERHEAD + VALUE_PAGE / in_page;
        return VALUE_OVERHEAD + ((len + VALUE_CELL) / (VALUE_PAGE - 4) + 1) * VALUE_PAGE;
}

uint64_t mqtt_journal_message_cost(const MqttMessage *m)
{
        return value_cost(mqtt_message_cost(m));
}

uint64_t mqtt_journal_queued_cost(const MqttQueued *e)
{
        return value_cost(sizeof(*e) + e->n_ids * sizeof(e->ids[0]));
}

static void put_shared_message(MqttServer *s, MqttMessage *m)
{
        Buf b = BUF_INIT(MQTT_PACKET_MAX);
        if (m->n_kept++ > 0)
                return;
        m->id = ++s->last_message;
        s->kept_bytes += mqtt_journal_message_cost(m);
        int r = put_message(&b, s, m, false);
        put_built(s, MQTT_KIND_MESSAGE, m->id, 0, &b, r);
}

static void put_entry(const MqttSession *s, const MqttQueued *e)
{
        Buf b = BUF_INIT(4096);
        int r = buf_append_u64(&b, e->message->id);
        if (r >= 0)
                r = buf_append_u16(&b, e->packet_id);
        if (r >= 0)
                r = buf_append_u8(&b, e->qos);
        if (r >= 0)
                r = buf_append_u8(&b, (uint8_t)e->stage);
        if (r >= 0)
                r = buf_append_u8(&b, (uint8_t)((e->retain ? MQTT_QUEUED_RETAIN : 0) |
                                                (e->share > 0 ? MQTT_QUEUED_SHARED : 0)));
        if (r >= 0)
                r = buf_append_u32(&b, (uint32_t)e->left_out);
        if (r >= 0 && e->share > 0)
                r = buf_append_u32(&b, e->share);
        for (size_t i = 0; i < e->n_ids && r >= 0; i++)
                r = buf_append_u32(&b, e->ids[i]);
        put_built(s->server, MQTT_KIND_QUEUED, s->id, e->order, &b, r);
}

void mqtt_journal_queued(const MqttSession *s, MqttQueued *e)
{
        put_shared_message(s->server, e->message);
        s->server->kept_bytes += mqtt_journal_queued_cost(e);
        put_entry(s, e);
}

void mqtt_journal_requeued(const MqttSession *s, const MqttQueued *e)
{
        put_entry(s, e);
}

static void forget_queued(MqttServer *s, uint8_t kind, uint64_t a, uint64_t b)
{
        const MqttKey key = { kind, a, b };
        int r = s->routed ? buf_append(&s->routed->removed, BYTES(&key, sizeof(key))) : 0;
        if (r < 0)
                s->port->failed(r, s->userdata);
        forget(s, kind, a, b);
}

void mqtt_journal_remove_again(const MqttPending *p)
{
        MqttKey key;
        for (Reader r = reader_new(buf_view(&p->removed)); reader_left(&r) > 0;) {
                memcpy(&key, reader_bytes(&r, sizeof(key)).data, sizeof(key));
                mqtt_journal_remove(p->server, &key);
        }
}

void mqtt_journal_remove_queued(const MqttSession *s, const MqttQueued *e)
{
        MqttServer *server = s->server;
        MqttMessage *m = e->message;
        server->kept_bytes -= mqtt_journal_queued_cost(e);
        forget_queued(server, MQTT_KIND_QUEUED, s->id, e->order);
        if (--m->n_kept > 0)
                return;
        server->kept_bytes -= mqtt_journal_message_cost(m);
        forget_queued(server, MQTT_KIND_MESSAGE, m->id, 0);
        m->id = 0;
}

void mqtt_journal_remove(MqttServer *s, const MqttKey *key)
{
        forget(s, key->kind, key->a, key->b);
}

void mqtt_journal_received(const MqttSession *s, uint16_t packet_id)
{
        put(s->server, MQTT_KIND_RECEIVED, s->id, packet_id, BYTES(NULL, 0));
}

void mqtt_journal_remove_received(const MqttSession *s, uint16_t packet_id)
{
        forget(s->server, MQTT_KIND_RECEIVED, s->id, packet_id);
}

void mqtt_journal_retained(MqttServer *s, const MqttRetained *r, const MqttMessage *m)
{
        Buf b = BUF_INIT(MQTT_PACKET_MAX);
        int e = put_text(&b, bytes_from_str(r->owner->name));
        if (e >= 0)
                e = put_message(&b, s, m, false);
        put_built(s, MQTT_KIND_RETAINED, r->id, 0, &b, e);
}

void mqtt_journal_remove_retained(MqttServer *s, const MqttRetained *r)
{
        forget(s, MQTT_KIND_RETAINED, r->id, 0);
}

/* The session: 0, none any more. */
static void put_will(MqttServer *s, const MqttWill *w, const char *device, const char *client_id,
                     uint64_t session)
{
        Buf b = BUF_INIT(MQTT_PACKET_MAX);
        uint8_t flags = session > 0 ? 0 : MQTT_WILL_WAITS | (w->judged ? MQTT_WILL_JUDGED : 0);
        int r = put_text(&b, bytes_from_str(device));
        if (r >= 0)
                r = put_text(&b, bytes_from_str(client_id));
        if (r >= 0)
                r = buf_append_u64(&b, session);
        if (r >= 0)
                r = buf_append_u8(&b, flags);
        if (r >= 0)
                r = buf_append_u32(&b, w->delay);
        if (r >= 0)
                r = put_moment(&b, s, w->due, s->now);
        if (r >= 0)
                r = put_message(&b, s, w->message, session > 0);
        put_built(s, MQTT_KIND_WILL, w->id, 0, &b, r);
}

void mqtt_journal_will(const MqttSession *s)
{
        put_will(s->server, s->will, s->device->name, s->client_id, s->id);
}

void mqtt_journal_waiting_will(MqttServer *s, const MqttWill *w)
{
        put_will(s, w, w->device->name, w->client_id, 0);
}

void mqtt_journal_remove_will(MqttServer *s, uint64_t id)
{
        forget(s, MQTT_KIND_WILL, id, 0);
}
