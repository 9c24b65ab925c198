/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "proto/mqtt-internal.h"

/* A packet grows in `out` itself: the body is appended first and the header moved in front of it
 * at the end, or the whole taken back. So nobody counts lengths twice. */
typedef struct Draft {
        Buf *out;
        size_t begin; /* length of `out` before */
        int error;    /* sticky */
} Draft;

static Draft draft_new(Buf *out)
{
        return (Draft){ .out = out, .begin = buf_len(out) };
}

static void put_u8(Draft *d, uint8_t v)
{
        if (d->error >= 0)
                d->error = buf_append_u8(d->out, v);
}

static void put_u16(Draft *d, uint16_t v)
{
        if (d->error >= 0)
                d->error = buf_append_u16(d->out, v);
}

static void put_u32(Draft *d, uint32_t v)
{
        if (d->error >= 0)
                d->error = buf_append_u32(d->out, v);
}

static void put_bytes(Draft *d, Bytes b)
{
        if (d->error >= 0)
                d->error = buf_append(d->out, b);
}

static void put_varint(Draft *d, uint32_t v)
{
        if (d->error >= 0)
                d->error = mqtt_append_varint(d->out, v);
}

static void put_binary(Draft *d, Bytes b)
{
        if (d->error >= 0)
                d->error = mqtt_append_binary(d->out, b);
}

/* Puts `v` as a variable integer in front of everything after offset `at`. */
static void insert_varint(Draft *d, size_t at, size_t v)
{
        if (d->error < 0)
                return;
        if (v > MQTT_VARINT_MAX) {
                d->error = -EMSGSIZE;
                return;
        }
        size_t n = mqtt_varint_size((uint32_t)v), moved = buf_len(d->out) - at;
        put_varint(d, (uint32_t)v);
        if (d->error < 0)
                return;
        uint8_t size[4], *p = d->out->data + d->out->start + at;
        memcpy(size, p + moved, n);
        memmove(p + n, p, moved);
        memcpy(p, size, n);
}

static size_t mark(const Draft *d)
{
        return buf_len(d->out);
}

/* The length in front of the properties that were put since `at`. */
static void end_properties(Draft *d, size_t at)
{
        insert_varint(d, at, mark(d) - at);
}

/* The length of the packet in front of its body, which begins right behind the first byte. */
static int finish(Draft *d, const MqttPeer *peer)
{
        size_t body = d->begin + 1;
        if (d->error >= 0)
                insert_varint(d, body, mark(d) - body);
        if (d->error >= 0 && peer && peer->maximum_packet_size > 0 &&
            mark(d) - d->begin > peer->maximum_packet_size)
                d->error = -EMSGSIZE;
        if (d->error < 0)
                d->out->end = d->out->start + d->begin;
        return d->error;
}

static void put_type(Draft *d, MqttType type, uint8_t flags)
{
        put_u8(d, (uint8_t)(type << 4 | flags));
}

static void put_reason_string(Draft *d, const char *reason_string)
{
        size_t at = mark(d);
        if (reason_string) {
                put_u8(d, MQTT_PROPERTY_REASON_STRING);
                put_binary(d, bytes_from_str(reason_string));
        }
        end_properties(d, at);
}

/* Section 3.2.2.3 of 3.1.1. */
static int connack_code_3_1_1(MqttReason reason)
{
        if (reason == MQTT_SUCCESS)
                return 0;
        if (reason == MQTT_UNSUPPORTED_VERSION)
                return 1;
        if (reason == MQTT_CLIENT_ID_NOT_VALID)
                return 2;
        if (reason == MQTT_SERVER_UNAVAILABLE || reason == MQTT_SERVER_BUSY ||
            reason == MQTT_QUOTA_EXCEEDED)
                return 3;
        if (reason == MQTT_BAD_USER_NAME_OR_PASSWORD)
                return 4;
        if (reason == MQTT_NOT_AUTHORIZED || reason == MQTT_BANNED)
                return 5;
        return -EOPNOTSUPP;
}

static int connack(Buf *out, const MqttPeer *peer, bool session_present, uint8_t code,
                   const MqttProperties *properties, uint64_t mask)
{
        Draft d = draft_new(out);
        put_type(&d, MQTT_CONNACK, 0);
        put_u8(&d, session_present);
        put_u8(&d, code);
        if (peer->version == MQTT_5) {
                size_t at = mark(&d);
                if (properties && d.error >= 0)
                        d.error = mqtt_properties_append(out, properties, mask);
                end_properties(&d, at);
        }
        return finish(&d, peer);
}

int mqtt_write_connack(Buf *out, const MqttPeer *peer, bool session_present, MqttReason reason,
                       const MqttProperties *properties)
{
        const uint64_t droppable = MQTT_PROPERTY_BIT(MQTT_PROPERTY_REASON_STRING) |
                                   MQTT_PROPERTY_BIT(MQTT_PROPERTY_USER);
        int code = peer->version == MQTT_5 ? (int)reason : connack_code_3_1_1(reason);
        if (code < 0)
                return code;
        int r = connack(out, peer, session_present, (uint8_t)code, properties, UINT64_MAX);
        if (r == -EMSGSIZE) /* [MQTT-3.2.2-19], -20 */
                r = connack(out, peer, session_present, (uint8_t)code, properties, ~droppable);
        return r;
}

