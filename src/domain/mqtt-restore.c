/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What is on disk becomes the server's state again. A value counts only when it is whole and what
 * it belongs to is there; anything else is removed. */

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "domain/mqtt-journal.h"
#include "proto/topic.h"

typedef struct Restore {
        MqttServer *server;
        usec_t now, realtime;
        Hashmap *messages; /* id: MqttMessage, until the queues hold them */
        MqttKey *dropped;  /* removed in the end: whoever reads must not be disturbed */
        size_t n_dropped, dropped_size;
} Restore;

static Bytes read_text(Reader *r)
{
        uint32_t len = reader_u32(r);
        return reader_bytes(r, len);
}

static char *read_string(Reader *r)
{
        Bytes b = read_text(r);
        if (memchr(b.data ? b.data : (const uint8_t *)"", 0, b.len))
                reader_fail(r);
        return reader_ok(r) ? bytes_to_str(b) : NULL;
}

/* See mqtt-journal.h: another boot has only the wall clock, which may be wrong. What was left at
 * the time of writing is the most that can be left now. */
static usec_t read_moment(Reader *r, const Restore *restore)
{
        uint64_t boot = reader_u64(r);
        usec_t boottime = reader_u64(r), realtime = reader_u64(r), left = reader_u64(r);
        if (boottime == USEC_INFINITY || boot == restore->server->config.boot)
                return boottime;
        usec_t until = realtime > restore->realtime ? realtime - restore->realtime : 0;
        return usec_add(restore->now, MIN(until, left));
}

static int read_message(Reader *r, const Restore *restore, bool span, MqttMessage **ret)
{
        uint8_t qos = reader_u8(r), retain = reader_u8(r);
        usec_t expires = span ? reader_u64(r) : read_moment(r, restore);
        Bytes topic = read_text(r), properties = read_text(r), payload = read_text(r);
        if (!reader_done(r) || qos > 2 || retain > 1 || !topic_name_valid(topic))
                return -EBADMSG;
        int e = mqtt_message_restore(topic, payload, properties, ret);
        if (e < 0)
                return e;
        (*ret)->qos = qos;
        (*ret)->retain = retain;
        (*ret)->expires = expires;
        return 0;
}

