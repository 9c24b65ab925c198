/* SPDX-License-Identifier: GPL-3.0-or-later */

/* One connection, fed with raw packets: what is accepted, refused, answered and when. */

#include "mqtt-bench.h"

#include "../hex.h"
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
                { "a will for attestation, 3.1.1",
                  "10 20 0004'MQTT'04 06 003c 0004'dev1' 000b'rats/dev1/w'0001'p'", "20 02 00 05",
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
                { "malformed PINGREQ", CONNECT5 "c0 01 00", 0xe0, 0x81 },
                { "malformed DISCONNECT", CONNECT5 "e0 02 00 01", 0xe0, 0x81 },
                { "malformed AUTH", CONNECT5 "f0 02 18 01", 0xe0, 0x81 },
                { "malformed PUBLISH", CONNECT5 "30 02 0001", 0xe0, 0x81 },
                { "malformed PUBACK", CONNECT5 "40 01 00", 0xe0, 0x81 },
                { "malformed UNSUBSCRIBE", CONNECT5 "a2 03 0001 00", 0xe0, 0x82 },
                { "MQTT-3.8.3-4", CONNECT5 "82 10 0001 00 000a'$share/g/a' 05", 0xe0, 0x82 },
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
                /* [MQTT-3.1.3-6], -7; [MQTT-3.2.2-21]: keep-alive 0 becomes ours */
                { "10 12 0004'MQTT'05 00 0000 05 11 00000064 0000",
                  "20 2e 00 00 2b 12 001a'dev1/auto-0000000000000005' 13 012c 21 0004 22 0004 "
                  "27 00000400",
                  "dev1/auto-0000000000000005" },
                /* section 3.2.2.3.2: no session stays longer than ours */
                { "10 16 0004'MQTT'05 02 003c 05 11 ffffffff 0004'dev1'",
                  "20 13 00 00 10 11 00093a80 21 0004 22 0004 27 00000400", "dev1" },
                /* section 3.1.2.11.6 */
                { "10 15 0004'MQTT'05 02 003c 02 19 01 0006'dev1/x'",
                  "20 15 00 00 12 1a 0004'dev1' 21 0004 22 0004 27 00000400", "dev1/x" },
                /* wills with QoS 2, and retained */
                { "10 16 0004'MQTT'04 16 003c 0004'dev1' 0001'w'0001'p'", CONNACK3, "dev1" },
                { "10 18 0004'MQTT'05 26 003c 00 0004'dev1' 00 0001'w'0001'p'", CONNACK5, "dev1" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                client_connect(&c, t[i].in, t[i].out);
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

/* What stands in it is not looked at where it may. */
static void passwords_ignored(void **state)
{
        Client c;
        world.config.ignore_passwords = true;
        mqtt_world_crash(&world);
        assert_int_equal(mqtt_world_start(&world), 0);
        client_connect(&c, "10 16 0004'MQTT'04 c2 003c 0004'dev1' 0001'u' 0001'p'", CONNACK3);
        client_close(&c);
}

/* An assigned client id is one that nobody has [MQTT-3.1.3-6], not even by choice. */
static void assigned_client_id_is_unique(void **state)
{
        Client a, b, c;
        client_connect(&a, "10 26 0004'MQTT'04 02 003c 001a'dev1/auto-0000000000000002'", CONNACK3);
        client_connect(&b, "10 0d 0004'MQTT'05 02 003c 00 0000",
                       "20 2b 00 00 28 12 001a'dev1/auto-0000000000000003' 21 0004 22 0004 "
                       "27 00000400");
        client_connect(&c, "10 0c 0004'MQTT'04 02 003c 0000", CONNACK3);
        assert_string_equal(mqtt_connection_client_id(c.connection), "dev1/auto-0000000000000004");
        assert_false(mqtt_connection_has_ended(a.connection));
        client_close(&a);
        client_close(&b);
        client_close(&c);
}

static void attestation(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, "32 07 0001'a' 0001 00 'x' 32 11 000b'rats/dev1/c' 0002 00 'w'");
        assert_int_equal(world.n_attested, 1);
        assert_string_equal(world.attested, "rats:c=w");
        assert_out(&c, ""); /* in its turn */
        settle();
        assert_out(&c, "40 02 0001 40 02 0002");
        world.refuse = MQTT_QUOTA_EXCEEDED;
        feed(&c, "32 11 000b'rats/dev1/c' 0003 00 'w'");
        assert_out(&c, "40 0e 0003 97 0a 1f 0007'refused'");
        feed(&c, "34 11 000b'rats/dev1/c' 0004 00 'w'");
        assert_out(&c, "50 0e 0004 97 0a 1f 0007'refused'");
        world.refuse = MQTT_SUCCESS;
        exchange(&c, "34 11 000b'rats/dev1/c' 0004 00 'v'", "50 02 0004");
        exchange(&c, "34 11 000b'rats/dev1/c' 0004 00 'u'", "50 02 0004");
        assert_string_equal(world.attested, "rats:c=v"); /* [MQTT-4.3.3-10] */
        assert_records("dev1:a=x");
        client_close(&c);
}

static void pushes_back(void **state)
{
        Client c;
        client_connect(&c, CONNECT3, CONNACK3);
        for (unsigned i = 0; i < 8; i++)
                assert_int_equal(feed(&c, "32 06 0001'a' 0001 'x'"),
                                 i < 7 ? MQTT_INPUT_MORE : MQTT_INPUT_BLOCKED);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_BLOCKED);
        assert_int_equal(c.wait, 0);
        size_t wakes = c.n_wakes;
        mqtt_disk_settle(&world.disk);
        assert_true(c.n_wakes > wakes);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_MORE);
        assert_out(&c, "40 02 0001 d0 00");
        client_close(&c);

        client_connect(&c, CONNECT5, CONNACK5); /* section 3.3.4 */
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(feed(&c, "32 07 0001'a' 0001 00 'x'"), MQTT_INPUT_MORE);
        assert_int_equal(feed(&c, "32 07 0001'a' 0005 00 'x'"), MQTT_INPUT_ENDED);
        assert_ended(&c, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
        client_close(&c);
}

