/* SPDX-License-Identifier: GPL-3.0-or-later */

/* One Network Connection, fed with raw packets: what is refused, what is answered and when, and how
 * messages come out. */

#include "../unit.h"

#include "mqtt-fixture.h"
#include "proto/topic.h"

/* What ends a connection at once, and what the client hears. */
static void refused(void **state)
{
        static const struct {
                const char *what, *in, *out;
                MqttReason reason;
        } t[] = {
                { "MQTT-3.1.0-1", "c0 00", "", 0x82 },
                { "MQTT-3.1.0-2", CONNECT3 CONNECT3, CONNACK3, 0x82 },
                { "3.1.1 after 3.1: return code 1", "10 12 0006'MQIsdp'03 02 003c 0004'dev1'",
                  "20 02 00 01", 0x84 },
                { "another device's client id, 3.1.1", "10 10 0004'MQTT'04 02 003c 0004'dev2'",
                  "20 02 00 02", 0x85 },
                { "the name goes on", "10 11 0004'MQTT'04 02 003c 0005'dev12'", "20 02 00 02",
                  0x85 },
                { "3.1.1:MQTT-3.1.3-8", "10 0c 0004'MQTT'04 00 003c 0000", "20 02 00 02", 0x85 },
                { "user name, 3.1.1", "10 13 0004'MQTT'04 82 003c 0004'dev1' 0001'u'",
                  "20 02 00 04", 0x86 },
                { "a will elsewhere, 3.1.1",
                  "10 1b 0004'MQTT'04 06 003c 0004'dev1' 0006'dev2/w'0001'p'", "20 02 00 05",
                  0x87 },
                { "3.1.1: denied", CONNECT3 "32 0b 0006'dev2/a' 0001 'x'", CONNACK3, 0x87 },
                { "a server's packet", CONNECT3 "d0 00", CONNACK3, 0x82 },
                { "3.1.1: too large", CONNECT3 "30 ff 7f", CONNACK3, 0x95 },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                client_open(&c);
                if (feed(&c, t[i].in) != MQTT_INPUT_ENDED)
                        fail_msg("%s: not ended", t[i].what);
                print_message("%s\n", t[i].what);
                assert_out(&c, t[i].out);
                assert_ended(&c, t[i].reason);
                client_close(&c);
        }
}

/* The same for 5.0: the first bytes of CONNACK or DISCONNECT tell the code, a string follows. */
static void refused_5(void **state)
{
        static const struct {
                const char *what, *in;
                uint8_t type, code;
        } t[] = {
                { "MQTT-3.1.2-2", "10 11 0004'MQTT'06 02 003c 00 0004'dev1'", 0x20, 0x84 },
                { "client id", "10 11 0004'MQTT'05 02 003c 00 0004'dev2'", 0x20, 0x85 },
                { "password", "10 14 0004'MQTT'05 42 003c 00 0004'dev1' 0001'p'", 0x20, 0x86 },
                { "MQTT-4.12.0-1", "10 15 0004'MQTT'05 02 003c 04 15 0001'm' 0004'dev1'", 0x20,
                  0x8c },
                { "will for attestation",
                  "10 23 0004'MQTT'05 06 003c 00 0004'dev1' 00 000c'rats/dev1/ch'0001'p'", 0x20,
                  0x87 },
                { "will elsewhere",
                  "10 1d 0004'MQTT'05 06 003c 00 0004'dev1' 00 0006'dev2/w'0001'p'", 0x20, 0x87 },
                { "malformed CONNECT", "10 11 0004'MQTT'05 03 003c 00 0004'dev1'", 0x20, 0x81 },
                { "MQTT-3.3.2-8", CONNECT5 "30 08 0001'a' 03 23 0000 'x'", 0xe0, 0x94 },
                { "MQTT-3.3.2-9", CONNECT5 "30 08 0001'a' 03 23 0005 'x'", 0xe0, 0x94 },
                { "alias not known", CONNECT5 "30 07 0000 03 23 0001 'x'", 0xe0, 0x82 },
                { "MQTT-4.12.0-6", CONNECT5 "f0 06 18 04 15 0001'm'", 0xe0, 0x82 },
                { "topic with a wildcard", CONNECT5 "30 05 0001'+' 00 'x'", 0xe0, 0x90 },
                { "MQTT-3.2.2-15", CONNECT5 "30 ff 7f", 0xe0, 0x95 },
                { "malformed length", CONNECT5 "30 ff ff ff ff", 0xe0, 0x81 },
                { "expiry after none", CONNECT5 "e0 07 00 05 11 00000001", 0xe0, 0x82 },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                client_open(&c);
                if (feed(&c, t[i].in) != MQTT_INPUT_ENDED)
                        fail_msg("%s: not ended", t[i].what);
                print_message("%s\n", t[i].what);
                if (t[i].type == 0xe0) {
                        uint8_t connack[64];
                        buf_consume(&c.out, unhex(CONNACK5, connack, sizeof(connack)));
                }
                const uint8_t *out = buf_view(&c.out).data;
                assert_true(buf_len(&c.out) > 8);
                assert_int_equal(out[0], t[i].type);
                assert_int_equal(out[t[i].type == 0xe0 ? 2 : 3], t[i].code);
                assert_ended(&c, t[i].code);
                client_close(&c);
        }
}

