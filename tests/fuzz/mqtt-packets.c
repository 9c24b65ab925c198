/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-packets.h"

#include "base/str.h"
#include "require.h"
#include <stdio.h>

static const char *const topics[] = {
        "t",    "t/x",  "in/1",     "a/t/1", "a/in/1",           "b/t/1",
        "b/in", "b",    "cmd/1",    "$x",    "rats/a/challenge", "rats/b/challenge",
        "a/t",  "long", "t/long/1", "b/in/",
};

static const char *const filters[] = {
        "#",      "+",          "t/#",        "a/#",          "b/t/#",          "+/t/#",
        "b/#",    "+/1",        "t",          "b/in/1",       "rats/a/#",       "rats/b/#",
        "cmd/#",  "$share/g/t", "$share/g/#", "$share/h/t/#", "$share/g/a/t/1", "$share/g/b/t/#",
        "a/in/#",
};

static const char *const clients[] = { "c1", "c2", "c1", "", "a/auto-1", "x" };

static void put_u8(Buf *b, uint8_t v)
{
        require(buf_append_u8(b, v) == 0);
}

static void put_u16(Buf *b, uint16_t v)
{
        require(buf_append_u16(b, v) == 0);
}

static void put_u32(Buf *b, uint32_t v)
{
        require(buf_append_u32(b, v) == 0);
}

static void put_text(Buf *b, Bytes text)
{
        put_u16(b, (uint16_t)text.len);
        require(buf_append(b, text) == 0);
}

static void put_str(Buf *b, const char *text)
{
        put_text(b, bytes_from_str(text));
}

static void put_varint(Buf *b, size_t v)
{
        while (v >= 128) {
                put_u8(b, (uint8_t)(v | 128));
                v /= 128;
        }
        put_u8(b, (uint8_t)v);
}

/* Takes `body`. */
static void put_packet(Buf *out, uint8_t first, Buf *body)
{
        put_u8(out, first);
        put_varint(out, buf_len(body));
        require(buf_append(out, buf_view(body)) == 0);
        buf_done(body);
}

static bool flag(uint8_t *flags)
{
        bool set = *flags & 1;
        *flags >>= 1;
        return set;
}

static const char *choose(const char *const *from, size_t n, Reader *r)
{
        return from[reader_u8(r) % n];
}

/* Some are large, so that queues fill and packets are too large. */
static void put_payload(Buf *body, Reader *r, const PacketSender *s, bool counted)
{
        uint8_t size = reader_u8(r);
        size_t len = size < 128 ? size % 4 : (size_t)(size - 126) * 2;
        if (counted)
                put_u16(body, (uint16_t)len);
        for (size_t i = 0; i < len; i++)
                put_u8(body, (uint8_t)s->mark);
}

/* ---- properties ---- */

static void put_number(Buf *p, MqttProperty id, uint8_t v)
{
        switch ((int)id) {
        case MQTT_PROPERTY_RECEIVE_MAXIMUM:
                put_u16(p, (uint16_t)(1 + v % 3));
                return;
        case MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM:
        case MQTT_PROPERTY_TOPIC_ALIAS:
                put_u16(p, v % 4);
                return;
        case MQTT_PROPERTY_SUBSCRIPTION_ID:
                put_varint(p, v > 0 ? v : 300);
                return;
        case MQTT_PROPERTY_MAXIMUM_PACKET_SIZE:
                put_u32(p, 1 + v);
                return;
        case MQTT_PROPERTY_SESSION_EXPIRY:
                put_u32(p, v < 255 ? v : UINT32_MAX);
                return;
        case MQTT_PROPERTY_WILL_DELAY:
        case MQTT_PROPERTY_MESSAGE_EXPIRY:
                put_u32(p, v % 32);
                return;
        default: /* yes or no */
                put_u8(p, v & 1);
        }
}

static bool is_text(MqttProperty id)
{
        return id == MQTT_PROPERTY_CONTENT_TYPE || id == MQTT_PROPERTY_RESPONSE_TOPIC ||
               id == MQTT_PROPERTY_CORRELATION_DATA || id == MQTT_PROPERTY_AUTH_METHOD ||
               id == MQTT_PROPERTY_AUTH_DATA || id == MQTT_PROPERTY_REASON_STRING;
}

static void put_property(Buf *p, MqttProperty id, Reader *r)
{
        put_u8(p, (uint8_t)id);
        if (id == MQTT_PROPERTY_USER)
                put_str(p, "name");
        if (id == MQTT_PROPERTY_USER || is_text(id))
                put_str(p, "t");
        else
                put_number(p, id, reader_u8(r));
}

