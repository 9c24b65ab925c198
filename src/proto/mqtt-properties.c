/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>

#include "proto/mqtt-internal.h"
#include "proto/topic.h"

typedef enum PropertyType {
        PROPERTY_NONE, /* no such identifier */
        PROPERTY_FLAG, /* one byte, 0 or 1 */
        PROPERTY_U16,
        PROPERTY_U32,
        PROPERTY_VARINT,
        PROPERTY_STRING,
        PROPERTY_BINARY,
        PROPERTY_PAIR,
} PropertyType;

/* One row for each property of section 2.2.2.2. */
typedef struct PropertyRow {
        uint8_t type;
        bool nonzero;     /* zero is a protocol error */
        uint16_t allowed; /* MqttContext: where a client may send it */
        uint16_t offset;  /* in MqttProperties */
} PropertyRow;

#define ROW(t, nz, where, field)                                                                   \
        {                                                                                          \
                PROPERTY_##t, nz, where, offsetof(MqttProperties, field)                           \
        }
#define MESSAGE     (MQTT_IN_PUBLISH | MQTT_IN_WILL)
#define ANYWHERE    0xffff
#define SERVER_ONLY 0

static const PropertyRow rows[_MQTT_PROPERTY_MAX] = {
        [MQTT_PROPERTY_PAYLOAD_FORMAT] = ROW(FLAG, false, MESSAGE, payload_format),
        [MQTT_PROPERTY_MESSAGE_EXPIRY] = ROW(U32, false, MESSAGE, message_expiry),
        [MQTT_PROPERTY_CONTENT_TYPE] = ROW(STRING, false, MESSAGE, content_type),
        [MQTT_PROPERTY_RESPONSE_TOPIC] = ROW(STRING, false, MESSAGE, response_topic),
        [MQTT_PROPERTY_CORRELATION_DATA] = ROW(BINARY, false, MESSAGE, correlation_data),
        [MQTT_PROPERTY_SUBSCRIPTION_ID] = ROW(VARINT, true, MQTT_IN_SUBSCRIBE, subscription_id),
        [MQTT_PROPERTY_SESSION_EXPIRY] =
                ROW(U32, false, MQTT_IN_CONNECT | MQTT_IN_DISCONNECT, session_expiry),
        [MQTT_PROPERTY_ASSIGNED_CLIENT_ID] = ROW(STRING, false, SERVER_ONLY, assigned_client_id),
        [MQTT_PROPERTY_SERVER_KEEP_ALIVE] = ROW(U16, false, SERVER_ONLY, server_keep_alive),
        [MQTT_PROPERTY_AUTH_METHOD] =
                ROW(STRING, false, MQTT_IN_CONNECT | MQTT_IN_AUTH, auth_method),
        [MQTT_PROPERTY_AUTH_DATA] = ROW(BINARY, false, MQTT_IN_CONNECT | MQTT_IN_AUTH, auth_data),
        [MQTT_PROPERTY_REQUEST_PROBLEM] = ROW(FLAG, false, MQTT_IN_CONNECT, request_problem),
        [MQTT_PROPERTY_WILL_DELAY] = ROW(U32, false, MQTT_IN_WILL, will_delay),
        [MQTT_PROPERTY_REQUEST_RESPONSE] = ROW(FLAG, false, MQTT_IN_CONNECT, request_response),
        [MQTT_PROPERTY_RESPONSE_INFORMATION] =
                ROW(STRING, false, SERVER_ONLY, response_information),
        [MQTT_PROPERTY_SERVER_REFERENCE] = ROW(STRING, false, SERVER_ONLY, server_reference),
        [MQTT_PROPERTY_REASON_STRING] =
                ROW(STRING, false, MQTT_IN_ACK | MQTT_IN_DISCONNECT | MQTT_IN_AUTH, reason_string),
        [MQTT_PROPERTY_RECEIVE_MAXIMUM] = ROW(U16, true, MQTT_IN_CONNECT, receive_maximum),
        [MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM] = ROW(U16, false, MQTT_IN_CONNECT, topic_alias_maximum),
        [MQTT_PROPERTY_TOPIC_ALIAS] = ROW(U16, false, MQTT_IN_PUBLISH, topic_alias),
        [MQTT_PROPERTY_MAXIMUM_QOS] = ROW(FLAG, false, SERVER_ONLY, maximum_qos),
        [MQTT_PROPERTY_RETAIN_AVAILABLE] = ROW(FLAG, false, SERVER_ONLY, retain_available),
        [MQTT_PROPERTY_USER] = ROW(PAIR, false, ANYWHERE, block),
        [MQTT_PROPERTY_MAXIMUM_PACKET_SIZE] = ROW(U32, true, MQTT_IN_CONNECT, maximum_packet_size),
        [MQTT_PROPERTY_WILDCARD_AVAILABLE] = ROW(FLAG, false, SERVER_ONLY, wildcard_available),
        [MQTT_PROPERTY_SUBSCRIPTION_ID_AVAILABLE] =
                ROW(FLAG, false, SERVER_ONLY, subscription_id_available),
        [MQTT_PROPERTY_SHARED_AVAILABLE] = ROW(FLAG, false, SERVER_ONLY, shared_available),
};