static void accepted(void **state)
{
        static const struct {
                const char *in, *out, *client_id;
        } t[] = {
                { CONNECT3, CONNACK3, "dev1" },
                { CONNECT5, CONNACK5, "dev1" },
                { "10 12 0004'MQTT'04 02 003c 0006'dev1/x'", CONNACK3, "dev1/x" },
                { "10 0c 0004'MQTT'04 02 003c 0000", CONNACK3, "dev1/auto-0000000000000004" },
                /* [MQTT-3.1.3-6], -7; [MQTT-3.2.2-21]: keep-alive 0 becomes ours; expiry as asked
                 */
                { "10 12 0004'MQTT'05 00 0000 05 11 00000064 0000",
                  "20 2e 00 00 2b 12 001a'dev1/auto-0000000000000005' 13 012c " OFFER,
                  "dev1/auto-0000000000000005" },
                /* longer than the longest */
                { "10 16 0004'MQTT'05 02 003c 05 11 ffffffff 0004'dev1'",
                  "20 13 00 00 10 11 00093a80 " OFFER, "dev1" },
                /* section 3.1.2.11.7: Response Information when it is asked for */
                { "10 13 0004'MQTT'05 02 003c 02 19 01 0004'dev1'",
                  "20 15 00 00 12 1a 0004'dev1' " OFFER, "dev1" },
                /* wills with QoS 2, and retained */
                { "10 16 0004'MQTT'04 16 003c 0004'dev1' 0001'w'0001'p'", CONNACK3, "dev1" },
                { "10 18 0004'MQTT'05 26 003c 00 0004'dev1' 00 0001'w'0001'p'", CONNACK5, "dev1" },
        };
        disk.limits.sessions = ELEMENTSOF(t);
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                open_connected(&c, t[i].in, t[i].out);
                assert_string_equal(mqtt_connection_client_id(c.connection), t[i].client_id);
                assert_string_equal(mqtt_connection_device(c.connection), "dev1");
                assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_MORE);
                assert_out(&c, "d0 00");
                assert_int_equal(feed(&c, "e0 00 c0 00"), MQTT_INPUT_ENDED);
                assert_out(&c, "");
                assert_ended(&c, MQTT_SUCCESS);
                client_close(&c);
        }
}

/* The heart of it: no PUBACK before the message is durable, and in order. */
static void acknowledged_when_durable(void **state)
{
        Client c;
        disk.slow = true;
        disk.refuse_attestation = MQTT_QUOTA_EXCEEDED;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "32 07 0001'a' 0001 00 'x' 32 0c 0006'dev1/b' 0002 00 'y' 30 05 0001'c' 00 'z' "
                 "32 10 000a'rats/dev1/' 0003 00 'w'");
        assert_int_equal(disk.n_submitted, 4);
        assert_string_equal(disk.topics[0], "dev1:a=x");
        assert_string_equal(disk.topics[1], "dev1:b=y");
        assert_string_equal(disk.topics[3], "rats:=w");
        assert_out(&c, "");
        durable(1);
        assert_out(&c, "");
        durable(0);
        assert_out(&c, "40 02 0001 40 02 0002");
        durable(2); /* QoS 0 has its place in the order too */
        assert_out(&c, "40 0e 0003 97 0a 1f 0007'refused'");
        client_close(&c);
}