/* A client that lets our answers lie is not read from either. */
static void answers_unread(void **state)
{
        Client c;
        client_connect(&c, CONNECT3, CONNACK3);
        unsigned n = 0;
        while (feed(&c, "c0 00") == MQTT_INPUT_MORE)
                n++;
        assert_int_equal(n, 4096 / 2 / 2);
        assert_false(mqtt_connection_has_ended(c.connection));
        buf_clear(&c.out);
        size_t wakes = c.n_wakes;
        mqtt_connection_drained(c.connection, world.now);
        assert_true(c.n_wakes > wakes);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_MORE);
        assert_out(&c, "d0 00");
        client_close(&c);
}

static void packets_a_turn(void **state)
{
        Client c;
        size_t consumed;
        static const uint8_t pings[8] = { 0xc0, 0, 0xc0, 0, 0xc0, 0, 0xc0, 0 };
        client_connect(&c, CONNECT3, CONNACK3);
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

/* Each filter costs a decision, and a look at what is retained. */
static void filters_a_turn(void **state)
{
        Client c;
        uint8_t in[64];
        size_t consumed, n = unhex("82 0a 0001 0001'a'00 0001'b'00 a2 08 0002 0001'a' 0001'b' "
                                   "c0 00",
                                   in, sizeof(in));
        client_connect(&c, CONNECT3, CONNACK3);
        assert_int_equal(
                mqtt_connection_input(c.connection, BYTES(in, n), 3, 0, &consumed, &c.wait),
                MQTT_INPUT_AGAIN);
        assert_int_equal(consumed, 12);
        assert_int_equal(mqtt_connection_input(c.connection, BYTES(in + 12, n - 12), 3, 0,
                                               &consumed, &c.wait),
                         MQTT_INPUT_AGAIN);
        assert_int_equal(consumed, 10);
        assert_out(&c, "90 04 0001 00 00 b0 02 0002");
        client_close(&c);
}

/* A ping is not charged, a message is; who waits is not silent. */
static void allowance(void **state)
{
        Client c;
        client_connect(&c, CONNECT3, CONNACK3);
        world.wait = 5 * USEC_PER_SEC;
        exchange(&c, "c0 00", "d0 00");
        assert_int_equal(feed(&c, "30 04 0001'a' 'x'"), MQTT_INPUT_BLOCKED);
        assert_int_equal(c.wait, world.wait);
        assert_int_equal(world.n_submitted, 0);
        mqtt_world_pass(&world, 90);
        assert_false(mqtt_connection_has_ended(c.connection));
        world.wait = 0;
        assert_int_equal(feed(&c, "30 04 0001'a' 'x'"), MQTT_INPUT_MORE);
        settle();
        assert_records("dev1:a=x");
        mqtt_world_pass(&world, 90);
        assert_ended(&c, MQTT_KEEP_ALIVE_TIMEOUT);
        client_close(&c);
}

/* A will is a message that CONNECT brings. */
static void allowance_of_a_will(void **state)
{
        static const char connect[] = "10 16 0004'MQTT'04 06 003c 0004'dev1' 0001'w'0001'p'";
        Client c;
        world.wait = 20 * USEC_PER_SEC;
        client_connect(&c, CONNECT3, CONNACK3);
        client_close(&c);
        client_open(&c);
        assert_int_equal(feed(&c, connect), MQTT_INPUT_BLOCKED);
        assert_int_equal(c.wait, world.wait);
        mqtt_world_pass(&world, 19);
        assert_false(mqtt_connection_has_ended(c.connection));
        assert_int_equal(stats().sessions, 0);
        world.wait = 0;
        exchange(&c, connect, CONNACK3);
        client_close(&c);
        settle();
        assert_records("dev1:w=p");
}

/* They are written to disk as messages are, and would wear it out for nothing. */
static void subscriptions_are_charged(void **state)
{
        static const char *const packets[] = { "82 06 0001 0001'a' 00", "a2 05 0001 0001'a'" };
        Client c;
        client_connect(&c, CONNECT3, CONNACK3);
        for (size_t i = 0; i < ELEMENTSOF(packets); i++) {
                world.wait = 5 * USEC_PER_SEC;
                assert_int_equal(feed(&c, packets[i]), MQTT_INPUT_BLOCKED);
                assert_int_equal(c.wait, world.wait);
                world.wait = 0;
                assert_int_equal(feed(&c, packets[i]), MQTT_INPUT_MORE);
                settle();
                assert_out(&c, i == 0 ? "90 03 0001 00" : "b0 02 0001");
        }
        client_close(&c);
}

static void aliases(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, "30 08 0001'a' 03 23 0004 'x' 30 07 0000 03 23 0004 'y' "
                 "30 08 0001'b' 03 23 0004 'z' 30 07 0000 03 23 0004 'w'");
        settle();
        assert_records("dev1:a=x,dev1:a=y,dev1:b=z,dev1:b=w");
        client_close(&c);
}

