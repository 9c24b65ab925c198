/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-peer.h"

#include "base/str.h"
#include "base/util.h"
#include "proto/topic.h"
#include "require.h"

/* ---- what the client said ---- */

static void forget(Peer *p, size_t i)
{
        p->n_sent--;
        p->sent[i] = p->sent[p->n_sent];
        p->releases[i] = p->releases[p->n_sent];
        p->qos[i] = p->qos[p->n_sent];
}

static void said_ack(Peer *p, const MqttFrame *f)
{
        MqttAck a;
        if (mqtt_parse_ack(f, p->connect.version, &a) != MQTT_SUCCESS)
                return;
        if (f->type == MQTT_PUBREC)
                p->received[a.packet_id / 8] |= (uint8_t)(1 << a.packet_id % 8);
        for (size_t i = 0; i < p->n_sent; i++) {
                if (p->sent[i] != a.packet_id)
                        continue;
                if (f->type == MQTT_PUBREC && a.reason < MQTT_UNSPECIFIED_ERROR)
                        p->releases[i] = true;
                else if (f->type != MQTT_PUBREL)
                        forget(p, i);
                return;
        }
}

void peer_said(Peer *p, Bytes packet)
{
        MqttFrame f;
        if (mqtt_frame(packet, SIZE_MAX, &f) != MQTT_FRAMING_PACKET)
                return;
        require(f.size == packet.len);
        if (!p->said_connect) {
                p->said_connect = true;
                if (f.type == MQTT_CONNECT)
                        mqtt_parse_connect(&f, &p->connect);
                return;
        }
        if (f.type >= MQTT_PUBACK && f.type <= MQTT_PUBCOMP)
                said_ack(p, &f);
}

/* ---- what it hears ---- */

static uint32_t read_varint(Reader *r)
{
        uint32_t v = 0, b = 0x80;
        for (int shift = 0; shift < 28 && b & 0x80; shift += 7) {
                b = reader_u8(r);
                v |= (b & 0x7f) << shift;
        }
        require((b & 0x80) == 0);
        return v;
}

static Bytes read_text(Reader *r)
{
        uint16_t len = reader_u16(r);
        return reader_bytes(r, len);
}

#define BIT(name) MQTT_PROPERTY_BIT(MQTT_PROPERTY_##name)
#define FLAGS                                                                                      \
        (BIT(PAYLOAD_FORMAT) | BIT(MAXIMUM_QOS) | BIT(RETAIN_AVAILABLE) |                          \
         BIT(WILDCARD_AVAILABLE) | BIT(SUBSCRIPTION_ID_AVAILABLE) | BIT(SHARED_AVAILABLE))
#define SHORTS                                                                                     \
        (BIT(SERVER_KEEP_ALIVE) | BIT(RECEIVE_MAXIMUM) | BIT(TOPIC_ALIAS_MAXIMUM) |                \
         BIT(TOPIC_ALIAS))
#define LONGS (BIT(MESSAGE_EXPIRY) | BIT(SESSION_EXPIRY) | BIT(MAXIMUM_PACKET_SIZE))

/* What a server may say where: section 2.2.2.2. */
#define IN_PUBLISH                                                                                 \
        (BIT(PAYLOAD_FORMAT) | BIT(MESSAGE_EXPIRY) | BIT(CONTENT_TYPE) | BIT(RESPONSE_TOPIC) |     \
         BIT(CORRELATION_DATA) | BIT(SUBSCRIPTION_ID) | BIT(TOPIC_ALIAS) | BIT(USER))
#define IN_CONNACK                                                                                 \
        ((FLAGS & ~BIT(PAYLOAD_FORMAT)) | (SHORTS & ~BIT(TOPIC_ALIAS)) | BIT(SESSION_EXPIRY) |     \
         BIT(MAXIMUM_PACKET_SIZE) | BIT(ASSIGNED_CLIENT_ID) | BIT(RESPONSE_INFORMATION) |          \
         BIT(REASON_STRING))

static void read_value(Reader *p, uint32_t id, uint16_t *alias)
{
        const uint64_t bit = MQTT_PROPERTY_BIT(id);
        if (bit & FLAGS)
                require(reader_u8(p) <= 1);
        else if (bit & BIT(TOPIC_ALIAS))
                *alias = reader_u16(p);
        else if (bit & SHORTS)
                reader_skip(p, 2);
        else if (bit & LONGS)
                reader_skip(p, 4);
        else if (bit & BIT(SUBSCRIPTION_ID))
                require(read_varint(p) > 0);
        else if (bit & BIT(USER))
                require(mqtt_string_valid(read_text(p)) && mqtt_string_valid(read_text(p)));
        else if (bit & BIT(CORRELATION_DATA))
                read_text(p);
        else
                require(mqtt_string_valid(read_text(p)));
}

