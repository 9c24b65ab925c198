/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-connection.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "domain/mqtt-connection-internal.h"

int mqtt_connection_new(MqttServer *server, const char *device, Buf *out,
                        const MqttConnectionPort *port, void *userdata, usec_t now,
                        MqttConnection **ret)
{
        MqttConnection *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->server = server;
        c->port = port;
        c->userdata = userdata;
        c->outlet.out = out;
        c->outlet.window = server->config.window;
        c->deadline = usec_add(now, server->config.connect_timeout);
        list_init(&c->answers);
        mqtt_aliases_init(&c->aliases, server->config.topic_alias_maximum);
        c->device = strdup(device);
        if (!c->device) {
                free(c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

/* What was submitted goes on without anybody to answer. */
static void drop_answers(MqttConnection *c)
{
        LIST_FOREACH_SAFE (i, &c->answers) {
                MqttPending *p = LIST_ENTRY(i, MqttPending, order);
                list_remove(&p->order);
                p->connection = NULL;
                if (p->settled)
                        mqtt_pending_free(p);
        }
        c->n_answers = 0;
}

void mqtt_connection_detach(MqttConnection *c)
{
        MqttSession *s = TAKE_PTR(c->session);
        if (s)
                mqtt_session_disconnect(s, c->goodbye, c->server->now);
}

MqttConnection *mqtt_connection_free(MqttConnection *c)
{
        if (!c)
                return NULL;
        c->state = MQTT_ENDED;
        drop_answers(c);
        if (c->session)
                c->session->delivery.outlet = NULL;
        mqtt_connection_detach(c);
        mqtt_aliases_done(&c->aliases);
        mqtt_aliases_done(&c->outlet.aliases);
        free(c->end_text);
        free(c->device);
        free(c);
        return NULL;
}

/* Section 3.2.2.2: what ends a connection later is no code of CONNACK. */
static MqttReason connack_reason(MqttReason reason)
{
        bool later = reason == MQTT_SESSION_TAKEN_OVER || reason == MQTT_ADMINISTRATIVE_ACTION ||
                     reason == MQTT_SERVER_SHUTTING_DOWN;
        return later ? MQTT_SERVER_UNAVAILABLE : reason;
}

static void tell_client(MqttConnection *c, MqttReason reason, const char *text)
{
        const MqttPeer *peer = &c->outlet.peer;
        MqttProperties p = {
                .present = MQTT_PROPERTY_BIT(MQTT_PROPERTY_REASON_STRING),
                .reason_string = bytes_from_str(text),
        };
        /* Nothing is left to do when it does not fit. */
        if (c->state == MQTT_CONNECTED)
                mqtt_write_disconnect(c->outlet.out, peer, reason, text);
        else if (peer->version)
                mqtt_write_connack(c->outlet.out, peer, false, connack_reason(reason), &p);
}

void mqtt_connection_end(MqttConnection *c, MqttReason reason, const char *text)
{
        if (c->state == MQTT_ENDED)
                return;
        if (reason >= MQTT_UNSPECIFIED_ERROR)
                tell_client(c, reason, text);
        c->state = MQTT_ENDED;
        c->end_reason = reason;
        c->end_text = strdup(text); /* without memory the reason code has to do */
        drop_answers(c);
        if (c->session) /* nothing more goes out; what comes for it waits */
                c->session->delivery.outlet = NULL;
        c->port->wake(c->userdata);
}

void mqtt_connection_check_write(MqttConnection *c, int error)
{
        if (error == -ENOBUFS)
                mqtt_connection_end(c, MQTT_QUOTA_EXCEEDED, "the client does not read");
        else if (error == -EMSGSIZE)
                mqtt_connection_end(c, MQTT_PACKET_TOO_LARGE,
                                    "an answer is larger than the client takes");
        else if (error < 0)
                mqtt_connection_end(c, MQTT_UNSPECIFIED_ERROR, "out of memory");
}

void mqtt_connection_flushed(MqttConnection *c, int error)
{
        mqtt_connection_check_write(c, error);
        c->port->wake(c->userdata);
}

const char *mqtt_connection_decide(MqttConnection *c, MqttAccess access, Bytes topic,
                                   MqttTopic *ret)
{
        const MqttServer *s = c->server;
        const char *reason = "topic-too-long";
        if (topic_within_bounds(topic)) {
                memcpy(ret->text, topic.data, topic.len);
                ret->text[topic.len] = '\0';
                ret->outcome =
                        s->port->decide(access, c->device, ret->text, &ret->policy, s->userdata);
                if (policy_allows(ret->outcome))
                        return NULL;
                reason = policy_outcome_to_string(ret->outcome);
        }
        c->port->denied(access, topic, reason, c->userdata);
        return reason;
}

static void on_pingreq(MqttConnection *c, const MqttFrame *f)
{
        MqttReason e = mqtt_parse_pingreq(f, c->outlet.peer.version);
        if (e != MQTT_SUCCESS)
                mqtt_connection_end(c, e, "PINGREQ is not well-formed");
        else
                mqtt_connection_check_write(c, mqtt_write_pingresp(c->outlet.out));
}

/* Section 3.14.2.2.2: none may become some. */
static bool take_expiry(MqttConnection *c, const MqttProperties *p)
{
        if (!mqtt_property_present(p, MQTT_PROPERTY_SESSION_EXPIRY))
                return true;
        if (c->session->expiry == 0 && p->session_expiry > 0)
                return false;
        c->session->expiry = MIN(p->session_expiry, c->server->config.session_expiry);
        return true;
}

static void on_disconnect(MqttConnection *c, const MqttFrame *f)
{
        MqttDisconnect d;
        MqttReason e = mqtt_parse_disconnect(f, c->outlet.peer.version, &d);
        if (e != MQTT_SUCCESS) {
                mqtt_connection_end(c, e, "DISCONNECT is not well-formed");
                return;
        }
        if (!take_expiry(c, &d.properties)) {
                mqtt_connection_end(c, MQTT_PROTOCOL_ERROR, "a session expiry after none");
                return;
        }
        c->goodbye = d.reason == MQTT_SUCCESS; /* [MQTT-3.14.4-3] */
        mqtt_connection_end(c, MQTT_SUCCESS, c->goodbye ? "" : mqtt_reason_to_string(d.reason));
}

static void on_auth(MqttConnection *c, const MqttFrame *f)
{
        MqttDisconnect d;
        MqttReason e = mqtt_parse_auth(f, c->outlet.peer.version, &d);
        /* No method was agreed on: section 4.12. */
        mqtt_connection_end(c, e != MQTT_SUCCESS ? e : MQTT_PROTOCOL_ERROR,
                            "AUTH without an authentication method");
}

static void on_packet(MqttConnection *c, const MqttFrame *f, usec_t now)
{
        if (c->state == MQTT_WAITS_FOR_CONNECT) {
                mqtt_connection_on_connect(c, f, now);
                return;
        }
        if (c->keep_alive > 0)
                c->deadline = usec_add(now, c->keep_alive);
        switch (f->type) {
        case MQTT_PUBLISH:
                mqtt_connection_on_publish(c, f, now);
                return;
        case MQTT_PUBREL:
                mqtt_connection_on_pubrel(c, f);
                return;
        case MQTT_PUBACK:
        case MQTT_PUBREC:
        case MQTT_PUBCOMP:
                mqtt_connection_on_ack(c, f, now);
                return;
        case MQTT_SUBSCRIBE:
                mqtt_connection_on_subscribe(c, f, now);
                return;
        case MQTT_UNSUBSCRIBE:
                mqtt_connection_on_unsubscribe(c, f);
                return;
        case MQTT_PINGREQ:
                on_pingreq(c, f);
                return;
        case MQTT_DISCONNECT:
                on_disconnect(c, f);
                return;
        case MQTT_AUTH:
                on_auth(c, f);
                return;
        case MQTT_CONNECT: /* [MQTT-3.1.0-2] */
                mqtt_connection_end(c, MQTT_PROTOCOL_ERROR, "a second CONNECT");
                return;
        case MQTT_CONNACK:
        case MQTT_SUBACK:
        case MQTT_UNSUBACK:
        case MQTT_PINGRESP:
                break;
        }
        mqtt_connection_end(c, MQTT_PROTOCOL_ERROR, "not a packet that a client may send");
}

/* Enough is on its way to the disk, or the client lets our answers lie. */
static bool is_blocked(const MqttConnection *c)
{
        return c->state == MQTT_ACCEPTING ||
               c->n_answers >= 2 * (size_t)c->server->config.receive_maximum ||
               buf_len(c->outlet.out) > c->outlet.out->max / 2;
}

static MqttInput on_framing(MqttConnection *c, MqttFraming framing)
{
        switch (framing) {
        case MQTT_FRAMING_NEED_MORE:
                return MQTT_INPUT_MORE;
        case MQTT_FRAMING_MALFORMED:
                mqtt_connection_end(c, MQTT_MALFORMED_PACKET,
                                    "a packet's header is not well-formed");
                break;
        case MQTT_FRAMING_TOO_LARGE:
                mqtt_connection_end(c, MQTT_PACKET_TOO_LARGE, "a packet is too large");
                break;
        case MQTT_FRAMING_PACKET:
                break;
        }
        return MQTT_INPUT_ENDED;
}

/* What makes the disk write as often as the client likes: all else belongs to one of these. A will
 * is a message as well: who comes back and falls silent again and again publishes. */
static bool is_charged(const MqttConnection *c, const MqttFrame *f)
{
        MqttConnect p;
        if (c->state == MQTT_CONNECTED)
                return f->type == MQTT_PUBLISH || f->type == MQTT_SUBSCRIBE ||
                       f->type == MQTT_UNSUBSCRIBE;
        return f->type == MQTT_CONNECT && mqtt_parse_connect(f, &p) == MQTT_SUCCESS && p.has_will;
}

/* How long this packet has to wait. */
static usec_t charge(MqttConnection *c, const MqttFrame *f, usec_t now)
{
        const MqttServer *s = c->server;
        if (!is_charged(c, f))
                return 0;
        usec_t wait = s->port->charge(c->device, f->size, now, s->userdata);
        c->throttled = wait > 0;
        return wait;
}

MqttInput mqtt_connection_input(MqttConnection *c, Bytes in, unsigned packets, usec_t now,
                                size_t *ret_consumed, usec_t *ret_wait)
{
        MqttFrame f;
        *ret_consumed = 0;
        *ret_wait = 0;
        c->n_filters = 0;
        c->server->now = now;
        for (unsigned taken = 0; c->state != MQTT_ENDED; taken++) {
                if (is_blocked(c))
                        return MQTT_INPUT_BLOCKED;
                if (*ret_consumed == in.len)
                        return MQTT_INPUT_MORE;
                Bytes rest = BYTES(in.data + *ret_consumed, in.len - *ret_consumed);
                MqttFraming framing = mqtt_frame(rest, c->server->config.maximum_packet_size, &f);
                if (framing != MQTT_FRAMING_PACKET)
                        return on_framing(c, framing);
                if (taken + c->n_filters >= packets)
                        return MQTT_INPUT_AGAIN;
                *ret_wait = charge(c, &f, now);
                if (*ret_wait > 0)
                        return MQTT_INPUT_BLOCKED;
                on_packet(c, &f, now);
                *ret_consumed += f.size;
        }
        return MQTT_INPUT_ENDED;
}

void mqtt_connection_drained(MqttConnection *c, usec_t now)
{
        MqttServer *s = c->server;
        s->now = now;
        s->port->begin(s->userdata);
        if (c->state == MQTT_CONNECTED)
                mqtt_session_flush(c->session, now);
        if (c->state != MQTT_ENDED)
                c->port->wake(c->userdata);
}

void mqtt_connection_tick(MqttConnection *c, usec_t now)
{
        c->server->now = now;
        if (c->state == MQTT_ENDED || now < c->deadline)
                return;
        bool is_new = c->state == MQTT_WAITS_FOR_CONNECT;
        usec_t longest = is_new ? c->server->config.connect_timeout : c->keep_alive;
        if (c->n_answers > 0 || c->throttled) /* what it sent may lie unread, by our will */
                c->deadline = usec_add(now, longest);
        else if (is_new)
                mqtt_connection_end(c, MQTT_KEEP_ALIVE_TIMEOUT, "no CONNECT in time");
        else /* [MQTT-3.1.2-22] */
                mqtt_connection_end(c, MQTT_KEEP_ALIVE_TIMEOUT, "the client fell silent");
}

bool mqtt_connection_has_ended(const MqttConnection *c)
{
        return c->state == MQTT_ENDED;
}

MqttReason mqtt_connection_end_reason(const MqttConnection *c, const char **ret_text)
{
        *ret_text = strempty(c->end_text);
        return c->end_reason;
}

const char *mqtt_connection_client_id(const MqttConnection *c)
{
        return c->session ? c->session->client_id : "";
}

const char *mqtt_connection_device(const MqttConnection *c)
{
        return c->device;
}