/* Those of `ids`, which ends with 0, whose bit is set. 3.1.1 has none. */
static void put_properties(Buf *body, Reader *r, const PacketSender *s, const uint8_t *ids,
                           uint8_t which)
{
        Buf p = BUF_INIT(512);
        for (; *ids; ids++)
                if (flag(&which))
                        put_property(&p, (MqttProperty)*ids, r);
        if (s->version == MQTT_5) {
                put_varint(body, buf_len(&p));
                require(buf_append(body, buf_view(&p)) == 0);
        }
        buf_done(&p);
}

/* ---- CONNECT ---- */

static const uint8_t connect_properties[] = {
        MQTT_PROPERTY_SESSION_EXPIRY,
        MQTT_PROPERTY_RECEIVE_MAXIMUM,
        MQTT_PROPERTY_MAXIMUM_PACKET_SIZE,
        MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM,
        MQTT_PROPERTY_REQUEST_RESPONSE,
        MQTT_PROPERTY_REQUEST_PROBLEM,
        MQTT_PROPERTY_USER,
        MQTT_PROPERTY_AUTH_METHOD,
        0,
};

static const uint8_t will_properties[] = {
        MQTT_PROPERTY_WILL_DELAY,     MQTT_PROPERTY_MESSAGE_EXPIRY,
        MQTT_PROPERTY_CONTENT_TYPE,   MQTT_PROPERTY_PAYLOAD_FORMAT,
        MQTT_PROPERTY_RESPONSE_TOPIC, MQTT_PROPERTY_CORRELATION_DATA,
        MQTT_PROPERTY_USER,           0,
};

static void put_will(Buf *body, Reader *r, const PacketSender *s, uint8_t flags)
{
        put_properties(body, r, s, will_properties, flags);
        put_str(body, choose(topics, ELEMENTSOF(topics), r));
        put_payload(body, r, s, true);
}

/* The second byte is CONNECT's own flags, two of them rarely: bit 0 must not be set. */
void packet_connect(Buf *out, Reader *r, const PacketSender *s)
{
        Buf body = BUF_INIT(4096);
        uint8_t flags = reader_u8(r) & 0xfe, keep_alive = reader_u8(r);
        if ((flags & 0xc0) != 0xc0)
                flags &= 0x3f;
        if (!(flags & 4))
                flags &= 0xc2;
        put_str(&body, "MQTT");
        put_u8(&body, (uint8_t)s->version);
        put_u8(&body, flags);
        put_u16(&body, keep_alive);
        put_properties(&body, r, s, connect_properties, reader_u8(r));
        put_str(&body, choose(clients, ELEMENTSOF(clients), r));
        if (flags & 4)
                put_will(&body, r, s, reader_u8(r));
        for (int i = 0; flags & 0x80 && i < 2; i++)
                put_str(&body, "u");
        put_packet(out, MQTT_CONNECT << 4, &body);
}

/* ---- PUBLISH ---- */

static const uint8_t publish_properties[] = {
        MQTT_PROPERTY_TOPIC_ALIAS,    MQTT_PROPERTY_MESSAGE_EXPIRY,
        MQTT_PROPERTY_USER,           MQTT_PROPERTY_CONTENT_TYPE,
        MQTT_PROPERTY_RESPONSE_TOPIC, MQTT_PROPERTY_CORRELATION_DATA,
        MQTT_PROPERTY_PAYLOAD_FORMAT, 0,
};

#define BY_ALIAS 0x81 /* with an alias, and without a topic */

/* Bits of the first byte: retain, QoS, dup, packet identifier. */
void packet_publish(Buf *out, Reader *r, const PacketSender *s)
{
        Buf body = BUF_INIT(4096);
        uint8_t flags = reader_u8(r), qos = flags >> 1 & 3;
        const char *name = choose(topics, ELEMENTSOF(topics), r);
        uint8_t which = s->version == MQTT_5 ? reader_u8(r) : 0;
        if (qos == 3)
                flags &= 0xfb;
        put_str(&body, (which & BY_ALIAS) == BY_ALIAS ? "" : name);
        if (qos > 0)
                put_u16(&body, (uint16_t)(1 + (flags >> 4 & 7)));
        put_properties(&body, r, s, publish_properties, which);
        put_payload(&body, r, s, false);
        put_packet(out, (uint8_t)(MQTT_PUBLISH << 4 | (flags & 15)), &body);
}

/* ---- the others ---- */

static const uint8_t subscribe_properties[] = { MQTT_PROPERTY_SUBSCRIPTION_ID, MQTT_PROPERTY_USER,
                                                0 };