uint32_t mqtt_read_varint(Reader *r, bool *ret_padded)
{
        uint32_t v = 0;
        for (unsigned shift = 0; shift < 28; shift += 7) {
                uint8_t b = reader_u8(r);
                v |= (uint32_t)(b & 0x7f) << shift;
                if (b & 0x80)
                        continue;
                bool padded = shift > 0 && b == 0;
                if (ret_padded)
                        *ret_padded = padded;
                else if (padded) /* [MQTT-1.5.5-1] */
                        reader_fail(r);
                return reader_ok(r) ? v : 0;
        }
        reader_fail(r);
        return 0;
}

Bytes mqtt_read_binary(Reader *r)
{
        uint16_t len = reader_u16(r);
        return reader_bytes(r, len);
}

Bytes mqtt_read_string(Reader *r)
{
        Bytes s = mqtt_read_binary(r);
        if (!mqtt_string_valid(s))
                reader_fail(r);
        return s;
}

static void *field_of(MqttProperties *p, const PropertyRow *row)
{
        return (uint8_t *)p + row->offset;
}

/* Reads one value; false when the value itself is a protocol error. */
static bool read_value(Reader *r, const PropertyRow *row, MqttProperties *p)
{
        void *field = field_of(p, row);
        switch ((PropertyType)row->type) {
        case PROPERTY_FLAG:
                *(uint8_t *)field = reader_u8(r);
                return *(uint8_t *)field <= 1;
        case PROPERTY_U16:
                *(uint16_t *)field = reader_u16(r);
                return !row->nonzero || *(uint16_t *)field > 0 || !reader_ok(r);
        case PROPERTY_U32:
                *(uint32_t *)field = reader_u32(r);
                return !row->nonzero || *(uint32_t *)field > 0 || !reader_ok(r);
        case PROPERTY_VARINT:
                *(uint32_t *)field = mqtt_read_varint(r, NULL);
                return !row->nonzero || *(uint32_t *)field > 0 || !reader_ok(r);
        case PROPERTY_STRING:
                *(Bytes *)field = mqtt_read_string(r);
                return true;
        case PROPERTY_BINARY:
                *(Bytes *)field = mqtt_read_binary(r);
                return true;
        case PROPERTY_PAIR:
                mqtt_read_string(r);
                mqtt_read_string(r);
                return true;
        case PROPERTY_NONE:
                break;
        }
        reader_fail(r);
        return true;
}

static MqttReason read_block(Reader *block, unsigned where, MqttProperties *p)
{
        while (reader_left(block) > 0) {
                uint32_t id = mqtt_read_varint(block, NULL);
                if (id >= _MQTT_PROPERTY_MAX || !(rows[id].allowed & where))
                        return MQTT_MALFORMED_PACKET;
                bool again = p->present & MQTT_PROPERTY_BIT(id);
                if (again && rows[id].type != PROPERTY_PAIR)
                        return MQTT_PROTOCOL_ERROR;
                if (!read_value(block, &rows[id], p))
                        return MQTT_PROTOCOL_ERROR;
                p->present |= MQTT_PROPERTY_BIT(id);
        }
        return reader_ok(block) ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
}

