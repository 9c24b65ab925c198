/* SPDX-License-Identifier: GPL-3.0-or-later */

/* SUBSCRIBE and UNSUBSCRIBE. */

#include <errno.h>

#include "domain/mqtt-session-internal.h"

/* In one packet: each costs a decision, and a large packet has room for a hundred thousand. */
#define FILTERS_MAX (4 * MQTT_SUBSCRIPTIONS_MAX)

static bool has_room(MqttSession *s, const Buf *codes)
{
        if (buf_len(codes) < FILTERS_MAX)
                return true;
        mqtt_session_end(s, MQTT_QUOTA_EXCEEDED, "too many topic filters in one packet");
        return false;
}

static MqttReason subscribe_one(MqttSession *s, const MqttSubscription *wanted, uint32_t id,
                                const char **text)
{
        MqttTopic topic;
        if (topic_filter_is_shared(wanted->filter, NULL))
                return MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
        mqtt_session_decide(s, MQTT_ACCESS_SUBSCRIBE, wanted->filter, &topic);
        if (!topic.decision.allowed) {
                *text = topic.decision.reason;
                return MQTT_NOT_AUTHORIZED;
        }
        MqttSubscriptionEntry e = {
                .text = topic.text,
                .prefix = (size_t)(topic.decision.topic - topic.text),
                .space = topic.decision.space,
                .qos = MIN(wanted->qos, 1), /* what is granted: section 3.9.3 */
                .no_local = wanted->no_local,
                .id = id,
        };
        int r = mqtt_subscriptions_put(&s->subscriptions, &e);
        if (r == -ENOSPC)
                return MQTT_QUOTA_EXCEEDED;
        return r < 0 ? MQTT_UNSPECIFIED_ERROR : (MqttReason)e.qos;
}

/* [MQTT-3.8.4-6]: one code for each entry, in order. */
void mqtt_session_on_subscribe(MqttSession *s, const MqttFrame *f)
{
        MqttSubscribe p;
        MqttSubscription wanted;
        const char *text = NULL;
        MqttReason e = mqtt_parse_subscribe(f, s->peer.version, &p);
        if (e != MQTT_SUCCESS) {
                mqtt_session_end(s, e, "SUBSCRIBE is not well-formed");
                return;
        }
        _cleanup_buf_ Buf codes = BUF_INIT(s->config->maximum_packet_size);
        int r = 0;
        for (Reader entries = p.entries; r >= 0 && mqtt_subscribe_next(&entries, &wanted);) {
                if (!has_room(s, &codes))
                        return;
                r = buf_append_u8(&codes, (uint8_t)subscribe_one(
                                                  s, &wanted, p.properties.subscription_id, &text));
        }
        if (r >= 0)
                r = mqtt_write_suback(s->out, &s->peer, p.packet_id, buf_view(&codes), text);
        mqtt_session_check_write(s, r);
}

void mqtt_session_on_unsubscribe(MqttSession *s, const MqttFrame *f)
{
        MqttSubscribe p;
        Bytes filter;
        MqttReason e = mqtt_parse_unsubscribe(f, s->peer.version, &p);
        if (e != MQTT_SUCCESS) {
                mqtt_session_end(s, e, "UNSUBSCRIBE is not well-formed");
                return;
        }
        _cleanup_buf_ Buf codes = BUF_INIT(s->config->maximum_packet_size);
        int r = 0;
        for (Reader entries = p.entries; r >= 0 && mqtt_unsubscribe_next(&entries, &filter);) {
                if (!has_room(s, &codes))
                        return;
                bool existed = mqtt_subscriptions_remove(&s->subscriptions, filter);
                r = buf_append_u8(&codes, existed ? MQTT_SUCCESS : MQTT_NO_SUBSCRIPTION_EXISTED);
        }
        if (r >= 0)
                r = mqtt_write_unsuback(s->out, &s->peer, p.packet_id, buf_view(&codes));
        mqtt_session_check_write(s, r);
}
