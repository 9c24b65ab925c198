/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-session.h"

#include <errno.h>
#include <stdio.h>

#include "domain/mqtt-session-internal.h"

int mqtt_session_new(const MqttSessionConfig *config, const MqttSessionPort *port, void *userdata,
                     MqttRouter *router, const char *device, Buf *out, usec_t now,
                     MqttSession **ret)
{
        _cleanup_(mqtt_session_freep) MqttSession *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->config = config;
        s->port = port;
        s->userdata = userdata;
        s->router = router;
        s->out = out;
        s->deadline = usec_add(now, config->connect_timeout);
        s->slot.session = s;
        s->subscriptions.max = MIN(config->subscriptions, MQTT_SUBSCRIPTIONS_MAX);
        list_init(&s->inbound);
        mqtt_delivery_init(&s->delivery, out, &s->peer, config->delivery_window,
                           config->delivery_bytes);
        s->device = strdup(device);
        if (!s->device)
                return -ENOMEM;
        *ret = TAKE_PTR(s);
        return 0;
}

MqttSession *mqtt_session_free(MqttSession *s)
{
        if (!s)
                return NULL;
        /* Before the will is published: it may match a subscription of the session itself, and what
         * is about to be freed takes no message and wakes nobody. */
        s->state = MQTT_STATE_ENDED;
        mqtt_session_drop_inbound(s);
        mqtt_session_publish_will(s);
        mqtt_router_detach(s->router, &s->slot);
        mqtt_delivery_done(&s->delivery);
        mqtt_subscriptions_done(&s->subscriptions);
        for (size_t i = 0; i < ELEMENTSOF(s->aliases); i++)
                free(s->aliases[i]);
        free(s->client_id);
        free(s->device);
        free(s);
        return NULL;
}

static void tell_client(MqttSession *s, MqttReason reason, const char *text)
{
        MqttProperties p = {
                .present = MQTT_PROPERTY_BIT(MQTT_PROPERTY_REASON_STRING),
                .reason_string = bytes_from_str(text),
        };
        /* Nothing is left to do when it does not fit. */
        if (s->state == MQTT_STATE_CONNECTED)
                mqtt_write_disconnect(s->out, &s->peer, reason, text);
        else if (s->peer.version)
                mqtt_write_connack(s->out, &s->peer, false, reason, &p);
}

void mqtt_session_end(MqttSession *s, MqttReason reason, const char *text)
{
        if (s->state == MQTT_STATE_ENDED)
                return;
        if (reason >= MQTT_UNSPECIFIED_ERROR)
                tell_client(s, reason, text);
        s->state = MQTT_STATE_ENDED;
        s->end_reason = reason;
        snprintf(s->end_text, sizeof(s->end_text), "%s", text);
        mqtt_session_drop_inbound(s);
        s->port->wake(s->userdata);
}

void mqtt_session_check_write(MqttSession *s, int error)
{
        if (error == -ENOBUFS)
                mqtt_session_end(s, MQTT_QUOTA_EXCEEDED, "the client does not read");
        else if (error == -EMSGSIZE)
                mqtt_session_end(s, MQTT_PACKET_TOO_LARGE,
                                 "an answer is larger than the client takes");
        else if (error < 0)
                mqtt_session_end(s, MQTT_UNSPECIFIED_ERROR, "out of memory");
}

void mqtt_session_decide(MqttSession *s, MqttAccess access, Bytes topic, MqttTopic *ret)
{
        if (!topic_within_bounds(topic)) {
                ret->decision = (MqttDecision){ .reason = "topic-too-long" };
        } else {
                memcpy(ret->text, topic.data, topic.len);
                ret->text[topic.len] = '\0';
                ret->decision = s->port->decide(access, ret->text, s->userdata);
        }
        if (!ret->decision.allowed)
                s->port->denied(access, topic, ret->decision.reason, s->userdata);
}

