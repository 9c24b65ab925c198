/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Raw packets against the parsers. Each row names the statement that it checks: of MQTT 5.0, or of
 * 3.1.1 where it begins with "3.1.1:". */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../hex.h"
#include "base/util.h"
#include "proto/mqtt.h"

typedef struct Row {
        const char *statement;
        MqttVersion version;
        const char *hex;
        MqttReason reason;
} Row;

#define V3 MQTT_3_1_1
#define V5 MQTT_5
#define OK MQTT_SUCCESS
#define MF MQTT_MALFORMED_PACKET
#define PE MQTT_PROTOCOL_ERROR

static MqttReason parse(const MqttFrame *f, MqttVersion v)
{
        MqttConnect connect = { 0 };
        MqttPublish publish;
        MqttAck ack;
        MqttSubscribe subscribe;
        MqttDisconnect disconnect;
        switch (f->type) {
        case MQTT_CONNECT:
                return mqtt_parse_connect(f, &connect);
        case MQTT_PUBLISH:
                return mqtt_parse_publish(f, v, &publish);
        case MQTT_PUBACK:
        case MQTT_PUBREC:
        case MQTT_PUBREL:
        case MQTT_PUBCOMP:
                return mqtt_parse_ack(f, v, &ack);
        case MQTT_SUBSCRIBE:
                return mqtt_parse_subscribe(f, v, &subscribe);
        case MQTT_UNSUBSCRIBE:
                return mqtt_parse_unsubscribe(f, v, &subscribe);
        case MQTT_PINGREQ:
                return mqtt_parse_pingreq(f, v);
        case MQTT_DISCONNECT:
                return mqtt_parse_disconnect(f, v, &disconnect);
        case MQTT_AUTH:
                return mqtt_parse_auth(f, v, &disconnect);
        case MQTT_CONNACK:
        case MQTT_SUBACK:
        case MQTT_UNSUBACK:
        case MQTT_PINGRESP:
                break;
        }
        return PE;
}

static void check_rows(const Row *rows, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                uint8_t packet[512];
                size_t len = unhex(rows[i].hex, packet, sizeof(packet));
                MqttFrame f;
                if (mqtt_frame(BYTES(packet, len), sizeof(packet), &f) != MQTT_FRAMING_PACKET ||
                    f.size != len)
                        fail_msg("row %zu (%s): framing", i, rows[i].statement);
                MqttReason r = parse(&f, rows[i].version);
                if (r != rows[i].reason)
                        fail_msg("row %zu (%s): 0x%02x instead of 0x%02x", i, rows[i].statement, r,
                                 rows[i].reason);
        }
}

