/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/mqtt-internal.h"
#include "proto/topic.h"

/* The reserved flags of section 2.1.3, and [MQTT-1.5.5-1] for the length. */
static bool header_valid(const MqttFrame *f, MqttVersion v, uint8_t flags)
{
        return f->flags == flags && !(f->padded && v == MQTT_5);
}

/* 3.1.1 has no properties. */
static MqttReason read_properties(Reader *r, MqttVersion v, MqttContext where, MqttProperties *ret)
{
        return v == MQTT_5 ? mqtt_read_properties(r, where, ret) : MQTT_SUCCESS;
}

/* [MQTT-3.3.2-14], [MQTT-3.1.3-11] and the topic rules of section 4.7. */
static MqttReason check_message_topic(Bytes topic, const MqttProperties *p)
{
        if (!topic_name_valid(topic))
                return MQTT_TOPIC_NAME_INVALID;
        if (mqtt_property_present(p, MQTT_PROPERTY_RESPONSE_TOPIC) &&
            !topic_name_valid(p->response_topic))
                return MQTT_PROTOCOL_ERROR;
        return MQTT_SUCCESS;
}

/* Section 3.1.2.1 and 3.1.2.2. */
static MqttReason read_version(Reader *r, MqttConnect *c)
{
        Bytes name = mqtt_read_binary(r);
        uint8_t level = reader_u8(r);
        if (!reader_ok(r))
                return MQTT_MALFORMED_PACKET;
        if (bytes_equal(name, BYTES_LITERAL("MQIsdp"))) {
                c->version = MQTT_3_1_1; /* the answer it can read */
                return MQTT_UNSUPPORTED_VERSION;
        }
        if (!bytes_equal(name, BYTES_LITERAL("MQTT")))
                return MQTT_MALFORMED_PACKET;
        c->version = level < MQTT_5 ? MQTT_3_1_1 : MQTT_5;
        return level == MQTT_3_1_1 || level == MQTT_5 ? MQTT_SUCCESS : MQTT_UNSUPPORTED_VERSION;
}

/* Sections 3.1.2.3 to 3.1.2.9. */
static MqttReason read_connect_flags(Reader *r, MqttConnect *c)
{
        uint8_t flags = reader_u8(r);
        c->keep_alive = reader_u16(r);
        c->clean_start = flags & 0x02;
        c->has_will = flags & 0x04;
        c->will_qos = flags >> 3 & 3;
        c->will_retain = flags & 0x20;
        c->has_password = flags & 0x40;
        c->has_user_name = flags & 0x80;
        if (flags & 0x01) /* [MQTT-3.1.2-3] */
                return MQTT_MALFORMED_PACKET;
        if (c->will_qos == 3) /* [MQTT-3.1.2-12] */
                return MQTT_MALFORMED_PACKET;
        if (!c->has_will && (c->will_qos > 0 || c->will_retain)) /* [MQTT-3.1.2-11], -13 */
                return MQTT_MALFORMED_PACKET;
        if (c->version == MQTT_3_1_1 && c->has_password && !c->has_user_name)
                return MQTT_MALFORMED_PACKET; /* 3.1.1: [MQTT-3.1.2-22] */
        return MQTT_SUCCESS;
}

static MqttReason read_will(Reader *r, MqttConnect *c)
{
        MqttReason e = read_properties(r, c->version, MQTT_IN_WILL, &c->will_properties);
        if (e != MQTT_SUCCESS)
                return e;
        c->will_topic = mqtt_read_string(r);
        c->will_payload = mqtt_read_binary(r);
        if (!reader_ok(r))
                return MQTT_MALFORMED_PACKET;
        return check_message_topic(c->will_topic, &c->will_properties);
}