static const uint8_t user_property[] = { MQTT_PROPERTY_USER, 0 };
static const uint8_t ack_properties[] = { MQTT_PROPERTY_REASON_STRING, MQTT_PROPERTY_USER, 0 };
static const uint8_t disconnect_properties[] = { MQTT_PROPERTY_SESSION_EXPIRY,
                                                 MQTT_PROPERTY_REASON_STRING, MQTT_PROPERTY_USER,
                                                 0 };

/* Options: all for 5, QoS alone for 3.1.1; no-local is wrong in a shared subscription. */
static uint8_t options(const PacketSender *s, uint8_t wanted, const char *filter)
{
        if ((wanted & 3) == 3)
                wanted &= 0xfd;
        if ((wanted & 0x30) == 0x30)
                wanted &= 0xef;
        if (startswith(filter, "$share/"))
                wanted &= 0xfb;
        return wanted & (s->version == MQTT_5 ? 0x3f : 3);
}

void packet_subscribe(Buf *out, Reader *r, const PacketSender *s)
{
        Buf body = BUF_INIT(4096);
        uint8_t how = reader_u8(r);
        put_u16(&body, 9);
        put_properties(&body, r, s, subscribe_properties, how & 3);
        for (int i = 0; i <= (how >> 2 & 3); i++) {
                const char *filter = choose(filters, ELEMENTSOF(filters), r);
                put_str(&body, filter);
                put_u8(&body, options(s, reader_u8(r), filter));
        }
        put_packet(out, MQTT_SUBSCRIBE << 4 | 2, &body);
}

void packet_unsubscribe(Buf *out, Reader *r, const PacketSender *s)
{
        Buf body = BUF_INIT(4096);
        uint8_t how = reader_u8(r);
        put_u16(&body, 10);
        put_properties(&body, r, s, user_property, how & 1);
        for (int i = 0; i <= (how >> 1 & 1); i++)
                put_str(&body, choose(filters, ELEMENTSOF(filters), r));
        put_packet(out, MQTT_UNSUBSCRIBE << 4 | 2, &body);
}

/* What is due for the message `i` that was sent to the client. */
static MqttType due(const Peer *p, size_t i)
{
        return p->releases[i] ? MQTT_PUBCOMP : p->qos[i] == 2 ? MQTT_PUBREC : MQTT_PUBACK;
}

static void put_reason(Buf *body, Reader *r, const PacketSender *s, MqttType type)
{
        uint8_t how = reader_u8(r);
        bool release = type == MQTT_PUBREL || type == MQTT_PUBCOMP;
        MqttReason error = release ? MQTT_PACKET_ID_NOT_FOUND : MQTT_UNSPECIFIED_ERROR;
        put_u8(body, (uint8_t)(how & 1 ? MQTT_SUCCESS : error));
        if (how & 2)
                put_properties(body, r, s, ack_properties, how >> 2 & 3);
}

/* Half of them are right. */
void packet_ack(Buf *out, Reader *r, const PacketSender *s)
{
        Buf body = BUF_INIT(64);
        uint8_t how = reader_u8(r), which = how >> 3 & 15;
        MqttType type = (MqttType)(MQTT_PUBACK + (how & 3));
        uint16_t id = (uint16_t)(1 + which % 8);
        if (!(how & 4) && s->peer->n_sent > 0) {
                id = s->peer->sent[which % s->peer->n_sent];
                type = due(s->peer, which % s->peer->n_sent);
        }
        put_u16(&body, id);
        if (how & 128 && s->version == MQTT_5)
                put_reason(&body, r, s, type);
        put_packet(out, (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0)), &body);
}

static void put_disconnect(Buf *out, Reader *r, const PacketSender *s, uint8_t how)
{
        Buf body = BUF_INIT(64);
        if (s->version == MQTT_5) {
                put_u8(&body, how & 4 ? MQTT_DISCONNECT_WITH_WILL : MQTT_SUCCESS);
                put_properties(&body, r, s, disconnect_properties, how >> 3 & 7);
        }
        put_packet(out, MQTT_DISCONNECT << 4, &body);
}

void packet_other(Buf *out, Reader *r, const PacketSender *s)
{
        Buf none = BUF_INIT(1);
        uint8_t how = reader_u8(r);
        if ((how & 3) == 3 && how & 128)
                put_packet(out, MQTT_AUTH << 4, &none);
        else if ((how & 3) == 3)
                put_disconnect(out, r, s, how);
        else
                put_packet(out, MQTT_PINGREQ << 4, &none);
}