static void connect(void **state)
{
        static const Row rows[] = {
                { "plain 3.1.1", V3, "10 10 0004'MQTT'04 02 003c 0004'dev1'", OK },
                { "plain 5.0", V5, "10 11 0004'MQTT'05 02 003c 00 0004'dev1'", OK },
                { "MQTT-1.5.5-1", V5, "10 91 00 0004'MQTT'05 02 003c 00 0004'dev1'", MF },
                { "3.1.1 has no such rule", V3, "10 90 00 0004'MQTT'04 02 003c 0004'dev1'", OK },
                { "MQTT-3.1.2-1", V5, "10 11 0004'MQTX'05 02 003c 00 0004'dev1'", MF },
                { "MQTT-3.1.2-2", V5, "10 11 0004'MQTT'06 02 003c 00 0004'dev1'", 0x84 },
                { "3.1.1:MQTT-3.1.2-2", V3, "10 10 0004'MQTT'03 02 003c 0004'dev1'", 0x84 },
                { "3.1 itself", V3, "10 12 0006'MQIsdp'03 02 003c 0004'dev1'", 0x84 },
                { "MQTT-2.1.3-1", V5, "11 11 0004'MQTT'05 02 003c 00 0004'dev1'", MF },
                { "MQTT-3.1.2-3", V5, "10 11 0004'MQTT'05 03 003c 00 0004'dev1'", MF },
                { "MQTT-3.1.2-12", V5, "10 18 0004'MQTT'05 1e 003c 00 0004'dev1' 00 0001'w'0001'p'",
                  MF },
                { "MQTT-3.1.2-11", V5, "10 11 0004'MQTT'05 0a 003c 00 0004'dev1'", MF },
                { "MQTT-3.1.2-13", V5, "10 11 0004'MQTT'05 22 003c 00 0004'dev1'", MF },
                { "a will", V5, "10 18 0004'MQTT'05 2e 003c 00 0004'dev1' 00 0001'w'0001'p'", OK },
                { "a will, 3.1.1", V3, "10 16 0004'MQTT'04 0e 003c 0004'dev1' 0001'w'0001'p'", OK },
                { "will topic with a wildcard", V5,
                  "10 18 0004'MQTT'05 06 003c 00 0004'dev1' 00 0001'#'0001'p'", 0x90 },
                { "MQTT-3.1.3-11", V5,
                  "10 18 0004'MQTT'05 06 003c 00 0004'dev1' 00 0001 80 0001'p'", MF },
                { "will delay, expiry", V5,
                  "10 22 0004'MQTT'05 06 003c 00 0004'dev1' 0a 18 00000001 02 00000005 "
                  "0001'w'0001'p'",
                  OK },
                { "will delay is not CONNECT's", V5,
                  "10 16 0004'MQTT'05 02 003c 05 18 00000001 0004'dev1'", MF },
                { "3.1.1:MQTT-3.1.2-22", V3, "10 13 0004'MQTT'04 42 003c 0004'dev1' 0001'p'", MF },
                { "5.0 allows a password alone", V5,
                  "10 14 0004'MQTT'05 42 003c 00 0004'dev1' 0001'p'", OK },
                { "MQTT-3.1.3-12", V5, "10 15 0004'MQTT'05 82 003c 00 0004'dev1' 0002 c0 80", MF },
                { "MQTT-3.1.3-4", V5, "10 11 0004'MQTT'05 02 003c 00 0004'dev' ff", MF },
                { "MQTT-1.5.4-2", V5, "10 11 0004'MQTT'05 02 003c 00 0004'dev' 00", MF },
                { "client id runs over", V5, "10 11 0004'MQTT'05 02 003c 00 0005'dev1'", MF },
                { "something after the end", V5, "10 12 0004'MQTT'05 02 003c 00 0004'dev1' 00",
                  MF },
                { "ends in the flags", V5, "10 07 0004'MQTT'05", MF },
                { "all CONNECT properties", V5,
                  "10 3b 0004'MQTT'05 02 003c 2a 11 00000000 21 0001 27 00000100 22 0000 19 00 "
                  "17 01 26 0001'a'0001'b' 26 0001'a'0001'b' 15 0001'm' 16 0001 00 0004'dev1'",
                  OK },
                { "receive maximum twice", V5,
                  "10 17 0004'MQTT'05 02 003c 06 21 0001 21 0001 0004'dev1'", PE },
                { "receive maximum 0", V5, "10 14 0004'MQTT'05 02 003c 03 21 0000 0004'dev1'", PE },
                { "maximum packet size 0", V5,
                  "10 16 0004'MQTT'05 02 003c 05 27 00000000 0004'dev1'", PE },
                { "request problem information 2", V5,
                  "10 13 0004'MQTT'05 02 003c 02 17 02 0004'dev1'", PE },
                { "authentication data without a method", V5,
                  "10 15 0004'MQTT'05 02 003c 04 16 0001 00 0004'dev1'", PE },
                { "a server's property", V5, "10 14 0004'MQTT'05 02 003c 03 13 0001 0004'dev1'",
                  MF },
                { "an unknown property", V5, "10 13 0004'MQTT'05 02 003c 02 7f 00 0004'dev1'", MF },
                { "properties run over", V5, "10 11 0004'MQTT'05 02 003c 7f 0004'dev1'", MF },
                { "property cut by its block", V5,
                  "10 13 0004'MQTT'05 02 003c 02 21 00 01 0003'dev'", MF },
        };
        check_rows(rows, ELEMENTSOF(rows));
}