/* The alias, 0: none. */
static uint16_t read_properties(Reader *r, uint64_t allowed)
{
        uint16_t alias = 0;
        uint64_t present = 0;
        uint32_t len = read_varint(r);
        Reader p = reader_sub(r, len);
        while (reader_left(&p) > 0) {
                uint8_t id = reader_u8(&p);
                require(id < _MQTT_PROPERTY_MAX && allowed & MQTT_PROPERTY_BIT(id));
                require(!(present & MQTT_PROPERTY_BIT(id) & ~(BIT(USER) | BIT(SUBSCRIPTION_ID))));
                present |= MQTT_PROPERTY_BIT(id);
                read_value(&p, id, &alias);
        }
        require(reader_done(&p));
        return alias;
}

/* Why something was refused: where the client wants to know [MQTT-3.1.2-29]. */
static void read_explanation(const Peer *p, Reader *r)
{
        const MqttProperties *c = &p->connect.properties;
        bool unwanted =
                mqtt_property_present(c, MQTT_PROPERTY_REQUEST_PROBLEM) && !c->request_problem;
        read_properties(r, unwanted ? 0 : BIT(REASON_STRING) | BIT(USER));
}

static void hears_connack(Peer *p, Reader *r)
{
        require(!p->connected && p->said_connect);
        uint8_t present = reader_u8(r), reason = reader_u8(r);
        require(present <= (reason == 0));
        p->connected = reason == 0;
        p->ended = !p->connected;
        if (p->connect.version == MQTT_5)
                read_properties(r, IN_CONNACK);
        require(reader_done(r) && (p->connect.version == MQTT_5 || reason <= 5));
}

/* SUBACK, UNSUBACK. 3.1.1 has codes in the first alone. */
static void hears_codes(const Peer *p, const MqttFrame *f, Reader *r)
{
        bool v5 = p->connect.version == MQTT_5;
        require(reader_u16(r) > 0);
        if (v5)
                read_explanation(p, r);
        require((reader_left(r) > 0) == (v5 || f->type == MQTT_SUBACK));
        while (reader_left(r) > 0) {
                uint8_t code = reader_u8(r);
                bool success = f->type == MQTT_SUBACK ? code <= 2 : code == 0 || code == 0x11;
                require(success || code == 0x80 || (v5 && code > 0x80));
        }
        require(reader_done(r));
}

static void hears_disconnect(Peer *p, Reader *r)
{
        require(p->connect.version == MQTT_5);
        p->ended = true;
        if (reader_left(r) > 0)
                require(reader_u8(r) >= MQTT_UNSPECIFIED_ERROR);
        if (reader_left(r) > 0)
                read_properties(r, BIT(REASON_STRING));
        require(reader_done(r));
}

/* The topic, or the one that its number stands for. */
static Bytes resolve(Peer *p, Bytes topic, uint16_t alias)
{
        require(alias <= p->connect.properties.topic_alias_maximum && alias <= 16);
        if (alias > 0 && topic.len == 0)
                topic = bytes_from_str(p->aliases[alias - 1]);
        else if (alias > 0 && topic.len < sizeof(p->aliases[0]))
                memcpy(p->aliases[alias - 1], topic.data, topic.len),
                        p->aliases[alias - 1][topic.len] = '\0';
        require(topic.len > 0);
        return topic;
}

static bool below(Bytes topic, const char *prefix)
{
        Bytes b = bytes_from_str(prefix);
        return topic.len >= b.len && memcmp(topic.data, prefix, b.len) == 0;
}

/* What "<topic>/#" matches. */
static bool within(Bytes topic, const char *level)
{
        size_t len = strlen(level);
        return below(topic, level) && (topic.len == len || topic.data[len] == '/');
}

/* "a" may be granted to hear what "b" says on "b/t/", and to say something to it on "b/in/". */
static void check_owner(const Peer *p, Bytes topic, Bytes payload)
{
        if (p->device == 0)
                return;
        bool foreign = below(topic, p->device == 'a' ? "b/" : "a/");
        require(!foreign || (p->device == 'a' && p->may_read && within(topic, "b/t")));
        require(!below(topic, p->device == 'a' ? "rats/b/" : "rats/a/"));
        if (!p->marked || payload.len == 0 || payload.data[0] == p->device)
                return;
        if (p->device == 'a')
                require(foreign);
        else
                require(p->may_write && (within(topic, "in") || within(topic, "b/in")));
}

