/* SPDX-License-Identifier: GPL-3.0-or-later */

/* CONNECT: who it is, which session it takes up, what was agreed on, and the will. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "domain/mqtt-connection-internal.h"
#include "domain/mqtt-journal.h"

static MqttReason check_identity(const MqttConnection *c, const MqttConnect *p, const char **text)
{
        const MqttServer *s = c->server;
        if (mqtt_property_present(&p->properties, MQTT_PROPERTY_AUTH_METHOD)) {
                *text = "the certificate authenticates, no method is offered";
                return MQTT_BAD_AUTHENTICATION_METHOD;
        }
        if ((p->has_user_name || p->has_password) && !s->config.ignore_passwords) {
                *text = "the certificate authenticates, user name and password are not taken";
                return MQTT_BAD_USER_NAME_OR_PASSWORD;
        }
        if (p->client_id.len == 0) {
                *text = "an empty client id needs a clean session"; /* 3.1.1: [MQTT-3.1.3-8] */
                return p->version == MQTT_5 || p->clean_start ? MQTT_SUCCESS
                                                              : MQTT_CLIENT_ID_NOT_VALID;
        }
        *text = "the class of the device allows no such client id";
        return p->client_id.len <= MQTT_CLIENT_ID_MAX &&
                               s->port->may_be(c->device, p->client_id, s->userdata)
                       ? MQTT_SUCCESS
                       : MQTT_CLIENT_ID_NOT_VALID;
}

static int will_new(MqttServer *s, const MqttConnect *p, const MqttTopic *topic, MqttWill **ret)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        int r = mqtt_message_new(bytes_from_str(topic->policy.absolute), p->will_payload,
                                 p->will_qos, &p->will_properties, 0, &m);
        if (r < 0)
                return r;
        m->retain = p->will_retain;
        return mqtt_will_new(m, p->will_properties.will_delay, USEC_INFINITY, ++s->last_will, ret);
}

/* The will that goes when the client is back [MQTT-3.1.3-9]; one without a delay is due first. */
static const MqttWill *will_replaced(const MqttConnection *c, const MqttConnect *p)
{
        const MqttSession *s = mqtt_server_find(c->server, c->device, p->client_id);
        return s && !p->clean_start && s->will && s->will->delay > 0 ? s->will : NULL;
}

/* A will that could never be published is refused now. */
static MqttReason take_will(MqttConnection *c, const MqttConnect *p, MqttWill **ret,
                            const char **text)
{
        MqttTopic topic;
        if (!p->has_will)
                return MQTT_SUCCESS;
        *text = mqtt_connection_decide(c, MQTT_ACCESS_WILL, p->will_topic, &topic);
        if (*text)
                return MQTT_NOT_AUTHORIZED;
        *text = "a will may not speak for attestation";
        if (topic.outcome == POLICY_ATTESTATION)
                return MQTT_NOT_AUTHORIZED;
        *text = "out of memory";
        if (will_new(c->server, p, &topic, ret) < 0)
                return MQTT_UNSPECIFIED_ERROR;
        *text = "there is no room for the will";
        return mqtt_wills_have_room(c->server, (*ret)->message, will_replaced(c, p))
                       ? MQTT_SUCCESS
                       : MQTT_QUOTA_EXCEEDED;
}

/* [MQTT-3.1.4-3]: the other connection with this client id ends. Its session stays unless it was
 * to end with it. */
static MqttSession *take_over(MqttConnection *c, Bytes client_id)
{
        MqttSession *s = mqtt_server_find(c->server, c->device, client_id);
        if (!s || !s->connection)
                return s;
        MqttConnection *old = s->connection;
        mqtt_connection_end(old, MQTT_SESSION_TAKEN_OVER, "another connection uses this client id");
        mqtt_connection_detach(old);
        return mqtt_server_find(c->server, c->device, client_id);
}

/* [MQTT-3.1.3-6]: one that no other session has; a client may choose such a name too. */
static Bytes assign_client_id(const MqttConnection *c, char *ret, size_t size)
{
        MqttServer *s = c->server;
        do
                snprintf(ret, size, "%s/auto-%016" PRIx64, c->device, ++s->last_session);
        while (mqtt_server_find(s, c->device, bytes_from_str(ret)));
        return bytes_from_str(ret);
}