static void publish(void **state)
{
        static const Row rows[] = {
                { "QoS 0", V3, "30 04 0001'a' 'x'", OK },
                { "QoS 0", V5, "30 05 0001'a' 00 'x'", OK },
                { "QoS 1", V5, "32 07 0001'a' 0001 00 'x'", OK },
                { "QoS 2 is the codec's too", V5, "34 07 0001'a' 0001 00 'x'", OK },
                { "no payload", V3, "30 03 0001'a'", OK },
                { "MQTT-3.3.1-4", V5, "36 07 0001'a' 0001 00 'x'", MF },
                { "MQTT-3.3.1-2", V5, "38 05 0001'a' 00 'x'", MF },
                { "3.1.1:MQTT-3.3.1-2", V3, "38 04 0001'a' 'x'", MF },
                { "MQTT-2.2.1-3", V5, "32 07 0001'a' 0000 00 'x'", PE },
                { "3.1.1:MQTT-2.3.1-1", V3, "32 06 0001'a' 0000 'x'", PE },
                { "MQTT-3.3.2-2", V5, "30 05 0001'+' 00 'x'", 0x90 },
                { "3.1.1:MQTT-3.3.2-2", V3, "30 04 0001'#' 'x'", 0x90 },
                { "MQTT-3.3.2-1", V5, "30 05 0001 ff 00 'x'", MF },
                { "MQTT-1.5.4-1", V5, "30 07 0003 eda080 00 'x'", MF },
                { "MQTT-4.7.3-1", V5, "30 04 0000 00 'x'", PE },
                { "3.1.1:MQTT-4.7.3-1", V3, "30 03 0000 'x'", PE },
                { "no topic with an alias", V5, "30 07 0000 03 23 0001 'x'", OK },
                { "MQTT-3.3.2-14", V5, "30 09 0001'a' 04 08 0001'#' 'x'", PE },
                { "MQTT-3.3.2-13", V5, "30 09 0001'a' 04 08 0001 ff 'x'", MF },
                { "MQTT-3.3.4-6", V5, "30 07 0001'a' 02 0b 01 'x'", MF },
                { "payload format 2", V5, "30 07 0001'a' 02 01 02 'x'", PE },
                { "alias twice", V5, "30 0b 0001'a' 06 23 0001 23 0001 'x'", PE },
                { "all of them", V5,
                  "30 25 0001'a' 21 01 01 02 0000000a 03 0001't' 08 0001'r' 09 0001'c' "
                  "26 0001'k'0001'v' 26 0001'k'0001'w'",
                  OK },
                { "MQTT-1.5.5-1", V5, "30 06 0001'a' 80 00 'x'", MF },
                { "topic runs over", V5, "30 05 0004'a' 00 'x'", MF },
                { "no room for the packet id", V3, "32 04 0001'a' 00", MF },
        };
        check_rows(rows, ELEMENTSOF(rows));
}

static void acks(void **state)
{
        static const Row rows[] = {
                { "PUBACK", V3, "40 02 0001", OK },
                { "PUBACK, short", V5, "40 02 0001", OK },
                { "PUBACK, reason", V5, "40 03 0001 10", OK },
                { "PUBACK, reason and no properties", V5, "40 04 0001 10 00", OK },
                { "PUBACK, reason string", V5, "40 08 0001 87 04 1f 0001'r'", OK },
                { "reason string twice", V5, "40 0c 0001 87 08 1f 0001'r' 1f 0001'r'", PE },
                { "not a PUBACK's reason", V5, "40 03 0001 92", MF },
                { "3.1.1 has no reason", V3, "40 03 0001 00", MF },
                { "flags", V5, "42 02 0001", MF },
                { "id 0", V5, "40 02 0000", PE },
                { "half an id", V3, "40 01 00", MF },
                { "PUBREC", V5, "50 02 0001", OK },
                { "MQTT-3.6.1-1", V5, "60 02 0001", MF },
                { "3.1.1:MQTT-3.6.1-1", V3, "60 02 0001", MF },
                { "PUBREL", V5, "62 03 0001 92", OK },
                { "not a PUBREL's reason", V5, "62 03 0001 80", MF },
                { "PUBCOMP", V5, "70 02 0001", OK },
                { "after the end", V5, "70 05 0001 00 00 00", MF },
        };
        check_rows(rows, ELEMENTSOF(rows));
}