static void denied_in_order(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c,
             "32 07 0001'a' 0001 00 'x' 32 0c 0006'dev2/b' 0002 00 'y' 30 0a 0006'dev2/b' 00 'y'");
        assert_int_equal(disk.n_submitted, 1);
        assert_int_equal(c.n_denied, 2);
        assert_out(&c, "");
        durable(0);
        assert_out(&c, "40 02 0001 40 14 0002 87 10 1f 000d'foreign-topic'");
        assert_false(mqtt_connection_has_ended(c.connection));
        client_close(&c);
}

static void gone_before_durable(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "32 06 0001'a' 0001 'x' 32 06 0001'b' 0002 'y'");
        mqtt_connection_end(c.connection, MQTT_ADMINISTRATIVE_ACTION, "test");
        durable(0);
        assert_out(&c, "");
        client_close(&c);
        durable(1);

        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "32 06 0001'a' 0001 'x' 32 06 0001'b' 0002 'y'");
        settle(2, MQTT_QUOTA_EXCEEDED, NULL); /* 3.1.1 hears a refusal as the end, and no PUBACK */
        assert_ended(&c, MQTT_QUOTA_EXCEEDED);
        durable(3);
        assert_out(&c, "");
        client_close(&c);
}

static void pushes_back(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT3, CONNACK3);
        for (unsigned i = 0; i < 8; i++)
                assert_int_equal(feed(&c, "32 06 0001'a' 0001 'x'"),
                                 i < 7 ? MQTT_INPUT_MORE : MQTT_INPUT_BLOCKED);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_BLOCKED);
        assert_int_equal(c.wait, 0);
        size_t wakes = c.n_wakes;
        durable(0);
        assert_true(c.n_wakes > wakes);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_MORE);
        assert_out(&c, "40 02 0001 d0 00");
        client_close(&c);
}

/* Section 3.3.4. */
static void receive_maximum(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT5, CONNACK5);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(feed(&c, "32 07 0001'a' 0001 00 'x'"), MQTT_INPUT_MORE);
        assert_int_equal(feed(&c, "32 07 0001'a' 0005 00 'x'"), MQTT_INPUT_ENDED);
        assert_ended(&c, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
        client_close(&c);
}

/* A device beyond its allowance waits, and its silence is ours. */
static void allowance(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        disk.wait = 7;
        assert_int_equal(feed(&c, "32 07 0001'a' 0001 00 'x'"), MQTT_INPUT_BLOCKED);
        assert_int_equal(c.wait, 7);
        assert_int_equal(disk.n_submitted, 0);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_MORE); /* counts messages alone */
        assert_out(&c, "d0 00");
        feed(&c, "32 07 0001'a' 0001 00 'x'");
        mqtt_connection_tick(c.connection, 1000 * USEC_PER_SEC);
        assert_false(mqtt_connection_has_ended(c.connection));
        disk.wait = 0;
        assert_int_equal(feed(&c, "32 07 0001'a' 0001 00 'x'"), MQTT_INPUT_MORE);
        assert_out(&c, "40 02 0001");
        client_close(&c);
}

static void packets_a_turn(void **state)
{
        Client c;
        size_t consumed;
        static const uint8_t pings[60] = { 0xc0, 0, 0xc0, 0, 0xc0, 0, 0xc0, 0 };
        open_connected(&c, CONNECT3, CONNACK3);
        assert_int_equal(
                mqtt_connection_input(c.connection, BYTES(pings, 8), 3, 0, &consumed, &c.wait),
                MQTT_INPUT_AGAIN);
        assert_int_equal(consumed, 6);
        assert_out(&c, "d0 00 d0 00 d0 00");
        assert_int_equal(
                mqtt_connection_input(c.connection, BYTES(pings, 1), 3, 0, &consumed, &c.wait),
                MQTT_INPUT_MORE);
        assert_int_equal(consumed, 0);
        client_close(&c);
}

static void aliases(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "30 08 0001'a' 03 23 0004 'x' 30 07 0000 03 23 0004 'y' "
                 "30 08 0001'b' 03 23 0004 'z' 30 07 0000 03 23 0004 'w'");
        assert_int_equal(disk.n_submitted, 4);
        assert_string_equal(disk.topics[1], "dev1:a=y");
        assert_string_equal(disk.topics[3], "dev1:b=w");
        client_close(&c);
}