/* An alias keeps its topic in memory: it is bounded as every topic is. */
static void alias_of_a_deep_topic(void **state)
{
        for (size_t levels = TOPIC_LEVELS_MAX; levels <= TOPIC_LEVELS_MAX + 1; levels++) {
                uint8_t in[256] = { 0x30, (uint8_t)(2 + levels + 4 + 1), 0, (uint8_t)levels };
                size_t consumed;
                usec_t wait;
                Client c;
                memset(in + 4, '/', levels - 1);
                in[4 + levels - 1] = 'a';
                memcpy(in + 4 + levels, "\x03\x23\0\1x", 5);
                client_connect(&c, CONNECT5, CONNACK5);
                mqtt_connection_input(c.connection, BYTES(in, 4 + levels + 5), 1000, 0, &consumed,
                                      &wait);
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
        client_connect(&c, CONNECT5, CONNACK5);
        /* own, other device, shared, reserved */
        feed(&c, "82 26 0001 00 0005'cmd/#' 02 0006'dev2/a' 01 000a'$share/g/a' 01 0002'$x' 00");
        assert_out(&c, "90 18 0001 11 1f 000e'reserved-topic' 02 87 01 87");
        assert_int_equal(c.n_denied, 2);
        assert_string_equal(c.denied, "reserved-topic");
        feed(&c, "82 07 0003 00 0001'b' 00 82 07 0004 00 0001'c' 00 82 07 0005 00 0001'd' 00 "
                 "82 07 0006 00 0001'b' 01");
        assert_out(&c, "90 04 0003 00 00 90 04 0004 00 00 90 1d 0005 19 1f "
                       "0016'too many subscriptions' 97 90 04 0006 00 01");
        feed(&c, "a2 15 0007 00 0001'b' 0001'd' 000a'$share/g/a'");
        assert_out(&c, "b0 06 0007 00 00 11 00");
        client_close(&c);

        client_connect(&c, CONNECT3, CONNACK3);
        feed(&c, "82 13 0001 0006'dev2/a' 01 0005'cmd/+' 02 a2 05 0002 0001'q'");
        assert_out(&c, "90 04 0001 80 02 b0 02 0002");
        client_close(&c);
}

static void takeover(void **state)
{
        Client a, b, other, third;
        world.limits.sessions = 2;
        client_connect(&a, CONNECT5, CONNACK5);
        feed(&a, "32 07 0001'a' 0001 00 'x'");
        size_t wakes = a.n_wakes;
        client_connect(&b, CONNECT5, CONNACK5);
        assert_true(a.n_wakes > wakes);
        assert_ended(&a, MQTT_SESSION_TAKEN_OVER); /* [MQTT-3.1.4-3] */
        assert_int_equal(buf_view(&a.out).data[2], 0x8e);
        assert_records("dev1:a=x");
        client_connect(&other, "10 12 0004'MQTT'04 02 003c 0006'dev1/x'", CONNACK3);
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
                client_connect(&c[i], CONNECT3, CONNACK3);
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                assert_int_equal(mqtt_connection_has_ended(c[i].connection), i + 1 < ELEMENTSOF(c));
        for (size_t i = ELEMENTSOF(c); i-- > 0;)
                client_close(&c[i]);
}

/* Before its CONNACK, which the disk holds up: CONNACK has no code for a takeover (3.2.2.2). */
static void takeover_of_one_that_waits(void **state)
{
        Client a, b;
        client_open(&a);
        feed(&a, RESUME5);
        client_open(&b);
        feed(&b, RESUME5);
        assert_ended(&a, MQTT_SESSION_TAKEN_OVER);
        assert_int_equal(buf_view(&a.out).data[0], 0x20);
        assert_int_equal(buf_view(&a.out).data[3], 0x88);
        settle();
        assert_out(&b, PRESENT5);
        client_close(&a);
        client_close(&b);
}

/* Thousands of filters in one packet would hold up everybody. */
static void too_many_filters(void **state)
{
        static const char *const heads[] = { "82", "a2" };
        static const char *const entries[] = { "0001'a' 00", "0001'a'" };
        world.config.maximum_packet_size = 2048;
        crash();
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
                        client_connect(&c, CONNECT3, CONNACK3);
                        feed(&c, hex);
                        assert_int_equal(mqtt_connection_has_ended(c.connection), n > 256);
                        client_close(&c);
                }
        }
}