static MqttSession *find_expired(const MqttServer *s, const MqttServerDevice *d)
{
        LIST_FOREACH (i, &d->sessions) {
                MqttSession *session = LIST_ENTRY(i, MqttSession, node);
                if (!session->connection && session->ends <= s->now)
                        return session;
        }
        return NULL;
}

/* -ENOSPC: it has as many as it may. Those that have expired make room before the clock's tick
 * comes to them. */
static int device_with_room(MqttServer *s, const char *name, MqttServerDevice **ret)
{
        const ClassLimits *limits = s->port->limits(name, s->userdata);
        size_t max = limits ? limits->sessions : 0;
        for (;;) {
                int r = mqtt_server_device(s, name, ret);
                if (r < 0 || (*ret)->n_sessions < max)
                        return r;
                MqttSession *expired = find_expired(s, *ret);
                if (!expired) {
                        mqtt_server_release_device(s, *ret);
                        return -ENOSPC;
                }
                mqtt_session_end(expired, s->now); /* and perhaps the device's entry */
        }
}

static int new_session(MqttConnection *c, Bytes client_id)
{
        char assigned[DEVICE_NAME_MAX + 32];
        MqttServer *s = c->server;
        MqttServerDevice *d;
        int r = device_with_room(s, c->device, &d);
        if (r < 0)
                return r;
        if (client_id.len > 0)
                s->last_session++;
        else
                client_id = assign_client_id(c, assigned, sizeof(assigned));
        r = mqtt_session_new(s, c->device, client_id, s->last_session, &c->session);
        if (r < 0 && mqtt_server_device(s, c->device, &d) >= 0) /* it may be gone already */
                mqtt_server_release_device(s, d);
        return r;
}

/* Section 3.1.2.4: the session that is there, or a new one. */
static MqttReason find_session(MqttConnection *c, const MqttConnect *p, bool *ret_present,
                               const char **text)
{
        usec_t now = c->server->now;
        MqttSession *s = p->client_id.len > 0 ? take_over(c, p->client_id) : NULL;
        if (s && (p->clean_start || s->ends <= now)) { /* [MQTT-3.1.2-4], [MQTT-4.1.0-2] */
                mqtt_session_end(s, now);
                s = NULL;
        }
        if (s && s->will && s->will->due <= now) /* before the clock's next tick */
                mqtt_wills_publish(s, now);
        *ret_present = s;
        c->session = s;
        int r = s ? 0 : new_session(c, p->client_id);
        *text = r == -ENOSPC ? "the device has too many sessions" : "out of memory";
        return r == -ENOSPC ? MQTT_QUOTA_EXCEEDED : r < 0 ? MQTT_UNSPECIFIED_ERROR : MQTT_SUCCESS;
}

/* 3.1.1 has two choices: until the connection closes, or as long as this server likes. */
static void agree_expiry(MqttConnection *c, const MqttConnect *p, MqttProperties *ret)
{
        uint32_t longest = c->server->config.session_expiry;
        uint32_t wanted = p->version == MQTT_5 ? p->properties.session_expiry
                          : p->clean_start     ? 0
                                               : MQTT_EXPIRY_NEVER;
        c->session->expiry = MIN(wanted, longest);
        c->session->kept |= c->session->expiry > 0;
        if (c->session->expiry == wanted)
                return;
        ret->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_SESSION_EXPIRY);
        ret->session_expiry = c->session->expiry;
}

/* Section 3.1.2.10: one and a half times what was agreed on. 3.1.1 cannot be told another value. */
static void agree_keep_alive(MqttConnection *c, const MqttConnect *p, usec_t now,
                             MqttProperties *ret)
{
        uint16_t seconds = p->keep_alive, longest = c->server->config.keep_alive;
        if (p->version == MQTT_5 && (seconds == 0 || seconds > longest)) {
                seconds = longest;
                ret->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_SERVER_KEEP_ALIVE);
                ret->server_keep_alive = seconds;
        }
        c->keep_alive = seconds * USEC_PER_SEC * 3 / 2;
        c->deadline = seconds > 0 ? usec_add(now, c->keep_alive) : USEC_INFINITY;
}