static void subscribe(void **state)
{
        static const Row rows[] = {
                { "two", V3, "82 0a 0001 0001'a' 00 0001'b' 01", OK },
                { "two", V5, "82 0b 0001 00 0001'a' 2e 0001'b' 01", OK },
                { "MQTT-3.8.1-1", V5, "80 07 0001 00 0001'a' 00", MF },
                { "3.1.1:MQTT-3.8.1-1", V3, "80 06 0001 0001'a' 00", MF },
                { "MQTT-3.8.3-2", V5, "82 03 0001 00", PE },
                { "3.1.1:MQTT-3.8.3-3", V3, "82 02 0001", PE },
                { "MQTT-3.8.3-5", V5, "82 07 0001 00 0001'a' 40", MF },
                { "3.1.1:MQTT-3-8.3-4", V3, "82 06 0001 0001'a' 04", MF },
                { "QoS 3", V5, "82 07 0001 00 0001'a' 03", PE },
                { "3.1.1:QoS 3", V3, "82 06 0001 0001'a' 03", MF },
                { "retain handling 3", V5, "82 07 0001 00 0001'a' 30", PE },
                { "MQTT-3.8.3-4", V5, "82 10 0001 00 000a'$share/g/a' 04", PE },
                { "shared", V5, "82 10 0001 00 000a'$share/g/a' 00", OK },
                { "MQTT-4.8.2-1", V5, "82 0f 0001 00 0009'$share//a' 00", MF },
                { "MQTT-3.8.3-1", V5, "82 07 0001 00 0001 ff 00", MF },
                { "MQTT-4.7.3-1", V5, "82 06 0001 00 0000 00", MF },
                { "MQTT-4.7.1-1", V5, "82 0a 0001 00 0004'a/b#' 00", MF },
                { "MQTT-2.2.1-3", V5, "82 07 0000 00 0001'a' 00", PE },
                { "subscription id", V5, "82 09 0001 02 0b 01 0001'a' 00", OK },
                { "subscription id 0", V5, "82 09 0001 02 0b 00 0001'a' 00", PE },
                { "subscription id twice", V5, "82 0b 0001 04 0b 01 0b 02 0001'a' 00", PE },
                { "subscription id too long", V5, "82 0c 0001 05 0b ffffffff 0001'a' 00", MF },
                { "no options", V5, "82 06 0001 00 0001'a'", MF },
                { "UNSUBSCRIBE", V3, "a2 05 0001 0001'a'", OK },
                { "UNSUBSCRIBE", V5, "a2 06 0001 00 0001'a'", OK },
                { "MQTT-3.10.1-1", V5, "a0 06 0001 00 0001'a'", MF },
                { "MQTT-3.10.3-2", V5, "a2 03 0001 00", PE },
                { "3.1.1:MQTT-3.10.3-2", V3, "a2 02 0001", PE },
                { "MQTT-3.10.3-1", V5, "a2 06 0001 00 0001 ff", MF },
                { "subscription id is not UNSUBSCRIBE's", V5, "a2 08 0001 02 0b 01 0001'a'", MF },
        };
        check_rows(rows, ELEMENTSOF(rows));
}