/* An alias keeps its topic in memory: it is bounded as every topic is. */
static void alias_of_a_deep_topic(void **state)
{
        for (size_t levels = TOPIC_LEVELS_MAX; levels <= TOPIC_LEVELS_MAX + 1; levels++) {
                uint8_t in[256] = { 0x30, (uint8_t)(2 + levels + 4 + 1), 0, (uint8_t)levels };
                size_t consumed;
                Client c;
                memset(in + 4, '/', levels - 1);
                in[4 + levels - 1] = 'a';
                memcpy(in + 4 + levels, "\x03\x23\0\1x", 5);
                open_connected(&c, CONNECT5, CONNACK5);
                mqtt_connection_input(c.connection, BYTES(in, 4 + levels + 5), 1000, 0, &consumed,
                                      &c.wait);
                assert_int_equal(mqtt_connection_has_ended(c.connection),
                                 levels > TOPIC_LEVELS_MAX);
                if (levels > TOPIC_LEVELS_MAX)
                        assert_ended(&c, MQTT_TOPIC_NAME_INVALID);
                client_close(&c);
        }
}

static void subscriptions(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        /* own, other device, shared, reserved */
        feed(&c, "82 26 0001 00 0005'cmd/#' 02 0006'dev2/a' 01 000a'$share/g/a' 01 0002'$x' 00");
        assert_out(&c, "90 17 0001 10 1f 000d'foreign-topic' 02 87 01 87");
        feed(&c, "82 07 0002 00 0001'b' 00 82 07 0003 00 0001'c' 00 82 07 0004 00 0001'd' 00 "
                 "82 07 0005 00 0001'b' 01");
        assert_out(&c, "90 04 0002 00 00 90 04 0003 00 00 90 04 0004 00 97 90 04 0005 00 01");
        feed(&c, "a2 15 0006 00 0001'b' 0001'd' 000a'$share/g/a'");
        assert_out(&c, "b0 06 0006 00 00 11 00");
        client_close(&c);

        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "82 13 0001 0006'dev2/a' 01 0005'cmd/+' 02 a2 05 0002 0001'q'");
        assert_out(&c, "90 04 0001 80 02 b0 02 0002");
        client_close(&c);
}

static void delivery(void **state)
{
        Client c;
        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "82 13 0001 0005'cmd/#' 01 0006'cmd/on' 00");
        buf_clear(&c.out);
        assert_int_equal(publish("dev1/cmd/on", "1", 1), 1);
        assert_out(&c, "32 0b 0006'cmd/on' 0001 '1'");
        assert_int_equal(publish("dev1/other", "1", 1), 0);
        assert_int_equal(publish("rats/dev1/cmd/on", "1", 1), 0);
        /* the window is two: the third waits for a PUBACK, and QoS 0 behind it */
        publish("dev1/cmd/b", "2", 1);
        assert_out(&c, "32 0a 0005'cmd/b' 0002 '2'");
        publish("dev1/cmd/c", "3", 1);
        publish("dev1/cmd/d", "4", 0);
        assert_out(&c, "");
        feed(&c, "40 02 0001");
        assert_out(&c, "32 0a 0005'cmd/c' 0003 '3' 30 08 0005'cmd/d' '4'");
        feed(&c, "40 02 7777"); /* nobody's */
        assert_false(mqtt_connection_has_ended(c.connection));
        disk.closed = "dev1";
        assert_int_equal(publish("dev1/cmd/d", "4", 0), 0);
        client_close(&c);
}

/* Written with the device's name in front, topics come back so; identifiers come along. */
static void delivery_forms(void **state)
{
        Client c;
        open_connected(&c, "10 14 0004'MQTT'05 02 003c 03 21 0001 0004'dev1'", CONNACK5);
        feed(&c, "82 0e 0001 02 0b 07 0006'dev1/#' 01 82 09 0002 02 0b 08 0001'+' 04 "
                 "82 11 0003 00 000b'rats/dev1/+' 00");
        assert_out(&c, "90 04 0001 00 01 90 04 0002 00 00 90 04 0003 00 00");
        assert_int_equal(publish("dev1/t", "1", 1), 1);
        assert_out(&c, "32 0e 0006'dev1/t' 0001 02 0b 07 '1' 30 07 0001't' 02 0b 08 '1'");
        publish("rats/dev1/n", "1", 1);
        assert_out(&c, "30 0f 000b'rats/dev1/n' 00 '1'");
        /* its own message comes back where no-local was not asked for; the window is one */
        feed(&c, "40 02 0001 32 09 0001's' 0001 02 01 01 '5'");
        assert_out(&c, "32 10 0006'dev1/s' 0002 04 01 01 0b 07 '5' 40 02 0001");
        client_close(&c);
}

