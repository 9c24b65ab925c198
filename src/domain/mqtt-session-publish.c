/* SPDX-License-Identifier: GPL-3.0-or-later */

/* PUBLISH from the client: topic, policy, and the answer when the message is durable. */

#include <errno.h>

#include "base/str.h"
#include "domain/mqtt-session-internal.h"

static void inbound_free(MqttInbound *in)
{
        list_remove(&in->node);
        in->session->n_inbound--;
        in->session->n_inbound_acked -= in->qos > 0;
        free(in);
}

void mqtt_session_drop_inbound(MqttSession *s)
{
        LIST_FOREACH_SAFE (i, &s->inbound) {
                MqttInbound *in = LIST_ENTRY(i, MqttInbound, node);
                if (!in->answered)
                        s->port->abandon(in, s->userdata);
                inbound_free(in);
        }
}

static MqttInbound *inbound_new(MqttSession *s, const MqttPublish *p)
{
        MqttInbound *in = calloc(1, sizeof(*in));
        if (!in)
                return NULL;
        in->session = s;
        in->packet_id = p->packet_id;
        in->qos = p->qos;
        list_append(&s->inbound, &in->node);
        s->n_inbound++;
        s->n_inbound_acked += p->qos > 0;
        return in;
}

/* 3.1.1 knows no refusal but the end of the connection [MQTT-3.3.5-2]; what was not asked to be
 * acknowledged is gone without a word. */
static void acknowledge(MqttSession *s, const MqttInbound *in)
{
        if (in->qos == 0)
                return;
        if (in->reason >= MQTT_UNSPECIFIED_ERROR && s->peer.version == MQTT_3_1_1)
                mqtt_session_end(s, in->reason, in->text ? in->text : "a message was refused");
        else
                mqtt_session_check_write(s, mqtt_write_ack(s->out, &s->peer, MQTT_PUBACK,
                                                           in->packet_id, in->reason, in->text));
}

/* [MQTT-4.6.0-2]: in the order in which they came. */
static void acknowledge_ready(MqttSession *s)
{
        while (s->state == MQTT_STATE_CONNECTED && !list_empty(&s->inbound)) {
                MqttInbound *in = LIST_ENTRY(list_first(&s->inbound), MqttInbound, node);
                if (!in->answered)
                        return;
                acknowledge(s, in);
                if (s->state == MQTT_STATE_CONNECTED) /* else all of them are gone */
                        inbound_free(in);
        }
}

static void answer(MqttInbound *in, MqttReason reason, const char *text)
{
        MqttSession *s = in->session;
        in->answered = true;
        in->reason = reason;
        in->text = text;
        acknowledge_ready(s);
}

void mqtt_session_submitted(MqttInbound *in, MqttReason reason, const char *text)
{
        MqttSession *s = in->session;
        answer(in, reason, text);
        if (s->state == MQTT_STATE_CONNECTED)
                s->port->wake(s->userdata);
}

/* Section 3.3.2.3.4. Finds the topic of an alias, or learns it. */
static MqttReason resolve_alias(MqttSession *s, MqttPublish *p)
{
        uint16_t alias = p->properties.topic_alias;
        if (!mqtt_property_present(&p->properties, MQTT_PROPERTY_TOPIC_ALIAS))
                return MQTT_SUCCESS;
        if (alias == 0 || alias > MIN(s->config->topic_alias_maximum, MQTT_TOPIC_ALIASES_MAX))
                return MQTT_TOPIC_ALIAS_INVALID; /* [MQTT-3.3.2-8], -9 */
        if (p->topic.len == 0) {
                if (!s->aliases[alias])
                        return MQTT_PROTOCOL_ERROR;
                p->topic = bytes_from_str(s->aliases[alias]);
                return MQTT_SUCCESS;
        }
        if (!topic_within_bounds(p->topic))
                return MQTT_TOPIC_NAME_INVALID;
        char *topic = bytes_to_str(p->topic);
        if (!topic)
                return MQTT_UNSPECIFIED_ERROR;
        free(s->aliases[alias]);
        s->aliases[alias] = topic;
        return MQTT_SUCCESS;
}

static MqttReason check_offered(const MqttSession *s, const MqttPublish *p, const char **text)
{
        if (p->qos > 1) { /* [MQTT-3.2.2-11] */
                *text = "QoS 2 is not offered";
                return MQTT_QOS_NOT_SUPPORTED;
        }
        if (p->retain && s->peer.version == MQTT_5) { /* [MQTT-3.2.2-14] */
                *text = "retained messages are not offered";
                return MQTT_RETAIN_NOT_SUPPORTED;
        }
        if (p->qos > 0 && s->peer.version == MQTT_5 &&
            s->n_inbound_acked >= s->config->receive_maximum) {
                *text = "more than Receive Maximum messages";
                return MQTT_RECEIVE_MAXIMUM_EXCEEDED; /* section 3.3.4 */
        }
        return MQTT_SUCCESS;
}

/* Within the device: to its other sessions, and to this one. */
static void route(MqttSession *s, const MqttPublish *p, const MqttDecision *d, usec_t now)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        if (!mqtt_router_has_subscribers(s->router, s->device))
                return;
        if (mqtt_message_new(d->space, bytes_from_str(d->topic), p->payload, p->qos, &p->properties,
                             now, &m) < 0)
                mqtt_session_end(s, MQTT_UNSPECIFIED_ERROR, "out of memory");
        else
                mqtt_router_publish(s->router, s->device, m, s, now);
}

static void submit(MqttSession *s, const MqttPublish *p, const MqttDecision *d, usec_t now)
{
        MqttSubmission m = {
                .space = d->space,
                .topic = d->topic,
                .qos = p->qos,
                .payload = p->payload,
                .content_type = p->properties.content_type,
                .response_topic = p->properties.response_topic,
                .correlation_data = p->properties.correlation_data,
        };
        MqttInbound *in = inbound_new(s, p);
        if (!in || s->port->submit(in, &m, s->userdata) < 0) {
                if (in)
                        inbound_free(in);
                mqtt_session_end(s, MQTT_UNSPECIFIED_ERROR, "out of memory");
                return;
        }
        if (d->space == MQTT_SPACE_DEVICE)
                route(s, p, d, now);
}

/* A denied one takes its place in the order of answers too. */
static void deny(MqttSession *s, const MqttPublish *p, const char *text)
{
        MqttInbound *in = inbound_new(s, p);
        if (!in)
                mqtt_session_end(s, MQTT_UNSPECIFIED_ERROR, "out of memory");
        else
                answer(in, MQTT_NOT_AUTHORIZED, text);
}

void mqtt_session_on_publish(MqttSession *s, const MqttFrame *f, usec_t now)
{
        MqttPublish p;
        MqttTopic topic;
        const char *text = "PUBLISH is not well-formed";
        MqttReason e = mqtt_parse_publish(f, s->peer.version, &p);
        if (e == MQTT_SUCCESS)
                e = check_offered(s, &p, &text);
        if (e == MQTT_SUCCESS) {
                text = "the topic alias is not known";
                e = resolve_alias(s, &p);
        }
        if (e != MQTT_SUCCESS) {
                mqtt_session_end(s, e, text);
                return;
        }
        mqtt_session_decide(s, MQTT_ACCESS_PUBLISH, p.topic, &topic);
        if (topic.decision.allowed)
                submit(s, &p, &topic.decision, now);
        else
                deny(s, &p, topic.decision.reason);
}