static void note_sent(Peer *p, uint16_t id, uint8_t qos)
{
        size_t most = p->window;
        if (mqtt_property_present(&p->connect.properties, MQTT_PROPERTY_RECEIVE_MAXIMUM))
                most = MIN(most, p->connect.properties.receive_maximum);
        require(id > 0 && p->n_sent < most);
        for (size_t i = 0; i < p->n_sent; i++)
                require(p->sent[i] != id);
        p->releases[p->n_sent] = false;
        p->qos[p->n_sent] = qos;
        p->sent[p->n_sent++] = id;
}

static void hears_publish(Peer *p, const MqttFrame *f)
{
        Reader r = reader_new(f->body);
        uint8_t qos = f->flags >> 1 & 3;
        Bytes topic = read_text(&r);
        uint16_t id = qos > 0 ? reader_u16(&r) : 0, alias = 0;
        if (p->connect.version == MQTT_5)
                alias = read_properties(&r, IN_PUBLISH);
        Bytes payload = reader_rest(&r);
        require(reader_ok(&r) && qos < 3);
        topic = resolve(p, topic, alias);
        require(topic_name_valid(topic));
        check_owner(p, topic, payload);
        p->n_publishes++;
        if (qos > 0)
                note_sent(p, id, qos);
}

/* 3.1.1 cannot say that it knows no such message: a client that releases one at random may find
 * another under its number by then. */
static bool may_release(const Peer *p, size_t i, uint8_t reason)
{
        uint16_t id = p->sent[i];
        return p->releases[i] || reason > 0 ||
               (p->connect.version == MQTT_3_1_1 && p->received[id / 8] & 1 << id % 8);
}

/* One that goes on with a message of an earlier connection counts as a message does. */
static void hears_pubrel(Peer *p, uint16_t id, uint8_t reason)
{
        for (size_t i = 0; i < p->n_sent; i++)
                if (p->sent[i] == id) {
                        require(may_release(p, i, reason));
                        return;
                }
        if (reason > 0 || p->received[id / 8] & 1 << id % 8)
                return;
        note_sent(p, id, 2);
        p->releases[p->n_sent - 1] = true;
}

static void hears_ack(Peer *p, const MqttFrame *f, Reader *r)
{
        uint16_t id = reader_u16(r);
        uint8_t reason = reader_left(r) > 0 ? reader_u8(r) : 0;
        bool refused = reason >= MQTT_UNSPECIFIED_ERROR;
        if (reader_left(r) > 0)
                read_explanation(p, r);
        require(reader_done(r) && id > 0 && f->flags == (f->type == MQTT_PUBREL ? 2 : 0));
        require(p->connect.version == MQTT_5 || f->body.len == 2);
        p->n_pubacks += f->type == MQTT_PUBACK && !refused;
        p->n_pubrecs += f->type == MQTT_PUBREC && !refused;
        if (f->type == MQTT_PUBREL)
                hears_pubrel(p, id, reason);
}

static void hears(Peer *p, const MqttFrame *f)
{
        Reader r = reader_new(f->body);
        size_t max = p->connect.properties.maximum_packet_size;
        require(!p->ended && p->connected != (f->type == MQTT_CONNACK));
        require(max == 0 || f->size <= max);
        switch (f->type) {
        case MQTT_CONNACK:
                hears_connack(p, &r);
                return;
        case MQTT_PUBLISH:
                hears_publish(p, f);
                return;
        case MQTT_PUBACK:
        case MQTT_PUBREC:
        case MQTT_PUBREL:
        case MQTT_PUBCOMP:
                hears_ack(p, f, &r);
                return;
        case MQTT_DISCONNECT:
                hears_disconnect(p, &r);
                return;
        case MQTT_SUBACK:
        case MQTT_UNSUBACK:
                hears_codes(p, f, &r);
                return;
        case MQTT_PINGRESP:
                require(reader_done(&r) && f->flags == 0);
                return;
        case MQTT_CONNECT:
        case MQTT_SUBSCRIBE:
        case MQTT_UNSUBSCRIBE:
        case MQTT_PINGREQ:
        case MQTT_AUTH:
                break;
        }
        abort();
}

void peer_hears(Peer *p, Bytes packets)
{
        MqttFrame f;
        while (packets.len > 0) {
                require(mqtt_frame(packets, SIZE_MAX, &f) == MQTT_FRAMING_PACKET);
                hears(p, &f);
                packets = BYTES(packets.data + f.size, packets.len - f.size);
        }
}