/* The payload of section 3.1.3: in this order, to the end. */
static MqttReason read_connect_payload(Reader *r, MqttConnect *c)
{
        c->client_id = mqtt_read_string(r);
        if (c->has_will) {
                MqttReason e = read_will(r, c);
                if (e != MQTT_SUCCESS)
                        return e;
        }
        if (c->has_user_name)
                c->user_name = mqtt_read_string(r);
        if (c->has_password)
                c->password = mqtt_read_binary(r);
        return reader_done(r) ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
}

MqttReason mqtt_parse_connect(const MqttFrame *f, MqttConnect *ret)
{
        Reader r = reader_new(f->body);
        MqttConnect c = { 0 };
        MqttReason e = read_version(&r, &c);
        ret->version = c.version;
        if (e != MQTT_SUCCESS)
                return e;
        if (!header_valid(f, c.version, 0))
                return MQTT_MALFORMED_PACKET;
        e = read_connect_flags(&r, &c);
        if (e == MQTT_SUCCESS)
                e = read_properties(&r, c.version, MQTT_IN_CONNECT, &c.properties);
        if (e == MQTT_SUCCESS)
                e = read_connect_payload(&r, &c);
        if (e != MQTT_SUCCESS)
                return e;
        if (mqtt_property_present(&c.properties, MQTT_PROPERTY_AUTH_DATA) &&
            !mqtt_property_present(&c.properties, MQTT_PROPERTY_AUTH_METHOD))
                return MQTT_PROTOCOL_ERROR; /* section 3.1.2.11.10 */
        *ret = c;
        return MQTT_SUCCESS;
}

/* Section 3.3.2.1: no topic only with an alias. */
static MqttReason check_publish_topic(const MqttPublish *p)
{
        if (p->topic.len == 0 && mqtt_property_present(&p->properties, MQTT_PROPERTY_TOPIC_ALIAS))
                return check_message_topic(BYTES_LITERAL("-"), &p->properties);
        if (p->topic.len == 0)
                return MQTT_PROTOCOL_ERROR;
        return check_message_topic(p->topic, &p->properties);
}

MqttReason mqtt_parse_publish(const MqttFrame *f, MqttVersion v, MqttPublish *ret)
{
        Reader r = reader_new(f->body);
        MqttPublish p = {
                .dup = f->flags & 8,
                .qos = f->flags >> 1 & 3,
                .retain = f->flags & 1,
        };
        if (p.qos == 3) /* [MQTT-3.3.1-4] */
                return MQTT_MALFORMED_PACKET;
        if (p.dup && p.qos == 0) /* [MQTT-3.3.1-2] */
                return MQTT_MALFORMED_PACKET;
        if (!header_valid(f, v, f->flags))
                return MQTT_MALFORMED_PACKET;
        p.topic = mqtt_read_string(&r);
        if (p.qos > 0)
                p.packet_id = reader_u16(&r);
        MqttReason e = read_properties(&r, v, MQTT_IN_PUBLISH, &p.properties);
        if (e != MQTT_SUCCESS)
                return e;
        p.payload = reader_rest(&r);
        if (!reader_done(&r))
                return MQTT_MALFORMED_PACKET;
        if (p.qos > 0 && p.packet_id == 0) /* [MQTT-2.2.1-3] */
                return MQTT_PROTOCOL_ERROR;
        e = check_publish_topic(&p);
        if (e == MQTT_SUCCESS)
                *ret = p;
        return e;
}

/* The codes of sections 3.4.2.1, 3.5.2.1, 3.6.2.1 and 3.7.2.1. */
static bool ack_reason_valid(MqttType type, uint8_t code)
{
        static const uint8_t received[] = { 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99 };
        if (type == MQTT_PUBREL || type == MQTT_PUBCOMP)
                return code == MQTT_SUCCESS || code == MQTT_PACKET_ID_NOT_FOUND;
        return memchr(received, code, sizeof(received));
}