/* A message that waits longer than it is good for does not come any more. */
static void delivery_in_time(void **state)
{
        for (usec_t after = 9; after <= 11; after += 2) {
                Client c;
                open_connected(&c, CONNECT5, CONNACK5);
                feed(&c, "82 07 0001 00 0001'#' 01");
                publish("dev1/a", "1", 1);
                publish("dev1/b", "2", 1);
                feed(&c, "32 0c 0001's' 0001 05 02 0000000a '5'"); /* good for ten seconds */
                buf_clear(&c.out);
                feed_at(&c, "40 02 0001", after * USEC_PER_SEC);
                assert_int_equal(buf_len(&c.out) > 0, after < 10);
                client_close(&c);
        }
}

static void slow_reader(void **state)
{
        static char big[601];
        Client c;
        memset(big, 'x', 600);
        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "82 06 0001 0001'#' 00");
        for (size_t i = 0; i < 20; i++)
                publish("dev1/a", big, 0);
        assert_false(mqtt_connection_has_ended(c.connection)); /* QoS 0: dropped */
        assert_true(buf_len(&c.out) <= c.out.max);
        buf_clear(&c.out);
        mqtt_connection_drained(c.connection, 0);
        assert_true(buf_len(&c.out) > 1200); /* what waited */
        feed(&c, "82 06 0001 0001'#' 01");
        for (size_t i = 0; i < 20; i++)
                publish("dev1/a", big, 1);
        assert_ended(&c, MQTT_QUOTA_EXCEEDED); /* QoS 1 is a promise */
        client_close(&c);
}

static void takeover(void **state)
{
        Client a, b, other, third;
        open_connected(&a, CONNECT5, CONNACK5);
        disk.slow = true;
        feed(&a, "32 07 0001'a' 0001 00 'x'");
        disk.slow = false;
        open_connected(&b, CONNECT5, CONNACK5);
        assert_ended(&a, MQTT_SESSION_TAKEN_OVER); /* [MQTT-3.1.4-3] */
        assert_int_equal(buf_view(&a.out).data[2], 0x8e);
        open_connected(&other, "10 12 0004'MQTT'04 02 003c 0006'dev1/x'", CONNACK3);
        client_open(&third);
        assert_int_equal(feed(&third, "10 12 0004'MQTT'04 02 003c 0006'dev1/y'"), MQTT_INPUT_ENDED);
        assert_out(&third, "20 02 00 03");
        assert_ended(&third, MQTT_QUOTA_EXCEEDED);
        client_close(&a);
        client_close(&third);
        mqtt_connection_end(b.connection, MQTT_ADMINISTRATIVE_ACTION, "gone");
        mqtt_connection_end(other.connection, MQTT_ADMINISTRATIVE_ACTION, "gone");
        assert_ended(&b, MQTT_ADMINISTRATIVE_ACTION);
        assert_ended(&other, MQTT_ADMINISTRATIVE_ACTION);
        client_close(&b);
        client_close(&other);
}

/* A takeover by a connection whose predecessors are ended but not yet freed. */
static void takeover_storm(void **state)
{
        Client c[8];
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                open_connected(&c[i], CONNECT3, CONNACK3);
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                assert_int_equal(mqtt_connection_has_ended(c[i].connection), i + 1 < ELEMENTSOF(c));
        for (size_t i = ELEMENTSOF(c); i-- > 0;)
                client_close(&c[i]);
}