static void put_publish_properties(Draft *d, const MqttOutgoing *m)
{
        size_t at = mark(d);
        if (m->expires) {
                put_u8(d, MQTT_PROPERTY_MESSAGE_EXPIRY);
                put_u32(d, m->message_expiry);
        }
        if (m->topic_alias > 0) {
                put_u8(d, MQTT_PROPERTY_TOPIC_ALIAS);
                put_u16(d, m->topic_alias);
        }
        put_bytes(d, m->properties);
        for (size_t i = 0; i < m->n_subscription_ids; i++) {
                put_u8(d, MQTT_PROPERTY_SUBSCRIPTION_ID);
                put_varint(d, m->subscription_ids[i]);
        }
        end_properties(d, at);
}

int mqtt_write_publish(Buf *out, const MqttPeer *peer, const MqttOutgoing *m)
{
        Draft d = draft_new(out);
        put_type(&d, MQTT_PUBLISH, (uint8_t)(m->dup << 3 | m->qos << 1 | m->retain));
        put_binary(&d, m->topic);
        if (m->qos > 0)
                put_u16(&d, m->packet_id);
        if (peer->version == MQTT_5)
                put_publish_properties(&d, m);
        put_bytes(&d, m->payload);
        return finish(&d, peer);
}

static int ack(Buf *out, const MqttPeer *peer, MqttType type, uint16_t packet_id, MqttReason reason,
               const char *reason_string)
{
        Draft d = draft_new(out);
        put_type(&d, type, type == MQTT_PUBREL ? 2 : 0);
        put_u16(&d, packet_id);
        if (peer->version == MQTT_5 && (reason != MQTT_SUCCESS || reason_string)) {
                put_u8(&d, (uint8_t)reason);
                if (reason_string)
                        put_reason_string(&d, reason_string);
        }
        return finish(&d, peer);
}

int mqtt_write_ack(Buf *out, const MqttPeer *peer, MqttType type, uint16_t packet_id,
                   MqttReason reason, const char *reason_string)
{
        if (peer->no_problem_information)
                reason_string = NULL;
        int r = ack(out, peer, type, packet_id, reason, reason_string);
        if (r == -EMSGSIZE && reason_string)
                r = ack(out, peer, type, packet_id, reason, NULL);
        return r;
}

static int suback(Buf *out, const MqttPeer *peer, uint16_t packet_id, Bytes codes,
                  const char *reason_string)
{
        Draft d = draft_new(out);
        put_type(&d, MQTT_SUBACK, 0);
        put_u16(&d, packet_id);
        if (peer->version == MQTT_5)
                put_reason_string(&d, reason_string);
        for (size_t i = 0; i < codes.len; i++)
                put_u8(&d, peer->version == MQTT_5 || codes.data[i] < 0x80
                                   ? codes.data[i]
                                   : (uint8_t)MQTT_UNSPECIFIED_ERROR);
        return finish(&d, peer);
}

int mqtt_write_suback(Buf *out, const MqttPeer *peer, uint16_t packet_id, Bytes codes,
                      const char *reason_string)
{
        if (peer->no_problem_information)
                reason_string = NULL;
        int r = suback(out, peer, packet_id, codes, reason_string);
        if (r == -EMSGSIZE && reason_string)
                r = suback(out, peer, packet_id, codes, NULL);
        return r;
}

int mqtt_write_unsuback(Buf *out, const MqttPeer *peer, uint16_t packet_id, Bytes codes)
{
        Draft d = draft_new(out);
        put_type(&d, MQTT_UNSUBACK, 0);
        put_u16(&d, packet_id);
        if (peer->version == MQTT_5) {
                put_reason_string(&d, NULL);
                put_bytes(&d, codes);
        }
        return finish(&d, peer);
}

int mqtt_write_pingresp(Buf *out)
{
        Draft d = draft_new(out);
        put_type(&d, MQTT_PINGRESP, 0);
        return finish(&d, NULL);
}

static int disconnect(Buf *out, const MqttPeer *peer, MqttReason reason, const char *reason_string)
{
        Draft d = draft_new(out);
        put_type(&d, MQTT_DISCONNECT, 0);
        put_u8(&d, (uint8_t)reason);
        put_reason_string(&d, reason_string);
        return finish(&d, peer);
}

int mqtt_write_disconnect(Buf *out, const MqttPeer *peer, MqttReason reason,
                          const char *reason_string)
{
        if (peer->version != MQTT_5)
                return 0;
        int r = disconnect(out, peer, reason, reason_string);
        if (r == -EMSGSIZE && reason_string) /* [MQTT-3.14.2-3] */
                r = disconnect(out, peer, reason, NULL);
        return r;
}