static int drop(Restore *r, const MqttKey *key)
{
        if (r->n_dropped == r->dropped_size) {
                size_t size = r->dropped_size > 0 ? 2 * r->dropped_size : 64;
                MqttKey *p = reallocarray(r->dropped, size, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                r->dropped = p;
                r->dropped_size = size;
        }
        r->dropped[r->n_dropped++] = *key;
        return 0;
}

/* These are the value's fault, or that of what it belongs to: it goes. */
static int judge(Restore *r, const MqttKey *key, int error)
{
        return error == -EBADMSG || error == -ENOENT || error == -EEXIST ? drop(r, key) : error;
}

static bool is_known(const MqttServer *s, const char *device)
{
        return device && s->port->limits(device, s->userdata);
}

static int restore_session(Restore *restore, uint64_t id, Reader *r)
{
        _cleanup_free_ char *device = read_string(r);
        MqttSession *s;
        Bytes client_id = read_text(r);
        uint32_t expiry = reader_u32(r);
        bool connected = reader_u8(r);
        uint64_t last_sent = reader_u64(r);
        usec_t ends = read_moment(r, restore);
        if (!reader_done(r) || !device)
                return -EBADMSG;
        if (!is_known(restore->server, device) || expiry == 0)
                return -ENOENT;
        if (mqtt_server_find(restore->server, device, client_id))
                return -EEXIST;
        int e = mqtt_session_new(restore->server, device, client_id, id, &s);
        if (e < 0)
                return e;
        s->kept = true;
        s->expiry = expiry;
        s->delivery.last_order = last_sent;
        /* Of a connected session all may have been sent. */
        s->delivery.last_sent = connected ? UINT64_MAX : last_sent;
        s->ends = !connected                    ? ends
                  : expiry == MQTT_EXPIRY_NEVER ? USEC_INFINITY
                                                : usec_add(restore->now, expiry * USEC_PER_SEC);
        return 0;
}

static int on_session(const MqttKey *key, Bytes value, void *userdata)
{
        Restore *restore = userdata;
        Reader r = reader_new(value);
        restore->server->last_session = MAX(restore->server->last_session, key->a);
        return judge(restore, key, restore_session(restore, key->a, &r));
}

static int restore_subscription(MqttSession *s, uint64_t key, Reader *r)
{
        _cleanup_(mqtt_subscription_freep) MqttSubscriptionEntry *e = NULL;
        _cleanup_free_ char *text = read_string(r), *filter = read_string(r);
        uint32_t left_out = reader_u32(r);
        uint8_t qos = reader_u8(r), options = reader_u8(r);
        uint32_t id = reader_u32(r);
        if (!reader_done(r) || !text || !filter || key > UINT32_MAX || qos > 2 ||
            left_out >= strlen(filter) + 1 || !topic_filter_valid(bytes_from_str(text)) ||
            !topic_filter_valid(bytes_from_str(filter)))
                return -EBADMSG;
        if (s->subscriptions.n >= MQTT_SUBSCRIPTIONS_MAX)
                return -ENOENT;
        int error = mqtt_subscription_new(text, filter, &e);
        if (error < 0)
                return error;
        e->key = (uint32_t)key;
        e->left_out = left_out;
        e->qos = qos;
        e->no_local = options & 1;
        e->retain_as_published = options & 2;
        e->id = id;
        error = mqtt_session_enter(s, e);
        if (error >= 0)
                TAKE_PTR(e);
        return error;
}

static int on_subscription(const MqttKey *key, Bytes value, void *userdata)
{
        Restore *restore = userdata;
        Reader r = reader_new(value);
        MqttSession *s = mqtt_server_session(restore->server, key->a);
        return judge(restore, key, s ? restore_subscription(s, key->b, &r) : -ENOENT);
}

static int on_message(const MqttKey *key, Bytes value, void *userdata)
{
        Restore *restore = userdata;
        Reader r = reader_new(value);
        MqttMessage *m;
        restore->server->last_message = MAX(restore->server->last_message, key->a);
        int e = read_message(&r, restore, false, &m);
        if (e < 0)
                return judge(restore, key, e);
        m->id = key->a;
        e = hashmap_put(restore->messages, BYTES(&m->id, sizeof(m->id)), m);
        if (e < 0)
                mqtt_message_unref(m);
        return e;
}

static int restore_queued(Restore *restore, MqttSession *s, uint64_t order, Reader *r)
{
        uint64_t id = reader_u64(r);
        MqttQueued *queued, e = { .order = order, .packet_id = reader_u16(r) };
        uint32_t ids[MQTT_SUBSCRIPTIONS_MAX];
        uint8_t stage;
        e.qos = reader_u8(r);
        stage = reader_u8(r);
        e.retain = reader_u8(r);
        e.left_out = reader_u32(r);
        while (reader_left(r) > 0 && e.n_ids < ELEMENTSOF(ids))
                ids[e.n_ids++] = reader_u32(r);
        MqttMessage *m = hashmap_get(restore->messages, BYTES(&id, sizeof(id)));
        if (!reader_done(r) || e.qos < 1 || e.qos > 2 || e.packet_id == 0 ||
            stage > MQTT_STAGE_PUBREL || (m && e.left_out >= m->topic.len))
                return -EBADMSG;
        if (!m || s->delivery.n_waiting >= MQTT_QUEUE_MAX)
                return -ENOENT;
        e.stage = (MqttStage)stage;
        int error = mqtt_delivery_restore(&s->delivery, m, &e, ids, &queued);
        if (error < 0)
                return error;
        restore->server->kept_bytes += mqtt_journal_queued_cost(queued);
        if (m->n_kept++ == 0)
                restore->server->kept_bytes += mqtt_journal_message_cost(m);
        return 0;
}

static int on_queued(const MqttKey *key, Bytes value, void *userdata)
{
        Restore *restore = userdata;
        Reader r = reader_new(value);
        MqttSession *s = mqtt_server_session(restore->server, key->a);
        return judge(restore, key, s ? restore_queued(restore, s, key->b, &r) : -ENOENT);
}

static int on_received(const MqttKey *key, Bytes value, void *userdata)
{
        Restore *restore = userdata;
        MqttSession *s = mqtt_server_session(restore->server, key->a);
        int e = !s ? -ENOENT
                : value.len > 0 || key->b == 0 || key->b > UINT16_MAX
                        ? -EBADMSG
                        : mqtt_packet_ids_add(&s->received, (uint16_t)key->b);
        return judge(restore, key, e == -ENOSPC ? -ENOENT : e);
}

static int restore_retained(Restore *restore, uint64_t id, Reader *r)
{
        _cleanup_free_ char *device = read_string(r);
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        int e = device ? read_message(r, restore, false, &m) : -EBADMSG;
        if (e < 0)
                return e;
        if (!is_known(restore->server, device) || m->payload.len == 0)
                return -ENOENT;
        return mqtt_retained_restore(restore->server, device, id, m);
}

static int on_retained(const MqttKey *key, Bytes value, void *userdata)
{
        Restore *restore = userdata;
        Reader r = reader_new(value);
        restore->server->last_retained = MAX(restore->server->last_retained, key->a);
        return judge(restore, key, restore_retained(restore, key->a, &r));
}

static int read_will(Restore *restore, Reader *r, MqttWill *w)
{
        w->delay = reader_u32(r);
        w->due = read_moment(r, restore);
        w->content_type = read_string(r);
        if (!w->content_type)
                return -EBADMSG;
        return read_message(r, restore, true, &w->message);
}

/* The will of a session that was connected, or whose delay had begun. The session itself may have
 * ended with the connection: then it is there again for the moment that its will takes. */
static int restore_will(Restore *restore, uint64_t id, Reader *r)
{
        _cleanup_free_ char *device = read_string(r);
        Bytes client_id = read_text(r);
        _cleanup_(mqtt_will_freep) MqttWill *w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        int e = device && reader_ok(r) ? read_will(restore, r, w) : -EBADMSG;
        if (e < 0)
                return e;
        if (!is_known(restore->server, device))
                return -ENOENT;
        MqttSession *s = mqtt_server_session(restore->server, id);
        if (!s) {
                e = mqtt_session_new(restore->server, device, client_id, id, &s);
                if (e < 0)
                        return e;
                s->ends = restore->now;
        }
        if (w->due == USEC_INFINITY)
                w->due = usec_add(restore->now, w->delay * USEC_PER_SEC);
        s->will = TAKE_PTR(w);
        return 0;
}

static int on_will(const MqttKey *key, Bytes value, void *userdata)
{
        Restore *restore = userdata;
        Reader r = reader_new(value);
        restore->server->last_session = MAX(restore->server->last_session, key->a);
        return judge(restore, key, restore_will(restore, key->a, &r));
}

/* Messages that no queue holds go. */
static int release_messages(Restore *restore)
{
        int r = 0;
        HASHMAP_FOREACH (i, restore->messages) {
                MqttMessage *m = i.value;
                const MqttKey key = { MQTT_KIND_MESSAGE, m->id, 0 };
                if (m->n_kept == 0 && r >= 0)
                        r = drop(restore, &key);
                mqtt_message_unref(m);
        }
        hashmap_free(restore->messages);
        return r;
}

static void begin_deliveries(MqttServer *s)
{
        LIST_FOREACH (i, &s->all_sessions) {
                MqttDelivery *d = &LIST_ENTRY(i, MqttSession, all)->delivery;
                d->last_sent = MIN(d->last_sent, d->last_order);
        }
}

static void remove_dropped(Restore *restore)
{
        const MqttServer *s = restore->server;
        s->port->begin(s->userdata);
        for (size_t i = 0; i < restore->n_dropped; i++)
                mqtt_journal_remove(restore->server, &restore->dropped[i]);
        free(restore->dropped);
}

int mqtt_server_restore(MqttServer *s, MqttStoredRead read, void *userdata, usec_t now,
                        usec_t realtime, size_t *ret_dropped)
{
        /* In the order in which one belongs to another. */
        static const MqttStoredEach kinds[_MQTT_KIND_MAX] = {
                [MQTT_KIND_SESSION] = on_session,   [MQTT_KIND_SUBSCRIPTION] = on_subscription,
                [MQTT_KIND_MESSAGE] = on_message,   [MQTT_KIND_QUEUED] = on_queued,
                [MQTT_KIND_RECEIVED] = on_received, [MQTT_KIND_RETAINED] = on_retained,
                [MQTT_KIND_WILL] = on_will,
        };
        Restore restore = { .server = s, .now = now, .realtime = realtime };
        int r = 0;
        s->now = now;
        s->realtime_offset = realtime - now;
        restore.messages = hashmap_new();
        if (!restore.messages)
                return -ENOMEM;
        for (uint8_t kind = MQTT_KIND_SESSION; kind < _MQTT_KIND_MAX && r >= 0; kind++)
                r = read(kind, kinds[kind], &restore, userdata);
        int released = release_messages(&restore);
        begin_deliveries(s);
        remove_dropped(&restore);
        mqtt_server_review(s); /* the rules may be others than when it was put */
        *ret_dropped = restore.n_dropped;
        return r < 0 ? r : released;
}