static void wills(void **state)
{
        static const char with_will[] = "10 16 0004'MQTT'04 0e 003c 0004'dev1' 0001'w'0001'p'";
        Client c, listener;
        open_connected(&listener, "10 12 0004'MQTT'04 02 003c 0006'dev1/x'", CONNACK3);
        feed(&listener, "82 06 0001 0001'w' 00");
        buf_clear(&listener.out);
        open_connected(&c, with_will, CONNACK3);
        mqtt_connection_end(c.connection, MQTT_KEEP_ALIVE_TIMEOUT, "test");
        c.connection = mqtt_connection_free(c.connection); /* [MQTT-3.1.2-8] */
        assert_int_equal(disk.n_submitted, 1);
        assert_string_equal(disk.topics[0], "dev1:w=p");
        assert_out(&listener, "30 04 0001'w' 'p'");
        client_close(&c);

        open_connected(&c, with_will, CONNACK3);
        feed(&c, "e0 00"); /* [MQTT-3.14.4-3] */
        c.connection = mqtt_connection_free(c.connection);
        assert_int_equal(disk.n_submitted, 1);
        client_close(&c);
        client_close(&listener);
}

/* Thousands of filters in one packet would hold up everybody. */
static void too_many_filters(void **state)
{
        static const char *const heads[] = { "82", "a2" };
        static const char *const entries[] = { "0001'a' 00", "0001'a'" };
        config.maximum_packet_size = 2048;
        restart();
        for (size_t k = 0; k < ELEMENTSOF(heads); k++) {
                Client c;
                for (unsigned n = 256; n <= 257; n++) {
                        char hex[8192];
                        size_t len = 2 + n * (k == 0 ? 4 : 3);
                        int at = snprintf(hex, sizeof(hex), "%s %02zx %02zx 0001 ", heads[k],
                                          len % 128 | 0x80, len / 128);
                        for (unsigned i = 0; i < n; i++)
                                at += snprintf(hex + at, sizeof(hex) - (size_t)at, "%s ",
                                               entries[k]);
                        open_connected(&c, CONNECT3, CONNACK3);
                        feed(&c, hex);
                        assert_int_equal(mqtt_connection_has_ended(c.connection), n > 256);
                        client_close(&c);
                }
        }
}

/* Its subscriber is the session itself, which is being freed: nobody may be woken for it. */
static void own_will(void **state)
{
        Client c;
        open_connected(&c, "10 16 0004'MQTT'04 0e 003c 0004'dev1' 0001'w'0001'p'", CONNACK3);
        feed(&c, "82 06 0001 0001'w' 01");
        buf_clear(&c.out);
        c.n_wakes = 0;
        c.connection = mqtt_connection_free(c.connection);
        assert_int_equal(disk.n_submitted, 1);
        assert_int_equal(c.n_wakes, 0);
        assert_out(&c, "");
        client_close(&c);
}

static void deadlines(void **state)
{
        Client c;
        client_open(&c);
        mqtt_connection_tick(c.connection, config.connect_timeout - 1);
        assert_false(mqtt_connection_has_ended(c.connection));
        mqtt_connection_tick(c.connection, config.connect_timeout);
        assert_true(mqtt_connection_has_ended(c.connection));
        assert_out(&c, "");
        client_close(&c);

        open_connected(&c, CONNECT5, CONNACK5); /* 60 s: [MQTT-3.1.2-22] */
        feed_at(&c, "c0 00", 10 * USEC_PER_SEC);
        mqtt_connection_tick(c.connection, 99 * USEC_PER_SEC);
        assert_false(mqtt_connection_has_ended(c.connection));
        mqtt_connection_tick(c.connection, 100 * USEC_PER_SEC);
        assert_ended(&c, MQTT_KEEP_ALIVE_TIMEOUT);
        client_close(&c);

        open_connected(&c, "10 10 0004'MQTT'04 02 0000 0004'dev1'", CONNACK3);
        mqtt_connection_tick(c.connection, USEC_INFINITY - 1);
        assert_false(mqtt_connection_has_ended(c.connection));
        client_close(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(refused),
                TEST(refused_5),
                TEST(accepted),
                TEST(acknowledged_when_durable),
                TEST(denied_in_order),
                TEST(gone_before_durable),
                TEST(pushes_back),
                TEST(receive_maximum),
                TEST(allowance),
                TEST(packets_a_turn),
                TEST(aliases),
                TEST(subscriptions),
                TEST(alias_of_a_deep_topic),
                TEST(delivery_in_time),
                TEST(delivery),
                TEST(delivery_forms),
                TEST(slow_reader),
                TEST(takeover),
                TEST(takeover_storm),
                TEST(wills),
                TEST(own_will),
                TEST(too_many_filters),
                TEST(deadlines),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