/* Nobody answers for QoS 1 in the other direction but with PUBACK; the packets of QoS 2 belong to
 * nothing that this server began. */
static void on_ack(MqttSession *s, const MqttFrame *f, usec_t now)
{
        MqttAck a;
        MqttReason e = mqtt_parse_ack(f, s->peer.version, &a);
        if (e != MQTT_SUCCESS)
                mqtt_session_end(s, e, "an acknowledgement is not well-formed");
        else if (f->type != MQTT_PUBACK)
                mqtt_session_end(s, MQTT_PROTOCOL_ERROR, "QoS 2 is not in use");
        else if (mqtt_delivery_acknowledged(&s->delivery, a.packet_id))
                mqtt_session_check_write(s, mqtt_delivery_flush(&s->delivery, now));
}

static void on_pingreq(MqttSession *s, const MqttFrame *f)
{
        MqttReason e = mqtt_parse_pingreq(f, s->peer.version);
        if (e != MQTT_SUCCESS)
                mqtt_session_end(s, e, "PINGREQ is not well-formed");
        else
                mqtt_session_check_write(s, mqtt_write_pingresp(s->out));
}

static void on_disconnect(MqttSession *s, const MqttFrame *f)
{
        MqttDisconnect d;
        MqttReason e = mqtt_parse_disconnect(f, s->peer.version, &d);
        if (e != MQTT_SUCCESS) {
                mqtt_session_end(s, e, "DISCONNECT is not well-formed");
                return;
        }
        if (s->expiry_was_zero && d.properties.session_expiry > 0) { /* section 3.14.2.2.2 */
                mqtt_session_end(s, MQTT_PROTOCOL_ERROR, "a session expiry after none");
                return;
        }
        if (d.reason == MQTT_SUCCESS) /* [MQTT-3.14.4-3] */
                mqtt_session_forget_will(s);
        mqtt_session_end(s, MQTT_SUCCESS,
                         d.reason == MQTT_SUCCESS ? "" : mqtt_reason_to_string(d.reason));
}

static void on_packet(MqttSession *s, const MqttFrame *f, usec_t now)
{
        if (s->state == MQTT_STATE_WAIT_CONNECT) {
                mqtt_session_on_connect(s, f, now);
                return;
        }
        if (s->keep_alive > 0)
                s->deadline = usec_add(now, s->keep_alive);
        switch (f->type) {
        case MQTT_PUBLISH:
                mqtt_session_on_publish(s, f, now);
                return;
        case MQTT_PUBACK:
        case MQTT_PUBREC:
        case MQTT_PUBREL:
        case MQTT_PUBCOMP:
                on_ack(s, f, now);
                return;
        case MQTT_SUBSCRIBE:
                mqtt_session_on_subscribe(s, f);
                return;
        case MQTT_UNSUBSCRIBE:
                mqtt_session_on_unsubscribe(s, f);
                return;
        case MQTT_PINGREQ:
                on_pingreq(s, f);
                return;
        case MQTT_DISCONNECT:
                on_disconnect(s, f);
                return;
        case MQTT_CONNECT: /* [MQTT-3.1.0-2] */
                mqtt_session_end(s, MQTT_PROTOCOL_ERROR, "a second CONNECT");
                return;
        case MQTT_AUTH: /* no method was agreed on [MQTT-4.12.0-6] */
        case MQTT_CONNACK:
        case MQTT_SUBACK:
        case MQTT_UNSUBACK:
        case MQTT_PINGRESP:
                break;
        }
        mqtt_session_end(s, MQTT_PROTOCOL_ERROR, "not a packet that a client may send now");
}

/* Enough is on its way to the disk, or the client lets our answers lie. */
static bool is_blocked(const MqttSession *s)
{
        return s->n_inbound >= 2 * (size_t)s->config->receive_maximum ||
               buf_len(s->out) > s->out->max / 2;
}

