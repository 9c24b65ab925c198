/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What is on disk becomes the server's state again. A value counts only when it is whole and what
 * it belongs to is there; anything else is removed. */

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "domain/mqtt-journal.h"
#include "proto/topic.h"

/* Numbers go on behind the highest one: there has to be room. */
#define NUMBER_MAX ((uint64_t)INT64_MAX / 2)

/* No gateway runs longer. */
#define AGE_MAX (100 * 366 * 24 * USEC_PER_HOUR)

typedef struct Restore {
        MqttServer *server;
        usec_t now, realtime;
        usec_t age;                               /* as it was noted */
        usec_t youngest;                          /* at least: what is there was put then */
        Hashmap *messages;                        /* id: MqttMessage, until the queues hold them */
        uint64_t queue;                           /* the session whose queue is read */
        uint8_t packet_ids[(UINT16_MAX + 1) / 8]; /* in it; a bit each */
        MqttKey *dropped; /* removed in the end: whoever reads must not be disturbed */
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
        if (!mqtt_string_valid(b))
                reader_fail(r);
        return reader_ok(r) ? bytes_to_str(b) : NULL;
}

static usec_t until(usec_t moment, usec_t now)
{
        return moment > now ? moment - now : 0;
}

/* See mqtt-journal.h. Another boot has only the wall clock, which may be wrong: what was left is
 * the most that can be left now, less what the server has run since. A clock that was certainly
 * wrong when it was written tells nothing. */
static usec_t read_moment(Reader *r, Restore *restore)
{
        uint64_t boot = reader_u64(r);
        usec_t boottime = reader_u64(r), realtime = reader_u64(r), left = reader_u64(r);
        usec_t age = reader_u64(r);
        const MqttServerConfig *config = &restore->server->config;
        if (age > AGE_MAX)
                reader_fail(r);
        restore->youngest = MAX(restore->youngest, MIN(age, AGE_MAX));
        if (boottime == USEC_INFINITY || boot == config->boot)
                return boottime;
        usec_t by_age = until(left, until(restore->age, age));
        usec_t by_clock = until(realtime, restore->realtime);
        return usec_add(restore->now,
                        until(realtime, left) < config->earliest ? by_age : MIN(by_age, by_clock));
}

static int read_message(Reader *r, Restore *restore, bool span, MqttMessage **ret)
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

static bool is_known(const MqttServer *s, const char *device)
{
        return device && s->port->limits(device, s->userdata);
}