/* What the client takes. */
static void agree_limits(MqttConnection *c, const MqttConnect *p)
{
        const MqttProperties *properties = &p->properties;
        MqttOutlet *o = &c->outlet;
        o->peer.no_problem_information =
                mqtt_property_present(properties, MQTT_PROPERTY_REQUEST_PROBLEM) &&
                !properties->request_problem;
        o->peer.maximum_packet_size = properties->maximum_packet_size;
        if (mqtt_property_present(properties, MQTT_PROPERTY_RECEIVE_MAXIMUM))
                o->window = MIN(o->window, properties->receive_maximum);
        mqtt_aliases_init(&o->aliases, properties->topic_alias_maximum);
}

static void offer(const MqttConnection *c, const MqttConnect *p, MqttProperties *ret)
{
        const MqttServerConfig *config = &c->server->config;
        ret->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_RECEIVE_MAXIMUM) |
                        MQTT_PROPERTY_BIT(MQTT_PROPERTY_MAXIMUM_PACKET_SIZE) |
                        MQTT_PROPERTY_BIT(MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM);
        ret->receive_maximum = config->receive_maximum;
        ret->maximum_packet_size = config->maximum_packet_size;
        ret->topic_alias_maximum = c->aliases.n;
        if (p->client_id.len == 0) { /* [MQTT-3.2.2-16] */
                ret->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_ASSIGNED_CLIENT_ID);
                ret->assigned_client_id = bytes_from_str(c->session->client_id);
        }
        if (p->properties.request_response) { /* section 3.2.2.3.15: its own namespace */
                ret->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_RESPONSE_INFORMATION);
                ret->response_information = bytes_from_str(c->device);
        }
}

/* `will` is taken. */
static void accept_connect(MqttConnection *c, const MqttConnect *p, bool present, MqttWill *will,
                           uint64_t changes, usec_t now)
{
        MqttProperties properties = { 0 };
        agree_expiry(c, p, &properties);
        agree_keep_alive(c, p, now, &properties);
        offer(c, p, &properties);
        mqtt_session_connect(c->session, c);
        mqtt_session_set_will(c->session, will);
        c->state = MQTT_ACCEPTING;
        MqttPending *a = mqtt_answer_new(c, MQTT_CONNACK, 0);
        if (!a)
                return;
        int r = mqtt_write_connack(&a->packet, &c->outlet.peer, present, MQTT_SUCCESS, &properties);
        mqtt_answer_commit(c, a, r, changes);
}

void mqtt_connection_on_connect(MqttConnection *c, const MqttFrame *f, usec_t now)
{
        MqttConnect p = { 0 };
        MqttWill *will = NULL;
        bool present = false;
        uint64_t changes = c->server->n_changes;
        const char *text = "CONNECT is not well-formed";
        if (f->type != MQTT_CONNECT) { /* [MQTT-3.1.0-1] */
                mqtt_connection_end(c, MQTT_PROTOCOL_ERROR, "the first packet is not CONNECT");
                return;
        }
        MqttReason e = mqtt_parse_connect(f, &p);
        c->outlet.peer.version = p.version;
        if (e == MQTT_UNSUPPORTED_VERSION)
                text = "only MQTT 3.1.1 and 5.0 are spoken here";
        agree_limits(c, &p); /* a refusal keeps within them too [MQTT-3.1.2-24] */
        if (e == MQTT_SUCCESS)
                e = check_identity(c, &p, &text);
        if (e == MQTT_SUCCESS)
                e = take_will(c, &p, &will, &text);
        if (e == MQTT_SUCCESS)
                e = find_session(c, &p, &present, &text);
        if (c->server->forgotten > c->server->durable) /* a session that ended must not come back */
                changes = UINT64_MAX;
        c->server->port->begin(c->server->userdata);
        if (e == MQTT_SUCCESS) {
                accept_connect(c, &p, present, will, changes, now);
                return;
        }
        mqtt_will_free(will);
        mqtt_connection_end(c, e, text);
}