static void the_rest(void **state)
{
        static const Row rows[] = {
                { "PINGREQ", V3, "c0 00", OK },
                { "PINGREQ with a body", V5, "c0 01 00", MF },
                { "PINGREQ's flags", V5, "c1 00", MF },
                { "DISCONNECT", V3, "e0 00", OK },
                { "3.1.1 DISCONNECT with a body", V3, "e0 01 00", MF },
                { "DISCONNECT with a will", V5, "e0 01 04", OK },
                { "DISCONNECT, properties", V5, "e0 07 00 05 11 00000000", OK },
                { "MQTT-3.14.1-1", V5, "e1 00", MF },
                { "a server's reason", V5, "e0 01 8e", MF },
                { "a server's property", V5, "e0 06 00 04 1c 0001's'", MF },
                { "AUTH", V5, "f0 06 18 04 15 0001'm'", OK },
                { "AUTH without a method", V5, "f0 01 18", PE },
                { "AUTH success is the server's", V5, "f0 06 00 04 15 0001'm'", PE },
                { "MQTT-3.15.1-1", V5, "f1 06 18 04 15 0001'm'", MF },
                { "3.1.1: type 15 is reserved", V3, "f0 00", MF },
        };
        check_rows(rows, ELEMENTSOF(rows));
}

static MqttFraming frame(const char *hex, size_t max)
{
        uint8_t packet[64];
        MqttFrame f;
        return mqtt_frame(BYTES(packet, unhex(hex, packet, sizeof(packet))), max, &f);
}

static void framing(void **state)
{
        assert_int_equal(frame("", 100), MQTT_FRAMING_NEED_MORE);
        assert_int_equal(frame("c0", 100), MQTT_FRAMING_NEED_MORE);
        assert_int_equal(frame("c0 00", 100), MQTT_FRAMING_PACKET);
        assert_int_equal(frame("30 04 0001'a'", 100), MQTT_FRAMING_NEED_MORE);
        assert_int_equal(frame("30 80 80 80", 1000), MQTT_FRAMING_NEED_MORE);
        assert_int_equal(frame("30 ff ff ff ff", SIZE_MAX), MQTT_FRAMING_MALFORMED);
        assert_int_equal(frame("30 ff ff ff 7f", SIZE_MAX), MQTT_FRAMING_NEED_MORE);
        assert_int_equal(frame("30 ff ff ff 7f", 1000), MQTT_FRAMING_TOO_LARGE);
        assert_int_equal(frame("30 04 0001'a' 'x'", 6), MQTT_FRAMING_PACKET);
        assert_int_equal(frame("30 04", 5), MQTT_FRAMING_TOO_LARGE);
        assert_int_equal(frame("00 00", 100), MQTT_FRAMING_MALFORMED);
}

static void fields(void **state)
{
        uint8_t packet[128];
        MqttFrame f;
        MqttPublish p;
        MqttSubscribe s;
        MqttSubscription entry;
        Bytes name, value;
        size_t len = unhex("3b 24 0001'a' 1234 13 01 01 26 0001'k'0001'v' 03 0001't' 26 0001'k' "
                           "0000 'payload' 00000000",
                           packet, sizeof(packet));
        assert_int_equal(mqtt_frame(BYTES(packet, len), 128, &f), MQTT_FRAMING_PACKET);
        assert_int_equal(mqtt_parse_publish(&f, MQTT_5, &p), MQTT_SUCCESS);
        assert_true(p.dup && p.retain && p.qos == 1 && p.packet_id == 0x1234);
        assert_int_equal(p.payload.len, 11);
        assert_memory_equal(p.payload.data, "payload", 7);
        assert_true(bytes_equal(p.properties.content_type, BYTES_LITERAL("t")));
        assert_int_equal(p.properties.payload_format, 1);
        assert_false(mqtt_property_present(&p.properties, MQTT_PROPERTY_MESSAGE_EXPIRY));
        Reader users = reader_new(p.properties.block);
        assert_true(mqtt_user_property_next(&users, &name, &value));
        assert_true(bytes_equal(name, BYTES_LITERAL("k")) &&
                    bytes_equal(value, BYTES_LITERAL("v")));
        assert_true(mqtt_user_property_next(&users, &name, &value));
        assert_int_equal(value.len, 0);
        assert_false(mqtt_user_property_next(&users, &name, &value));

        len = unhex("82 0d 0007 02 0b 05 0001'a' 2d 0001'b' 02", packet, sizeof(packet));
        assert_int_equal(mqtt_frame(BYTES(packet, len), 128, &f), MQTT_FRAMING_PACKET);
        assert_int_equal(mqtt_parse_subscribe(&f, MQTT_5, &s), MQTT_SUCCESS);
        assert_true(s.packet_id == 7 && s.n_entries == 2 && s.properties.subscription_id == 5);
        assert_true(mqtt_subscribe_next(&s.entries, &entry));
        assert_true(entry.qos == 1 && entry.no_local && entry.retain_as_published);
        assert_int_equal(entry.retain_handling, 2);
        assert_true(mqtt_subscribe_next(&s.entries, &entry));
        assert_true(bytes_equal(entry.filter, BYTES_LITERAL("b")) && entry.qos == 2);
        assert_false(mqtt_subscribe_next(&s.entries, &entry));
}

