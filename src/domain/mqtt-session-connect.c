/* SPDX-License-Identifier: GPL-3.0-or-later */

/* CONNECT: who it is, what was agreed on, and the will. */

#include <ctype.h>
#include <errno.h>

#include "base/str.h"
#include "domain/mqtt-session-internal.h"

/* The characters of device_name_valid(). */
static bool is_name_character(uint8_t c)
{
        return isalnum(c) || c == '.' || c == '_' || c == '-';
}

static bool client_id_allowed(const char *device, Bytes id)
{
        size_t len = strlen(device);
        if (id.len < len || id.len > MQTT_CLIENT_ID_MAX || memcmp(id.data, device, len) != 0)
                return false;
        return id.len == len || (id.data[len] < 0x80 && !is_name_character(id.data[len]));
}

static MqttReason check_identity(const MqttSession *s, const MqttConnect *c, const char **text)
{
        if (mqtt_property_present(&c->properties, MQTT_PROPERTY_AUTH_METHOD)) {
                *text = "the certificate authenticates, no method is offered";
                return MQTT_BAD_AUTHENTICATION_METHOD;
        }
        if (c->has_user_name || c->has_password) {
                *text = "the certificate authenticates, user name and password are not taken";
                return MQTT_BAD_USER_NAME_OR_PASSWORD;
        }
        if (c->client_id.len == 0) {
                *text = "an empty client id needs a clean session"; /* 3.1.1: [MQTT-3.1.3-8] */
                return c->version == MQTT_5 || c->clean_start ? MQTT_SUCCESS
                                                              : MQTT_CLIENT_ID_NOT_VALID;
        }
        *text = "the client id has to be the device's name";
        return client_id_allowed(s->device, c->client_id) ? MQTT_SUCCESS : MQTT_CLIENT_ID_NOT_VALID;
}

/* [MQTT-3.2.2-12], -13 and the policy. A will that could not be published is refused now. */
static MqttReason check_will(const MqttConnect *c, const char **text)
{
        if (c->will_qos > 1) {
                *text = "QoS 2 is not offered";
                return MQTT_QOS_NOT_SUPPORTED;
        }
        if (c->will_retain && c->version == MQTT_5) {
                *text = "retained messages are not offered";
                return MQTT_RETAIN_NOT_SUPPORTED;
        }
        return MQTT_SUCCESS;
}

static MqttReason take_will(MqttSession *s, const MqttConnect *c, const char **text)
{
        MqttTopic topic;
        MqttReason e = check_will(c, text);
        if (e != MQTT_SUCCESS)
                return e;
        mqtt_session_decide(s, MQTT_ACCESS_PUBLISH, c->will_topic, &topic);
        *text = topic.decision.reason;
        if (!topic.decision.allowed)
                return MQTT_NOT_AUTHORIZED;
        *text = "a will may not speak for attestation";
        if (topic.decision.space != MQTT_SPACE_DEVICE)
                return MQTT_NOT_AUTHORIZED;
        *text = "out of memory";
        if (c->will_properties.content_type.len > 0) {
                s->will_content_type = bytes_to_str(c->will_properties.content_type);
                if (!s->will_content_type)
                        return MQTT_UNSPECIFIED_ERROR;
        }
        /* Its expiry begins when it is published: until then `expires` is a span. */
        int r = mqtt_message_new(MQTT_SPACE_DEVICE, bytes_from_str(topic.decision.topic),
                                 c->will_payload, c->will_qos, &c->will_properties, 0, &s->will);
        return r < 0 ? MQTT_UNSPECIFIED_ERROR : MQTT_SUCCESS;
}

void mqtt_session_forget_will(MqttSession *s)
{
        s->will = mqtt_message_unref(s->will);
        free(s->will_content_type);
        s->will_content_type = NULL;
}

void mqtt_session_publish_will(MqttSession *s)
{
        if (!s->will)
                return;
        MqttSubmission m = {
                .space = MQTT_SPACE_DEVICE,
                .topic = (const char *)s->will->topic.data,
                .qos = s->will->qos,
                .payload = s->will->payload,
                .content_type = bytes_from_str(strempty(s->will_content_type)),
        };
        s->port->submit(NULL, &m, s->userdata); /* without memory it is lost, like the client */
        s->will->expires = usec_add(s->now, s->will->expires);
        mqtt_router_publish(s->router, s->device, s->will, s, s->now);
        mqtt_session_forget_will(s);
}