/* Reason code and properties may be left out at the end, in this order. */
static MqttReason read_reason_and_properties(Reader *r, MqttContext where, MqttReason *reason,
                                             MqttProperties *p)
{
        *reason = reader_left(r) > 0 ? (MqttReason)reader_u8(r) : MQTT_SUCCESS;
        if (reader_left(r) > 0) {
                MqttReason e = mqtt_read_properties(r, where, p);
                if (e != MQTT_SUCCESS)
                        return e;
        }
        return reader_done(r) ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
}

MqttReason mqtt_parse_ack(const MqttFrame *f, MqttVersion v, MqttAck *ret)
{
        Reader r = reader_new(f->body);
        MqttAck a = { .packet_id = reader_u16(&r), .reason = MQTT_SUCCESS };
        if (!header_valid(f, v, f->type == MQTT_PUBREL ? 2 : 0) || !reader_ok(&r))
                return MQTT_MALFORMED_PACKET;
        if (v == MQTT_5) {
                MqttReason e =
                        read_reason_and_properties(&r, MQTT_IN_ACK, &a.reason, &a.properties);
                if (e != MQTT_SUCCESS)
                        return e;
        }
        if (!reader_done(&r) || !ack_reason_valid(f->type, (uint8_t)a.reason))
                return MQTT_MALFORMED_PACKET;
        if (a.packet_id == 0)
                return MQTT_PROTOCOL_ERROR;
        *ret = a;
        return MQTT_SUCCESS;
}

bool mqtt_subscribe_next(Reader *entries, MqttSubscription *ret)
{
        if (reader_left(entries) == 0)
                return false;
        Bytes filter = mqtt_read_string(entries);
        uint8_t options = reader_u8(entries);
        if (!reader_ok(entries))
                return false;
        *ret = (MqttSubscription){
                .filter = filter,
                .qos = options & 3,
                .no_local = options & 4,
                .retain_as_published = options & 8,
                .retain_handling = options >> 4 & 3,
        };
        return true;
}

bool mqtt_unsubscribe_next(Reader *entries, Bytes *ret_filter)
{
        if (reader_left(entries) == 0)
                return false;
        Bytes filter = mqtt_read_string(entries);
        if (!reader_ok(entries))
                return false;
        *ret_filter = filter;
        return true;
}

/* Section 3.8.3.1. */
static MqttReason check_subscription(MqttVersion v, const MqttSubscription *s, uint8_t options)
{
        if (!topic_filter_valid(s->filter))
                return MQTT_MALFORMED_PACKET;
        if (options & (v == MQTT_5 ? 0xc0 : 0xfc)) /* [MQTT-3.8.3-5]; 3.1.1: [MQTT-3.8.3-4] */
                return MQTT_MALFORMED_PACKET;
        if (s->qos == 3)
                return v == MQTT_5 ? MQTT_PROTOCOL_ERROR : MQTT_MALFORMED_PACKET;
        if (s->retain_handling == 3)
                return MQTT_PROTOCOL_ERROR;
        if (s->no_local && topic_filter_is_shared(s->filter, NULL)) /* [MQTT-3.8.3-4] */
                return MQTT_PROTOCOL_ERROR;
        return MQTT_SUCCESS;
}

static MqttReason check_subscriptions(MqttVersion v, Reader r, size_t *ret_n)
{
        MqttSubscription s;
        size_t n = 0;
        while (mqtt_subscribe_next(&r, &s)) {
                MqttReason e = check_subscription(v, &s, r.p[-1]);
                if (e != MQTT_SUCCESS)
                        return e;
                n++;
        }
        *ret_n = n;
        return reader_done(&r) ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
}

static MqttReason check_unsubscriptions(MqttVersion v, Reader r, size_t *ret_n)
{
        Bytes filter;
        size_t n = 0;
        while (mqtt_unsubscribe_next(&r, &filter)) {
                if (!topic_filter_valid(filter))
                        return MQTT_MALFORMED_PACKET;
                n++;
        }
        *ret_n = n;
        return reader_done(&r) ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
}