static void assert_written(Buf *b, int r, const char *hex)
{
        uint8_t expected[128];
        size_t n = unhex(hex, expected, sizeof(expected));
        assert_int_equal(r, 0);
        assert_int_equal(buf_len(b), n);
        assert_memory_equal(buf_view(b).data, expected, n);
        buf_clear(b);
}

static void writing(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(4096);
        MqttPeer v3 = { .version = MQTT_3_1_1 }, v5 = { .version = MQTT_5 };
        MqttProperties p = {
                .present = MQTT_PROPERTY_BIT(MQTT_PROPERTY_SERVER_KEEP_ALIVE) |
                           MQTT_PROPERTY_BIT(MQTT_PROPERTY_ASSIGNED_CLIENT_ID),
                .server_keep_alive = 60,
                .assigned_client_id = BYTES_LITERAL("dev1"),
        };
        const uint32_t ids[] = { 1, 200 };
        MqttOutgoing m = {
                .qos = 1,
                .packet_id = 9,
                .topic = BYTES_LITERAL("a"),
                .payload = BYTES_LITERAL("x"),
                .expires = true,
                .message_expiry = 3,
                .subscription_ids = ids,
                .n_subscription_ids = 2,
        };
        assert_written(&b, mqtt_write_connack(&b, &v3, false, MQTT_SUCCESS, &p), "20 02 00 00");
        assert_written(&b, mqtt_write_connack(&b, &v3, false, 0x86, &p), "20 02 00 04");
        assert_int_equal(mqtt_write_connack(&b, &v3, false, MQTT_PROTOCOL_ERROR, NULL),
                         -EOPNOTSUPP);
        assert_written(&b, mqtt_write_connack(&b, &v5, true, MQTT_SUCCESS, &p),
                       "20 0d 01 00 0a 12 0004'dev1' 13 003c");
        assert_written(&b, mqtt_write_publish(&b, &v3, &m), "32 06 0001'a' 0009 'x'");
        assert_written(&b, mqtt_write_publish(&b, &v5, &m),
                       "32 11 0001'a' 0009 0a 02 00000003 0b 01 0b c801 'x'");
        assert_written(&b, mqtt_write_ack(&b, &v5, MQTT_PUBACK, 9, MQTT_SUCCESS, NULL),
                       "40 02 0009");
        assert_written(&b, mqtt_write_ack(&b, &v5, MQTT_PUBACK, 9, 0x87, "no"),
                       "40 09 0009 87 05 1f 0002'no'");
        assert_written(&b, mqtt_write_ack(&b, &v3, MQTT_PUBREL, 9, 0x92, "no"), "62 02 0009");
        assert_written(&b, mqtt_write_suback(&b, &v5, 9, BYTES_LITERAL("\x01\x87"), NULL),
                       "90 05 0009 00 01 87");
        assert_written(&b, mqtt_write_suback(&b, &v3, 9, BYTES_LITERAL("\x01\x87"), "no"),
                       "90 04 0009 01 80");
        assert_written(&b, mqtt_write_unsuback(&b, &v3, 9, BYTES_LITERAL("\x11")), "b0 02 0009");
        assert_written(&b, mqtt_write_unsuback(&b, &v5, 9, BYTES_LITERAL("\x11")),
                       "b0 04 0009 00 11");
        assert_written(&b, mqtt_write_pingresp(&b), "d0 00");
        assert_written(&b, mqtt_write_disconnect(&b, &v5, 0x8e, "x"), "e0 06 8e 04 1f 0001'x'");
        assert_written(&b, mqtt_write_disconnect(&b, &v3, 0x8e, "x"), "");
}