/* Answers that the client does not take for their size end the connection, and are not kept. */
static void answers_too_large(void **state)
{
        Client c;
        client_open(&c); /* [MQTT-3.2.2-19]: no text that it would have to refuse */
        feed(&c, "10 16 0004'MQTT'05 02 003c 05 27 00000008 0004'dev2'");
        assert_out(&c, "20 03 00 85 00");
        client_close(&c);
        client_open(&c); /* not even a CONNACK that refuses */
        feed(&c, "10 16 0004'MQTT'05 02 003c 05 27 00000004 0004'dev1'");
        assert_out(&c, "");
        assert_ended(&c, MQTT_PACKET_TOO_LARGE);
        client_close(&c);

        client_open(&c); /* 8 bytes at most */
        assert_int_equal(feed(&c, "10 16 0004'MQTT'05 02 003c 05 27 00000008 0004'dev1'"),
                         MQTT_INPUT_ENDED);
        assert_out(&c, "20 03 00 95 00");
        client_close(&c);

        client_connect(&c, "10 16 0004'MQTT'05 02 003c 05 27 00000010 0004'dev1'", CONNACK5);
        feed(&c, "82 3b 0001 00 0001'a'00 0001'a'00 0001'a'00 0001'a'00 0001'a'00 0001'a'00 "
                 "0001'a'00 0001'a'00 0001'a'00 0001'a'00 0001'a'00 0001'a'00 0001'a'00 "
                 "0001'a'00");
        assert_ended(&c, MQTT_PACKET_TOO_LARGE);
        client_close(&c);
        assert_true(list_empty(&world.disk.log));
}