MqttReason mqtt_read_properties(Reader *r, MqttContext where, MqttProperties *ret)
{
        MqttProperties p = { 0 };
        uint32_t len = mqtt_read_varint(r, NULL);
        Reader block = reader_sub(r, len);
        p.block = BYTES(block.p, block.left);
        MqttReason e = read_block(&block, where, &p);
        if (e == MQTT_SUCCESS)
                *ret = p;
        return e;
}

bool mqtt_properties_read(Bytes encoded, uint64_t mask, MqttProperties *ret)
{
        MqttProperties p = { .block = encoded };
        Reader block = reader_new(encoded);
        if (read_block(&block, MESSAGE, &p) != MQTT_SUCCESS || (p.present & ~mask) != 0)
                return false;
        *ret = p;
        return true;
}

bool mqtt_user_property_next(Reader *r, Bytes *ret_name, Bytes *ret_value)
{
        MqttProperties ignored = { 0 };
        while (reader_left(r) > 0) {
                uint32_t id = mqtt_read_varint(r, NULL);
                if (id >= _MQTT_PROPERTY_MAX)
                        return false;
                if (id == MQTT_PROPERTY_USER) {
                        *ret_name = mqtt_read_string(r);
                        *ret_value = mqtt_read_string(r);
                        return reader_ok(r);
                }
                read_value(r, &rows[id], &ignored);
        }
        return false;
}

size_t mqtt_varint_size(uint32_t v)
{
        return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

int mqtt_append_varint(Buf *out, uint32_t v)
{
        uint8_t bytes[4];
        size_t n = 0;
        do {
                bytes[n] = v & 0x7f;
                v >>= 7;
                if (v > 0)
                        bytes[n] |= 0x80;
                n++;
        } while (v > 0);
        return buf_append(out, BYTES(bytes, n));
}

int mqtt_append_binary(Buf *out, Bytes b)
{
        if (b.len > UINT16_MAX)
                return -EMSGSIZE;
        int r = buf_append_u16(out, (uint16_t)b.len);
        return r < 0 ? r : buf_append(out, b);
}

static int append_value(Buf *out, const PropertyRow *row, const MqttProperties *p)
{
        const void *field = (const uint8_t *)p + row->offset;
        switch ((PropertyType)row->type) {
        case PROPERTY_FLAG:
                return buf_append_u8(out, *(const uint8_t *)field);
        case PROPERTY_U16:
                return buf_append_u16(out, *(const uint16_t *)field);
        case PROPERTY_U32:
                return buf_append_u32(out, *(const uint32_t *)field);
        case PROPERTY_VARINT:
                return mqtt_append_varint(out, *(const uint32_t *)field);
        case PROPERTY_STRING:
        case PROPERTY_BINARY:
                return mqtt_append_binary(out, *(const Bytes *)field);
        case PROPERTY_PAIR:
        case PROPERTY_NONE:
                break;
        }
        return -EINVAL;
}

static int append_user_properties(Buf *out, Bytes block)
{
        Reader r = reader_new(block);
        Bytes name, value;
        while (mqtt_user_property_next(&r, &name, &value)) {
                int e = buf_append_u8(out, MQTT_PROPERTY_USER);
                if (e >= 0)
                        e = mqtt_append_binary(out, name);
                if (e >= 0)
                        e = mqtt_append_binary(out, value);
                if (e < 0)
                        return e;
        }
        return 0;
}

int mqtt_properties_append(Buf *out, const MqttProperties *p, uint64_t mask)
{
        uint64_t wanted = p->present & mask;
        for (unsigned id = 0; id < _MQTT_PROPERTY_MAX; id++) {
                if (!(wanted & MQTT_PROPERTY_BIT(id)) || rows[id].type == PROPERTY_PAIR)
                        continue;
                int r = buf_append_u8(out, (uint8_t)id);
                if (r >= 0)
                        r = append_value(out, &rows[id], p);
                if (r < 0)
                        return r;
        }
        if (wanted & MQTT_PROPERTY_BIT(MQTT_PROPERTY_USER))
                return append_user_properties(out, p->block);
        return 0;
}