/* [MQTT-3.1.2-24], [MQTT-3.1.2-29]: what the peer does not take is left out or not sent. */
static void writing_within_limits(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(300);
        uint8_t payload[300] = { 0 };
        MqttPeer small = { .version = MQTT_5, .maximum_packet_size = 8 };
        MqttPeer silent = { .version = MQTT_5, .no_problem_information = true };
        MqttPeer any = { .version = MQTT_5 };
        MqttOutgoing m = { .topic = BYTES_LITERAL("abcd"), .payload = BYTES_LITERAL("x") };
        assert_int_equal(mqtt_write_publish(&b, &small, &m), -EMSGSIZE);
        assert_int_equal(buf_len(&b), 0);
        assert_written(&b, mqtt_write_ack(&b, &small, MQTT_PUBACK, 9, 0x87, "no"), "40 03 0009 87");
        assert_written(&b, mqtt_write_ack(&b, &silent, MQTT_PUBACK, 9, 0x87, "no"),
                       "40 03 0009 87");
        assert_written(&b, mqtt_write_disconnect(&b, &small, 0x8e, "long"), "e0 02 8e 00");
        m.payload = BYTES(payload, sizeof(payload));
        assert_int_equal(mqtt_write_pingresp(&b), 0);
        assert_int_equal(mqtt_write_publish(&b, &any, &m), -ENOBUFS);
        assert_written(&b, 0, "d0 00");
        m.payload = BYTES(payload, 200); /* two bytes of length: the body moves */
        assert_int_equal(mqtt_write_publish(&b, &any, &m), 0);
        MqttFrame f;
        MqttPublish p;
        assert_int_equal(mqtt_frame(buf_view(&b), 300, &f), MQTT_FRAMING_PACKET);
        assert_int_equal(mqtt_parse_publish(&f, MQTT_5, &p), MQTT_SUCCESS);
        assert_int_equal(p.payload.len, 200);
        assert_true(bytes_equal(p.topic, m.topic));
}

static bool properties(const char *hex)
{
        uint8_t bytes[64];
        MqttProperties p;
        size_t n = unhex(hex, bytes, sizeof bytes);
        return mqtt_properties_read(BYTES(bytes, n),
                                    MQTT_PROPERTY_BIT(MQTT_PROPERTY_CONTENT_TYPE) |
                                            MQTT_PROPERTY_BIT(MQTT_PROPERTY_USER),
                                    &p);
}

static void encoded_properties(void **state)
{
        assert_true(properties(""));
        assert_true(properties("03 0001'a' 26 0001'b' 0001'c' 26 0000 0000"));
        assert_false(properties("03 0001"));
        assert_false(properties("03 0001 ff"));
        assert_false(properties("03 0001'a' 03 0001'b'"));
        assert_false(properties("03 0001'a' 80"));
        assert_false(properties("01 00")); /* is not in the mask */
        assert_false(properties("0b 01")); /* nor ever in a message */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(connect),  cmocka_unit_test(publish),
                cmocka_unit_test(acks),     cmocka_unit_test(subscribe),
                cmocka_unit_test(the_rest), cmocka_unit_test(framing),
                cmocka_unit_test(fields),   cmocka_unit_test(encoded_properties),
                cmocka_unit_test(writing),  cmocka_unit_test(writing_within_limits),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