static MqttInput on_framing(MqttSession *s, MqttFraming framing)
{
        switch (framing) {
        case MQTT_FRAMING_NEED_MORE:
                return MQTT_INPUT_MORE;
        case MQTT_FRAMING_MALFORMED:
                mqtt_session_end(s, MQTT_MALFORMED_PACKET, "a packet's header is not well-formed");
                break;
        case MQTT_FRAMING_TOO_LARGE:
                mqtt_session_end(s, MQTT_PACKET_TOO_LARGE, "a packet is too large");
                break;
        case MQTT_FRAMING_PACKET:
                break;
        }
        return MQTT_INPUT_ENDED;
}

MqttInput mqtt_session_input(MqttSession *s, Bytes in, unsigned packets, usec_t now,
                             size_t *ret_consumed)
{
        MqttFrame f;
        *ret_consumed = 0;
        s->now = now;
        while (s->state != MQTT_STATE_ENDED) {
                Bytes rest = BYTES(in.data + *ret_consumed, in.len - *ret_consumed);
                if (is_blocked(s))
                        return MQTT_INPUT_BLOCKED;
                MqttFraming framing = mqtt_frame(rest, s->config->maximum_packet_size, &f);
                if (framing != MQTT_FRAMING_PACKET)
                        return on_framing(s, framing);
                if (packets-- == 0)
                        return MQTT_INPUT_AGAIN;
                on_packet(s, &f, now);
                *ret_consumed += f.size;
        }
        return MQTT_INPUT_ENDED;
}

void mqtt_session_drained(MqttSession *s, usec_t now)
{
        if (s->state != MQTT_STATE_CONNECTED)
                return;
        mqtt_session_check_write(s, mqtt_delivery_flush(&s->delivery, now));
        s->port->wake(s->userdata);
}

void mqtt_session_tick(MqttSession *s, usec_t now)
{
        s->now = now;
        if (s->state == MQTT_STATE_ENDED || now < s->deadline)
                return;
        if (s->state == MQTT_STATE_WAIT_CONNECT)
                mqtt_session_end(s, MQTT_KEEP_ALIVE_TIMEOUT, "no CONNECT in time");
        else if (s->n_inbound > 0) /* what it sent may lie unread, by our will */
                s->deadline = usec_add(now, s->keep_alive);
        else /* [MQTT-3.1.2-22] */
                mqtt_session_end(s, MQTT_KEEP_ALIVE_TIMEOUT, "the client fell silent");
}

static bool deliver_copy(MqttSession *s, MqttMessage *m, const MqttCopy *c)
{
        int r = mqtt_delivery_add(&s->delivery, m, c->qos, c->prefix, c->ids, c->n_ids);
        if (r < 0)
                mqtt_session_check_write(s, r);
        return r >= 0;
}

bool mqtt_session_deliver(MqttSession *s, MqttMessage *m, const MqttSession *origin, usec_t now)
{
        MqttCopy copy;
        size_t i = 0, n = 0;
        if (s->state != MQTT_STATE_CONNECTED || s->subscriptions.n == 0 ||
            !s->port->may_receive(m->space, s->userdata))
                return false;
        while (s->state == MQTT_STATE_CONNECTED &&
               mqtt_subscriptions_match(&s->subscriptions, m, origin == s, &i, &copy))
                n += deliver_copy(s, m, &copy);
        if (n == 0)
                return false;
        mqtt_session_check_write(s, mqtt_delivery_flush(&s->delivery, now));
        s->port->wake(s->userdata);
        return true;
}

bool mqtt_session_has_subscriptions(const MqttSession *s)
{
        return s->subscriptions.n > 0;
}

bool mqtt_session_has_ended(const MqttSession *s)
{
        return s->state == MQTT_STATE_ENDED;
}

MqttReason mqtt_session_end_reason(const MqttSession *s, const char **ret_text)
{
        *ret_text = s->end_text;
        return s->end_reason;
}

const char *mqtt_session_client_id(const MqttSession *s)
{
        return s->client_id ? s->client_id : "";
}