static MqttReason parse_filters(const MqttFrame *f, MqttVersion v, MqttContext where,
                                MqttReason (*check)(MqttVersion, Reader, size_t *),
                                MqttSubscribe *ret)
{
        Reader r = reader_new(f->body);
        MqttSubscribe s = { .packet_id = reader_u16(&r) };
        if (!header_valid(f, v, 2)) /* [MQTT-3.8.1-1], [MQTT-3.10.1-1] */
                return MQTT_MALFORMED_PACKET;
        MqttReason e = read_properties(&r, v, where, &s.properties);
        if (e != MQTT_SUCCESS)
                return e;
        if (!reader_ok(&r))
                return MQTT_MALFORMED_PACKET;
        s.entries = r;
        e = check(v, r, &s.n_entries);
        if (e != MQTT_SUCCESS)
                return e;
        if (s.packet_id == 0 || s.n_entries == 0) /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
                return MQTT_PROTOCOL_ERROR;
        *ret = s;
        return MQTT_SUCCESS;
}

MqttReason mqtt_parse_subscribe(const MqttFrame *f, MqttVersion v, MqttSubscribe *ret)
{
        return parse_filters(f, v, MQTT_IN_SUBSCRIBE, check_subscriptions, ret);
}

MqttReason mqtt_parse_unsubscribe(const MqttFrame *f, MqttVersion v, MqttSubscribe *ret)
{
        return parse_filters(f, v, MQTT_IN_UNSUBSCRIBE, check_unsubscriptions, ret);
}

MqttReason mqtt_parse_pingreq(const MqttFrame *f, MqttVersion v)
{
        return header_valid(f, v, 0) && f->body.len == 0 ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
}

/* Those of section 3.14.2.1 that a client may send. */
static bool disconnect_reason_valid(uint8_t code)
{
        static const uint8_t valid[] = { 0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90,
                                         0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99 };
        return memchr(valid, code, sizeof(valid));
}

MqttReason mqtt_parse_disconnect(const MqttFrame *f, MqttVersion v, MqttDisconnect *ret)
{
        Reader r = reader_new(f->body);
        MqttDisconnect d = { .reason = MQTT_SUCCESS };
        if (!header_valid(f, v, 0)) /* [MQTT-3.14.1-1] */
                return MQTT_MALFORMED_PACKET;
        if (v == MQTT_5) {
                MqttReason e = read_reason_and_properties(&r, MQTT_IN_DISCONNECT, &d.reason,
                                                          &d.properties);
                if (e != MQTT_SUCCESS)
                        return e;
        }
        if (!reader_done(&r) || !disconnect_reason_valid((uint8_t)d.reason))
                return MQTT_MALFORMED_PACKET;
        *ret = d;
        return MQTT_SUCCESS;
}

MqttReason mqtt_parse_auth(const MqttFrame *f, MqttVersion v, MqttDisconnect *ret)
{
        Reader r = reader_new(f->body);
        MqttDisconnect d = { 0 };
        if (v != MQTT_5 || !header_valid(f, v, 0)) /* [MQTT-3.15.1-1]; reserved in 3.1.1 */
                return MQTT_MALFORMED_PACKET;
        MqttReason e = read_reason_and_properties(&r, MQTT_IN_AUTH, &d.reason, &d.properties);
        if (e != MQTT_SUCCESS)
                return e;
        if (d.reason != MQTT_CONTINUE_AUTHENTICATION && d.reason != MQTT_RE_AUTHENTICATE)
                return MQTT_PROTOCOL_ERROR; /* section 3.15.2.1: 0x00 is the server's */
        if (!mqtt_property_present(&d.properties, MQTT_PROPERTY_AUTH_METHOD))
                return MQTT_PROTOCOL_ERROR; /* section 3.15.2.2.2 */
        *ret = d;
        return MQTT_SUCCESS;
}