static void deadlines(void **state)
{
        Client c;
        client_open(&c);
        mqtt_connection_tick(c.connection, world.config.connect_timeout - 1);
        assert_false(mqtt_connection_has_ended(c.connection));
        mqtt_connection_tick(c.connection, world.config.connect_timeout);
        assert_true(mqtt_connection_has_ended(c.connection));
        assert_out(&c, "");
        client_close(&c);

        client_connect(&c, CONNECT5, CONNACK5); /* 60 s: [MQTT-3.1.2-22] */
        world.now = 10 * USEC_PER_SEC;
        feed(&c, "c0 00");
        mqtt_connection_tick(c.connection, 99 * USEC_PER_SEC);
        assert_false(mqtt_connection_has_ended(c.connection));
        mqtt_connection_tick(c.connection, 100 * USEC_PER_SEC);
        assert_ended(&c, MQTT_KEEP_ALIVE_TIMEOUT);
        client_close(&c);

        client_connect(&c, "10 10 0004'MQTT'04 02 0000 0004'dev1'", CONNACK3);
        mqtt_connection_tick(c.connection, USEC_INFINITY - 1);
        assert_false(mqtt_connection_has_ended(c.connection));
        client_close(&c);
}

/* As an empty buffer gives it. Only clang's sanitizer sees arithmetic on NULL. */
static void no_bytes(void **state)
{
        Client c;
        size_t consumed = 1;
        usec_t wait = 1;
        client_open(&c);
        assert_int_equal(
                mqtt_connection_input(c.connection, BYTES(NULL, 0), 1, world.now, &consumed, &wait),
                MQTT_INPUT_MORE);
        assert_int_equal(consumed, 0);
        assert_int_equal(wait, 0);
        client_close(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(refused),
                TEST(refused_5),
                TEST(accepted),
                TEST(no_bytes),
                TEST(passwords_ignored),
                TEST(assigned_client_id_is_unique),
                TEST(attestation),
                TEST(pushes_back),
                TEST(answers_unread),
                TEST(packets_a_turn),
                TEST(filters_a_turn),
                TEST(allowance),
                TEST(allowance_of_a_will),
                TEST(aliases),
                TEST(alias_of_a_deep_topic),
                TEST(subscriptions),
                TEST(takeover),
                TEST(takeover_storm),
                TEST(takeover_of_one_that_waits),
                TEST(subscriptions_are_charged),
                TEST(too_many_filters),
                TEST(answers_too_large),
                TEST(deadlines),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
