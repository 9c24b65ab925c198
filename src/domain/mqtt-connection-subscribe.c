/* SPDX-License-Identifier: GPL-3.0-or-later */

/* SUBSCRIBE and UNSUBSCRIBE. */

#include <errno.h>

#include "domain/mqtt-connection-internal.h"
#include "domain/mqtt-retained.h"

/* In one packet: each costs a decision, and a large packet has room for a hundred thousand. */
#define FILTERS_MAX (4 * MQTT_SUBSCRIPTIONS_MAX)

static bool has_room(MqttConnection *c, const Buf *codes)
{
        if (buf_len(codes) < FILTERS_MAX)
                return true;
        mqtt_connection_end(c, MQTT_QUOTA_EXCEEDED, "too many topic filters in one packet");
        return false;
}

static int entry_new(const MqttTopic *topic, const MqttSubscription *wanted, uint32_t id,
                     MqttSubscriptionEntry **ret)
{
        char text[2 * TOPIC_BYTES_MAX];
        memcpy(text, wanted->filter.data, wanted->filter.len);
        text[wanted->filter.len] = '\0';
        int r = mqtt_subscription_new(text, topic->policy.absolute, ret);
        if (r < 0)
                return r;
        (*ret)->left_out = topic->policy.left_out;
        (*ret)->qos = wanted->qos;
        (*ret)->no_local = wanted->no_local;
        (*ret)->retain_as_published = wanted->retain_as_published;
        (*ret)->id = id;
        return 0;
}

/* Section 3.8.3.1: which retained messages a subscription brings. */
static bool wants_retained(const MqttSubscription *wanted, const MqttSubscriptionEntry *e,
                           bool existed)
{
        if (e->share) /* section 4.8.2 */
                return false;
        return wanted->retain_handling == 0 || (wanted->retain_handling == 1 && !existed);
}

static MqttReason refused(MqttReason reason, const char *why, const char **text)
{
        *text = why;
        return reason;
}

static MqttReason enter(MqttConnection *c, const MqttTopic *topic, const MqttSubscription *wanted,
                        uint32_t id, usec_t now, const char **text)
{
        _cleanup_(mqtt_subscription_freep) MqttSubscriptionEntry *e = NULL;
        bool existed;
        int r = entry_new(topic, wanted, id, &e);
        if (r >= 0)
                r = mqtt_session_subscribe(c->session, e, &existed);
        if (r == -ENOSPC)
                return refused(MQTT_QUOTA_EXCEEDED, "too many subscriptions", text);
        if (r < 0)
                return refused(MQTT_UNSPECIFIED_ERROR, "out of memory", text);
        if (wants_retained(wanted, e, existed))
                mqtt_retained_deliver(c->server, c->session, e, now);
        TAKE_PTR(e);
        return (MqttReason)wanted->qos;
}

/* `text`: of the last one that is refused. */
static MqttReason subscribe_one(MqttConnection *c, const MqttSubscription *wanted, uint32_t id,
                                usec_t now, const char **text)
{
        MqttTopic topic;
        Bytes filter = wanted->filter;
        if (wanted->filter.len >= 2 * TOPIC_BYTES_MAX)
                return refused(MQTT_TOPIC_FILTER_INVALID, "topic-too-long", text);
        topic_filter_is_shared(wanted->filter, &filter);
        const char *reason = mqtt_connection_decide(c, MQTT_ACCESS_SUBSCRIBE, filter, &topic);
        if (reason)
                return refused(MQTT_NOT_AUTHORIZED, reason, text);
        return enter(c, &topic, wanted, id, now, text);
}

/* [MQTT-3.8.4-6]: one code for each entry, in order. */
static int subscribe_all(MqttConnection *c, const MqttSubscribe *p, usec_t now, Buf *codes,
                         const char **text)
{
        MqttSubscription wanted;
        uint32_t id = p->properties.subscription_id;
        for (Reader entries = p->entries; mqtt_subscribe_next(&entries, &wanted);) {
                if (!has_room(c, codes))
                        return 0;
                MqttReason code = subscribe_one(c, &wanted, id, now, text);
                int r = buf_append_u8(codes, (uint8_t)code);
                if (r < 0)
                        return r;
        }
        return 0;
}

void mqtt_connection_on_subscribe(MqttConnection *c, const MqttFrame *f, usec_t now)
{
        MqttServer *s = c->server;
        MqttSubscribe p;
        const char *text = NULL;
        MqttReason e = mqtt_parse_subscribe(f, c->outlet.peer.version, &p);
        if (e != MQTT_SUCCESS) {
                mqtt_connection_end(c, e, "SUBSCRIBE is not well-formed");
                return;
        }
        c->n_filters += p.n_entries;
        uint64_t changes = s->n_changes;
        s->port->begin(s->userdata);
        _cleanup_buf_ Buf codes = BUF_INIT(FILTERS_MAX);
        MqttPending *a = mqtt_answer_new(c, MQTT_SUBACK, p.packet_id);
        if (!a)
                return;
        int r = subscribe_all(c, &p, now, &codes, &text);
        if (r >= 0)
                r = mqtt_write_suback(&a->packet, &c->outlet.peer, p.packet_id, buf_view(&codes),
                                      text);
        mqtt_answer_commit(c, a, r, changes);
        if (c->state != MQTT_ENDED)
                mqtt_session_flush(c->session, now);
}

static int unsubscribe_all(MqttConnection *c, const MqttSubscribe *p, Buf *codes)
{
        Bytes filter;
        for (Reader entries = p->entries; mqtt_unsubscribe_next(&entries, &filter);) {
                if (!has_room(c, codes))
                        return 0;
                bool existed = mqtt_session_unsubscribe(c->session, filter);
                int r = buf_append_u8(codes, existed ? MQTT_SUCCESS : MQTT_NO_SUBSCRIPTION_EXISTED);
                if (r < 0)
                        return r;
        }
        return 0;
}

void mqtt_connection_on_unsubscribe(MqttConnection *c, const MqttFrame *f)
{
        MqttServer *s = c->server;
        MqttSubscribe p;
        MqttReason e = mqtt_parse_unsubscribe(f, c->outlet.peer.version, &p);
        if (e != MQTT_SUCCESS) {
                mqtt_connection_end(c, e, "UNSUBSCRIBE is not well-formed");
                return;
        }
        c->n_filters += p.n_entries;
        uint64_t changes = s->n_changes;
        s->port->begin(s->userdata);
        _cleanup_buf_ Buf codes = BUF_INIT(FILTERS_MAX);
        MqttPending *a = mqtt_answer_new(c, MQTT_UNSUBACK, p.packet_id);
        if (!a)
                return;
        int r = unsubscribe_all(c, &p, &codes);
        if (r >= 0)
                r = mqtt_write_unsuback(&a->packet, &c->outlet.peer, p.packet_id, buf_view(&codes));
        mqtt_answer_commit(c, a, r, changes);
}