/* Section 3.1.2.10: one and a half times what was agreed on. 3.1.1 cannot be told another value. */
static void agree_keep_alive(MqttSession *s, const MqttConnect *c, MqttProperties *p)
{
        uint16_t seconds = c->keep_alive;
        if (c->version == MQTT_5 && (seconds == 0 || seconds > s->config->keep_alive)) {
                seconds = s->config->keep_alive;
                p->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_SERVER_KEEP_ALIVE);
                p->server_keep_alive = seconds;
        }
        s->keep_alive = seconds * USEC_PER_SEC * 3 / 2;
}

/* What the client takes: its receive maximum and packet size bound our window. */
static void agree_limits(MqttSession *s, const MqttConnect *c)
{
        const MqttProperties *p = &c->properties;
        s->peer.no_problem_information =
                mqtt_property_present(p, MQTT_PROPERTY_REQUEST_PROBLEM) && !p->request_problem;
        s->peer.maximum_packet_size = p->maximum_packet_size;
        s->expiry_was_zero = p->session_expiry == 0;
        if (mqtt_property_present(p, MQTT_PROPERTY_RECEIVE_MAXIMUM))
                s->delivery.window = MIN(s->delivery.window, p->receive_maximum);
}

static void offer(const MqttSession *s, const MqttConnect *c, MqttProperties *p)
{
        p->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_RECEIVE_MAXIMUM) |
                      MQTT_PROPERTY_BIT(MQTT_PROPERTY_MAXIMUM_QOS) |
                      MQTT_PROPERTY_BIT(MQTT_PROPERTY_RETAIN_AVAILABLE) |
                      MQTT_PROPERTY_BIT(MQTT_PROPERTY_MAXIMUM_PACKET_SIZE) |
                      MQTT_PROPERTY_BIT(MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM) |
                      MQTT_PROPERTY_BIT(MQTT_PROPERTY_SHARED_AVAILABLE);
        p->receive_maximum = s->config->receive_maximum;
        p->maximum_qos = 1;
        p->maximum_packet_size = s->config->maximum_packet_size;
        p->topic_alias_maximum = MIN(s->config->topic_alias_maximum, MQTT_TOPIC_ALIASES_MAX);
        if (c->properties.session_expiry > 0)
                p->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_SESSION_EXPIRY); /* 0 */
        if (c->client_id.len == 0) {                                           /* [MQTT-3.1.3-7] */
                p->present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_ASSIGNED_CLIENT_ID);
                p->assigned_client_id = bytes_from_str(s->client_id);
        }
}

static MqttReason attach(MqttSession *s, const MqttConnect *c, const char **text)
{
        *text = "out of memory";
        s->client_id = c->client_id.len > 0 ? bytes_to_str(c->client_id) : strdup(s->device);
        if (!s->client_id)
                return MQTT_UNSPECIFIED_ERROR;
        s->slot.client_id = s->client_id;
        int r = mqtt_router_attach(s->router, s->device, &s->slot);
        if (r == -ENOSPC)
                *text = "the device has too many sessions";
        return r == -ENOSPC ? MQTT_QUOTA_EXCEEDED : r < 0 ? MQTT_UNSPECIFIED_ERROR : MQTT_SUCCESS;
}

static void accept_connect(MqttSession *s, const MqttConnect *c, usec_t now)
{
        MqttProperties p = { 0 };
        agree_limits(s, c);
        agree_keep_alive(s, c, &p);
        offer(s, c, &p);
        s->deadline = s->keep_alive > 0 ? usec_add(now, s->keep_alive) : USEC_INFINITY;
        s->state = MQTT_STATE_CONNECTED;
        mqtt_session_check_write(s, mqtt_write_connack(s->out, &s->peer, false, MQTT_SUCCESS, &p));
        if (s->state == MQTT_STATE_CONNECTED)
                s->port->connected(s->userdata);
}

void mqtt_session_on_connect(MqttSession *s, const MqttFrame *f, usec_t now)
{
        MqttConnect c = { 0 };
        const char *text = "CONNECT is not well-formed";
        if (f->type != MQTT_CONNECT) { /* [MQTT-3.1.0-1] */
                mqtt_session_end(s, MQTT_PROTOCOL_ERROR, "the first packet is not CONNECT");
                return;
        }
        MqttReason e = mqtt_parse_connect(f, &c);
        s->peer.version = c.version;
        if (e == MQTT_UNSUPPORTED_VERSION)
                text = "only MQTT 3.1.1 and 5.0 are spoken here";
        if (e == MQTT_SUCCESS)
                e = check_identity(s, &c, &text);
        if (e == MQTT_SUCCESS && c.has_will)
                e = take_will(s, &c, &text);
        if (e == MQTT_SUCCESS)
                e = attach(s, &c, &text);
        if (e == MQTT_SUCCESS) {
                accept_connect(s, &c, now);
                return;
        }
        mqtt_session_forget_will(s);
        mqtt_session_end(s, e, text);
}