static int restore_session(Restore *restore, const MqttKey *key, Reader *r)
{
        _cleanup_free_ char *device = read_string(r), *client_id = read_string(r);
        MqttSession *s;
        uint32_t expiry = reader_u32(r);
        bool connected = reader_u8(r);
        uint64_t last_sent = reader_u64(r);
        usec_t ends = read_moment(r, restore);
        restore->server->last_session = MAX(restore->server->last_session, key->a);
        if (!reader_done(r) || !device || !client_id || last_sent > NUMBER_MAX)
                return -EBADMSG;
        if (!is_known(restore->server, device) || expiry == 0)
                return -ENOENT;
        Bytes id = bytes_from_str(client_id);
        if (mqtt_server_find(restore->server, device, id))
                return -EEXIST;
        int e = mqtt_session_new(restore->server, device, id, key->a, &s);
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

static int restore_subscription(Restore *restore, const MqttKey *key, Reader *r)
{
        MqttSession *s = mqtt_server_session(restore->server, key->a);
        _cleanup_(mqtt_subscription_freep) MqttSubscriptionEntry *e = NULL;
        _cleanup_free_ char *text = read_string(r), *filter = read_string(r);
        uint32_t left_out = reader_u32(r);
        uint8_t qos = reader_u8(r), options = reader_u8(r);
        uint32_t id = reader_u32(r);
        if (!reader_done(r) || !text || !filter || qos > 2 || left_out >= strlen(filter) + 1 ||
            id > MQTT_VARINT_MAX || !topic_filter_valid(bytes_from_str(text)) ||
            !topic_filter_valid(bytes_from_str(filter)))
                return -EBADMSG;
        if (!s || s->subscriptions.n >= MQTT_SUBSCRIPTIONS_MAX)
                return -ENOENT;
        if (mqtt_subscriptions_find(&s->subscriptions, bytes_from_str(text)))
                return -EEXIST;
        int error = mqtt_subscription_new(text, filter, &e);
        if (error < 0)
                return error;
        e->key = (uint32_t)key->b;
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

static int restore_message(Restore *restore, const MqttKey *key, Reader *r)
{
        MqttMessage *m;
        restore->server->last_message = MAX(restore->server->last_message, key->a);
        int e = read_message(r, restore, false, &m);
        if (e < 0)
                return e;
        m->id = key->a;
        e = hashmap_put(restore->messages, BYTES(&m->id, sizeof(m->id)), m);
        if (e < 0)
                mqtt_message_unref(m);
        return e;
}

/* Two messages under one number would be acknowledged as one [MQTT-2.2.1-3]. */
static bool take_packet_id(Restore *restore, uint64_t session, uint16_t id)
{
        uint8_t *byte = &restore->packet_ids[id / 8], bit = (uint8_t)(1 << id % 8);
        if (restore->queue != session)
                memset(restore->packet_ids, 0, sizeof(restore->packet_ids));
        restore->queue = session;
        bool taken = *byte & bit;
        *byte |= bit;
        return !taken;
}

/* `ids` has room for all that there may be. */
static void read_subscription_ids(Reader *r, MqttQueued *e, uint32_t *ids)
{
        while (reader_left(r) > 0 && e->n_ids < MQTT_SUBSCRIPTIONS_MAX) {
                uint32_t id = reader_u32(r);
                if (id == 0 || id > MQTT_VARINT_MAX)
                        reader_fail(r);
                ids[e->n_ids++] = id;
        }
}

static bool queued_valid(const MqttQueued *e, uint8_t stage)
{
        return e->packet_id > 0 && (e->qos == 1 || e->qos == 2) &&
               (stage == MQTT_STAGE_PUBLISH || (stage == MQTT_STAGE_PUBREL && e->qos == 2));
}

/* Whole levels are left out in front. */
static bool left_out_valid(const MqttQueued *e, const MqttMessage *m)
{
        return e->left_out < m->topic.len &&
               (e->left_out == 0 || m->topic.data[e->left_out - 1] == '/');
}

static int restore_queued(Restore *restore, const MqttKey *key, Reader *r)
{
        MqttSession *s = mqtt_server_session(restore->server, key->a);
        uint64_t id = reader_u64(r);
        MqttQueued *queued, e = { .order = key->b, .packet_id = reader_u16(r) };
        uint32_t ids[MQTT_SUBSCRIPTIONS_MAX];
        e.qos = reader_u8(r);
        uint8_t stage = reader_u8(r);
        uint8_t flags = reader_u8(r);
        e.retain = flags & MQTT_QUEUED_RETAIN;
        e.left_out = reader_u32(r);
        e.share = flags & MQTT_QUEUED_SHARED ? reader_u32(r) : 0;
        if (flags > (MQTT_QUEUED_RETAIN | MQTT_QUEUED_SHARED))
                reader_fail(r);
        read_subscription_ids(r, &e, ids);
        MqttMessage *m = hashmap_get(restore->messages, BYTES(&id, sizeof(id)));
        if (!reader_done(r) || !queued_valid(&e, stage) || (m && !left_out_valid(&e, m)))
                return -EBADMSG;
        if (!m || !s || s->delivery.n_waiting >= MQTT_QUEUE_MAX)
                return -ENOENT;
        if (!take_packet_id(restore, key->a, e.packet_id))
                return -EEXIST;
        e.stage = (MqttStage)stage;
        int error = mqtt_delivery_restore(&s->delivery, m, &e, ids, &queued);
        if (error < 0)
                return error;
        restore->server->kept_bytes += mqtt_journal_queued_cost(queued);
        if (m->n_kept++ == 0)
                restore->server->kept_bytes += mqtt_journal_message_cost(m);
        return 0;
}

static int restore_received(Restore *restore, const MqttKey *key, Reader *r)
{
        MqttSession *s = mqtt_server_session(restore->server, key->a);
        if (!reader_done(r))
                return -EBADMSG;
        return s ? mqtt_packet_ids_add(&s->received, (uint16_t)key->b) : -ENOENT;
}

static int restore_retained(Restore *restore, const MqttKey *key, Reader *r)
{
        _cleanup_free_ char *device = read_string(r);
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        restore->server->last_retained = MAX(restore->server->last_retained, key->a);
        int e = device ? read_message(r, restore, false, &m) : -EBADMSG;
        if (e < 0)
                return e;
        if (!is_known(restore->server, device) || m->payload.len == 0)
                return -ENOENT;
        return mqtt_retained_restore(restore->server, device, key->a, m);
}

/* Its time has come, and with it that of its expiry. */
static int restore_due_will(Restore *restore, const char *device, const char *client_id,
                            MqttWill *w)
{
        if (!w->noted)
                w->message->expires = usec_add(restore->now, w->message->expires);
        w->due = MIN(w->due, restore->now);
        return mqtt_wills_restore(restore->server, device, client_id, w);
}

/* An earlier one of the same session was on its way. */
static int restore_session_will(Restore *restore, MqttSession *s, MqttWill *w)
{
        if (s->will) {
                int r = restore_due_will(restore, s->device->name, s->client_id, s->will);
                if (r < 0)
                        return r;
        }
        if (w->due == USEC_INFINITY)
                w->due = usec_add(restore->now, w->delay * USEC_PER_SEC);
        s->will = w;
        return 0;
}

/* Of a session that was connected, or whose delay had begun: that may be gone, with the connection
 * or earlier. Or one that waited already. */
static int restore_will(Restore *restore, const MqttKey *key, Reader *r)
{
        _cleanup_free_ char *device = read_string(r), *client_id = read_string(r);
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        _cleanup_(mqtt_will_freep) MqttWill *w = NULL;
        MqttServer *server = restore->server;
        uint64_t session = reader_u64(r);
        uint8_t flags = reader_u8(r);
        uint32_t delay = reader_u32(r);
        usec_t due = read_moment(r, restore);
        server->last_will = MAX(server->last_will, key->a);
        if (flags > (MQTT_WILL_WAITS | MQTT_WILL_JUDGED) || session > NUMBER_MAX)
                reader_fail(r);
        int e = device && client_id ? read_message(r, restore, !(flags & MQTT_WILL_WAITS), &m)
                                    : -EBADMSG;
        if (e < 0)
                return e;
        /* It may have been one that was never on disk, whose number is not to be used again. */
        server->last_session = MAX(server->last_session, session);
        if (!is_known(server, device))
                return -ENOENT;
        e = mqtt_will_new(m, delay, due, key->a, &w);
        if (e < 0)
                return e;
        w->noted = flags & MQTT_WILL_WAITS;
        w->judged = flags & MQTT_WILL_JUDGED;
        w->restored = true;
        MqttSession *s = session > 0 ? mqtt_server_session(server, session) : NULL;
        if (s && !streq(s->device->name, device))
                return -EBADMSG;
        e = s ? restore_session_will(restore, s, w)
              : restore_due_will(restore, device, client_id, w);
        if (e >= 0)
                mqtt_will_count(server, TAKE_PTR(w));
        return e;
}

static int restore_age(Restore *restore, const MqttKey *key, Reader *r)
{
        usec_t age = reader_u64(r);
        if (!reader_done(r) || age > AGE_MAX)
                return -EBADMSG;
        restore->age = restore->youngest = age;
        return 0;
}

static bool key_valid(const MqttKey *key)
{
        static const uint64_t highest[_MQTT_KIND_MAX] = {
                [MQTT_KIND_SUBSCRIPTION] = UINT32_MAX / 2,
                [MQTT_KIND_QUEUED] = NUMBER_MAX,
                [MQTT_KIND_RECEIVED] = UINT16_MAX,
        };
        bool has_b = highest[key->kind] > 0;
        return key->a > 0 && key->a <= NUMBER_MAX && key->b <= highest[key->kind] &&
               (key->b > 0) == has_b;
}

/* Some errors are the value's fault, or that of what it belongs to: then it goes. */
static int on_value(const MqttKey *key, Bytes value, void *userdata)
{
        static int (*const take[_MQTT_KIND_MAX])(Restore *, const MqttKey *, Reader *) = {
                [MQTT_KIND_SESSION] = restore_session,
                [MQTT_KIND_SUBSCRIPTION] = restore_subscription,
                [MQTT_KIND_MESSAGE] = restore_message,
                [MQTT_KIND_QUEUED] = restore_queued,
                [MQTT_KIND_RECEIVED] = restore_received,
                [MQTT_KIND_RETAINED] = restore_retained,
                [MQTT_KIND_WILL] = restore_will,
                [MQTT_KIND_AGE] = restore_age,
        };
        Restore *restore = userdata;
        Reader r = reader_new(value);
        int e = key_valid(key) ? take[key->kind](restore, key, &r) : -EBADMSG;
        bool useless = e == -EBADMSG || e == -ENOENT || e == -EEXIST || e == -ENOSPC;
        return useless ? drop(restore, key) : e;
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

/* Whose connection the restart has ended is away from now on: the next restart must not begin its
 * time anew, nor take for sent what came in between. */
static void note_ended(MqttSession *s)
{
        s->delivery.last_sent = s->delivery.last_order;
        mqtt_journal_session(s);
        if (s->will)
                mqtt_journal_will(s);
}

static void note_ended_connections(MqttServer *s)
{
        s->port->begin(s->userdata);
        LIST_FOREACH (i, &s->all_sessions) {
                MqttSession *session = LIST_ENTRY(i, MqttSession, all);
                if (session->delivery.last_sent == UINT64_MAX)
                        note_ended(session);
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
        Restore restore = { .server = s, .now = now, .realtime = realtime };
        s->now = s->started = now;
        s->age_due = usec_add(now, USEC_PER_MIN); /* starts that follow one another count too */
        s->realtime_offset = realtime - now;
        restore.messages = hashmap_new();
        if (!restore.messages)
                return -ENOMEM;
        int r = read(MQTT_KIND_AGE, on_value, &restore, userdata);
        /* In the order in which one belongs to another. */
        for (uint8_t kind = MQTT_KIND_SESSION; kind < MQTT_KIND_AGE && r >= 0; kind++)
                r = read(kind, on_value, &restore, userdata);
        s->age_at_start = restore.youngest;
        int released = release_messages(&restore);
        remove_dropped(&restore);
        note_ended_connections(s);
        mqtt_server_review(s); /* the rules may be others than when it was put */
        *ret_dropped = restore.n_dropped;
        return r < 0 ? r : released;
}
