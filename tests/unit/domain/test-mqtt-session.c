/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The session engine and the router, fed with raw packets. The port keeps what was submitted until
 * the test says that it is durable. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../hex.h"
#include "domain/mqtt-session.h"
#include "proto/topic.h"

#define CONNECT3 "10 10 0004'MQTT'04 02 003c 0004'dev1' "
#define CONNECT5 "10 11 0004'MQTT'05 02 003c 00 0004'dev1' "
#define CONNACK3 "20 02 00 00 "
/* receive maximum 4, QoS 1, no retain, 1024 bytes, 4 aliases, nothing shared */
#define CONNACK5 "20 14 00 00 11 21 0004 22 0004 24 01 25 00 27 00000400 2a 00 "

#define SUBMITTED_MAX 64

typedef struct Client {
        MqttSession *session;
        Buf out;
        MqttInbound *waiting[SUBMITTED_MAX]; /* NULL: a will, answered or abandoned */
        char topics[SUBMITTED_MAX][64];
        size_t n_submitted, n_abandoned, n_denied, n_connected, n_wakes;
        bool may_receive;
} Client;

static MqttRouter *router;
static MqttSessionConfig config;

static MqttDecision decide(MqttAccess access, const char *topic, void *userdata)
{
        MqttDecision d = { .allowed = true, .topic = topic };
        if (strncmp(topic, "dev1/", 5) == 0)
                d.topic = topic + 5;
        else if (strncmp(topic, "rats/dev1/", 10) == 0)
                d = (MqttDecision){ true, NULL, MQTT_SPACE_ATTESTATION, topic + 10 };
        else if (strncmp(topic, "dev2/", 5) == 0 || topic[0] == '$')
                d = (MqttDecision){ .reason = "foreign" };
        return d;
}

static bool may_receive(MqttSpace space, void *userdata)
{
        return ((Client *)userdata)->may_receive || space == MQTT_SPACE_ATTESTATION;
}

static int submit(MqttInbound *in, const MqttSubmission *m, void *userdata)
{
        Client *c = userdata;
        assert_true(c->n_submitted < SUBMITTED_MAX);
        snprintf(c->topics[c->n_submitted], sizeof(c->topics[0]), "%s%s=%.*s",
                 m->space == MQTT_SPACE_ATTESTATION ? "rats:" : "", m->topic, (int)m->payload.len,
                 (const char *)m->payload.data);
        c->waiting[c->n_submitted++] = in;
        return 0;
}

static void abandon(MqttInbound *in, void *userdata)
{
        Client *c = userdata;
        for (size_t i = 0; i < c->n_submitted; i++)
                if (c->waiting[i] == in)
                        c->waiting[i] = NULL;
        c->n_abandoned++;
}

static void connected(void *userdata)
{
        ((Client *)userdata)->n_connected++;
}

static void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
        assert_non_null(reason);
        ((Client *)userdata)->n_denied++;
}

static void wake(void *userdata)
{
        ((Client *)userdata)->n_wakes++;
}

static const MqttSessionPort port = {
        .decide = decide,
        .may_receive = may_receive,
        .submit = submit,
        .abandon = abandon,
        .connected = connected,
        .denied = denied,
        .wake = wake,
};

static void client_open(Client *c)
{
        *c = (Client){ .out = BUF_INIT(4096), .may_receive = true };
        assert_int_equal(
                mqtt_session_new(&config, &port, c, router, "dev1", &c->out, 0, &c->session), 0);
}

static void client_close(Client *c)
{
        c->session = mqtt_session_free(c->session);
        buf_done(&c->out);
}

static MqttInput feed_at(Client *c, const char *hex, usec_t now)
{
        uint8_t in[2048];
        size_t consumed, n = unhex(hex, in, sizeof(in));
        MqttInput r = mqtt_session_input(c->session, BYTES(in, n), 1000, now, &consumed);
        if (r == MQTT_INPUT_MORE)
                assert_int_equal(consumed, n);
        return r;
}

static MqttInput feed(Client *c, const char *hex)
{
        return feed_at(c, hex, 0);
}

static void assert_out(Client *c, const char *hex)
{
        uint8_t expected[1024];
        size_t n = unhex(hex, expected, sizeof(expected));
        Bytes out = buf_view(&c->out);
        if (!bytes_equal(out, BYTES(expected, n))) {
                for (size_t i = 0; i < out.len; i++)
                        print_error("%02x ", out.data[i]);
                fail_msg("instead of %s", hex);
        }
        buf_clear(&c->out);
}

static void open_connected(Client *c, const char *connect, const char *connack)
{
        client_open(c);
        assert_int_equal(feed(c, connect), MQTT_INPUT_MORE);
        assert_out(c, connack);
        assert_int_equal(c->n_connected, 1);
}

static void durable(Client *c, size_t i)
{
        MqttInbound *in = c->waiting[i];
        assert_non_null(in);
        c->waiting[i] = NULL;
        mqtt_session_submitted(in, MQTT_SUCCESS, NULL);
}

static void assert_ended(Client *c, MqttReason reason)
{
        const char *text;
        assert_true(mqtt_session_has_ended(c->session));
        assert_int_equal(mqtt_session_end_reason(c->session, &text), reason);
}

static int setup(void **state)
{
        config = MQTT_SESSION_CONFIG_DEFAULT;
        config.maximum_packet_size = 1024;
        config.receive_maximum = 4;
        config.topic_alias_maximum = 4;
        config.subscriptions = 4;
        config.delivery_window = 2;
        config.delivery_bytes = 2048;
        return mqtt_router_new(2, &router);
}

static int teardown(void **state)
{
        router = mqtt_router_free(router);
        return 0;
}

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
                { "a will with QoS 2, 3.1.1",
                  "10 16 0004'MQTT'04 16 003c 0004'dev1' 0001'w'0001'p'", "", 0x9b },
                { "a will elsewhere, 3.1.1",
                  "10 1b 0004'MQTT'04 06 003c 0004'dev1' 0006'dev2/w'0001'p'", "20 02 00 05",
                  0x87 },
                { "3.1.1:QoS 2", CONNECT3 "34 06 0001'a' 0001 'x'", CONNACK3, 0x9b },
                { "3.1.1: denied", CONNECT3 "32 0b 0006'dev2/a' 0001 'x'", CONNACK3, 0x87 },
                { "a server's packet", CONNECT3 "d0 00", CONNACK3, 0x82 },
                { "3.1.1: too large", CONNECT3 "30 ff 7f", CONNACK3, 0x95 },
                { "PUBREL without QoS 2", CONNECT3 "62 02 0001", CONNACK3, 0x82 },
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
                { "MQTT-3.2.2-12", "10 18 0004'MQTT'05 16 003c 00 0004'dev1' 00 0001'w'0001'p'",
                  0x20, 0x9b },
                { "MQTT-3.2.2-13", "10 18 0004'MQTT'05 26 003c 00 0004'dev1' 00 0001'w'0001'p'",
                  0x20, 0x9a },
                { "will elsewhere",
                  "10 1d 0004'MQTT'05 06 003c 00 0004'dev1' 00 0006'dev2/w'0001'p'", 0x20, 0x87 },
                { "malformed CONNECT", "10 11 0004'MQTT'05 03 003c 00 0004'dev1'", 0x20, 0x81 },
                { "MQTT-3.2.2-11", CONNECT5 "34 07 0001'a' 0001 00 'x'", 0xe0, 0x9b },
                { "MQTT-3.2.2-14", CONNECT5 "31 05 0001'a' 00 'x'", 0xe0, 0x9a },
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
                { "10 0c 0004'MQTT'04 02 003c 0000", CONNACK3, "dev1" },
                /* [MQTT-3.1.3-6], -7; [MQTT-3.2.2-21]: keep-alive 0 becomes ours; expiry becomes 0
                 */
                { "10 12 0004'MQTT'05 00 0000 05 11 00000064 0000",
                  "20 23 00 00 20 11 00000000 12 0004'dev1' 13 012c 21 0004 22 0004 24 01 25 00 "
                  "27 00000400 2a 00",
                  "dev1" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                open_connected(&c, t[i].in, t[i].out);
                assert_string_equal(mqtt_session_client_id(c.session), t[i].client_id);
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
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "32 07 0001'a' 0001 00 'x' 32 0c 0006'dev1/b' 0002 00 'y' 30 05 0001'c' 00 'z' "
                 "32 10 000a'rats/dev1/' 0003 00 'w'");
        assert_int_equal(c.n_submitted, 4);
        assert_string_equal(c.topics[0], "a=x");
        assert_string_equal(c.topics[1], "b=y");
        assert_string_equal(c.topics[3], "rats:=w");
        assert_out(&c, "");
        durable(&c, 2);
        durable(&c, 1);
        assert_out(&c, "");
        durable(&c, 0);
        assert_out(&c, "40 02 0001 40 02 0002");
        MqttInbound *in = c.waiting[3];
        c.waiting[3] = NULL;
        mqtt_session_submitted(in, MQTT_QUOTA_EXCEEDED, "slow");
        assert_out(&c, "40 0b 0003 97 07 1f 0004'slow'");
        assert_int_equal(c.n_abandoned, 0);
        client_close(&c);
}

static void denied_in_order(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c,
             "32 07 0001'a' 0001 00 'x' 32 0c 0006'dev2/b' 0002 00 'y' 30 0a 0006'dev2/b' 00 'y'");
        assert_int_equal(c.n_submitted, 1);
        assert_int_equal(c.n_denied, 2);
        assert_out(&c, "");
        durable(&c, 0);
        assert_out(&c, "40 02 0001 40 0e 0002 87 0a 1f 0007'foreign'");
        assert_false(mqtt_session_has_ended(c.session));
        client_close(&c);
}

static void gone_before_durable(void **state)
{
        Client c;
        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "32 06 0001'a' 0001 'x' 32 06 0001'b' 0002 'y'");
        mqtt_session_end(c.session, MQTT_ADMINISTRATIVE_ACTION, "test");
        assert_int_equal(c.n_abandoned, 2);
        assert_out(&c, "");
        client_close(&c);

        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "32 06 0001'a' 0001 'x' 32 06 0001'b' 0002 'y'");
        MqttInbound *first = c.waiting[0]; /* 3.1.1 hears a refusal as the end, and no PUBACK */
        c.waiting[0] = NULL;
        mqtt_session_submitted(first, MQTT_QUOTA_EXCEEDED, NULL);
        assert_ended(&c, MQTT_QUOTA_EXCEEDED);
        assert_int_equal(c.n_abandoned, 1);
        assert_out(&c, "");
        client_close(&c);
}

static void pushes_back(void **state)
{
        Client c;
        open_connected(&c, CONNECT3, CONNACK3);
        for (unsigned i = 0; i < 8; i++)
                assert_int_equal(feed(&c, "32 06 0001'a' 0001 'x'"),
                                 i < 7 ? MQTT_INPUT_MORE : MQTT_INPUT_BLOCKED);
        size_t consumed = 99;
        assert_int_equal(mqtt_session_input(c.session, BYTES_LITERAL("\xc0\0"), 25, 0, &consumed),
                         MQTT_INPUT_BLOCKED);
        assert_int_equal(consumed, 0);
        size_t wakes = c.n_wakes;
        durable(&c, 0);
        assert_true(c.n_wakes > wakes);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_MORE);
        assert_out(&c, "40 02 0001 d0 00");
        client_close(&c);

        open_connected(&c, CONNECT5, CONNACK5); /* section 3.3.4 */
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(feed(&c, "32 07 0001'a' 0001 00 'x'"), MQTT_INPUT_MORE);
        assert_int_equal(feed(&c, "32 07 0001'a' 0005 00 'x'"), MQTT_INPUT_ENDED);
        assert_ended(&c, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
        client_close(&c);
}

static void packets_a_turn(void **state)
{
        Client c;
        size_t consumed;
        static const uint8_t pings[60] = { 0xc0, 0, 0xc0, 0, 0xc0, 0, 0xc0, 0 };
        open_connected(&c, CONNECT3, CONNACK3);
        assert_int_equal(mqtt_session_input(c.session, BYTES(pings, 8), 3, 0, &consumed),
                         MQTT_INPUT_AGAIN);
        assert_int_equal(consumed, 6);
        assert_out(&c, "d0 00 d0 00 d0 00");
        assert_int_equal(mqtt_session_input(c.session, BYTES(pings, 1), 3, 0, &consumed),
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
        assert_int_equal(c.n_submitted, 4);
        assert_string_equal(c.topics[1], "a=y");
        assert_string_equal(c.topics[3], "b=w");
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
                mqtt_session_input(c.session, BYTES(in, 4 + levels + 5), 1000, 0, &consumed);
                assert_int_equal(mqtt_session_has_ended(c.session), levels > TOPIC_LEVELS_MAX);
                if (levels > TOPIC_LEVELS_MAX)
                        assert_ended(&c, MQTT_TOPIC_NAME_INVALID);
                client_close(&c);
        }
}

static void subscriptions(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        /* own, other device, shared, too long */
        feed(&c, "82 26 0001 00 0005'cmd/#' 02 0006'dev2/a' 01 000a'$share/g/a' 01 0002'$x' 00");
        assert_out(&c, "90 11 0001 0a 1f 0007'foreign' 01 87 9e 87");
        feed(&c, "82 07 0002 00 0001'a' 00 82 07 0003 00 0001'b' 00 82 07 0004 00 0001'c' 00 "
                 "82 07 0005 00 0001'd' 00 82 07 0006 00 0001'a' 01");
        assert_out(&c, "90 04 0002 00 00 90 04 0003 00 00 90 04 0004 00 00 90 04 0005 00 97 "
                       "90 04 0006 00 01");
        feed(&c, "a2 09 0007 00 0001'a' 0001'd'");
        assert_out(&c, "b0 05 0007 00 00 11");
        client_close(&c);

        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "82 13 0001 0006'dev2/a' 01 0005'cmd/+' 02 a2 05 0002 0001'q'");
        assert_out(&c, "90 04 0001 80 01 b0 02 0002");
        client_close(&c);
}

static size_t command(MqttSpace space, const char *topic, const char *payload, uint8_t qos)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        assert_int_equal(mqtt_message_new(space, bytes_from_str(topic), bytes_from_str(payload),
                                          qos, NULL, 0, &m),
                         0);
        return mqtt_router_publish(router, "dev1", m, NULL, 0);
}

static void delivery(void **state)
{
        Client c;
        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "82 13 0001 0005'cmd/#' 01 0006'cmd/on' 00");
        buf_clear(&c.out);
        assert_int_equal(command(MQTT_SPACE_DEVICE, "cmd/on", "1", 1), 1);
        assert_out(&c, "32 0b 0006'cmd/on' 0001 '1'");
        assert_int_equal(command(MQTT_SPACE_DEVICE, "other", "1", 1), 0);
        assert_int_equal(command(MQTT_SPACE_ATTESTATION, "cmd/on", "1", 1), 0);
        /* the window is two: the third waits for a PUBACK, and QoS 0 behind it */
        command(MQTT_SPACE_DEVICE, "cmd/b", "2", 1);
        assert_out(&c, "32 0a 0005'cmd/b' 0002 '2'");
        command(MQTT_SPACE_DEVICE, "cmd/c", "3", 1);
        command(MQTT_SPACE_DEVICE, "cmd/d", "4", 0);
        assert_out(&c, "");
        feed(&c, "40 02 0001");
        assert_out(&c, "32 0a 0005'cmd/c' 0003 '3' 30 08 0005'cmd/d' '4'");
        feed(&c, "40 02 7777"); /* nobody's */
        assert_false(mqtt_session_has_ended(c.session));
        c.may_receive = false;
        assert_int_equal(command(MQTT_SPACE_DEVICE, "cmd/d", "4", 0), 0);
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
        assert_int_equal(command(MQTT_SPACE_DEVICE, "t", "1", 1), 1);
        assert_out(&c, "32 0e 0006'dev1/t' 0001 02 0b 07 '1' 30 07 0001't' 02 0b 08 '1'");
        command(MQTT_SPACE_ATTESTATION, "n", "1", 1);
        assert_out(&c, "30 0f 000b'rats/dev1/n' 00 '1'");
        /* its own message comes back where no-local was not asked for; the window is one */
        feed(&c, "40 02 0001 32 09 0001's' 0001 02 01 01 '5'");
        assert_out(&c, "32 10 0006'dev1/s' 0002 04 01 01 0b 07 '5'");
        client_close(&c);
}

/* A message that waits longer than it is good for does not come any more. */
static void delivery_in_time(void **state)
{
        for (usec_t after = 9; after <= 11; after += 2) {
                Client c;
                open_connected(&c, CONNECT5, CONNACK5);
                feed(&c, "82 07 0001 00 0001'#' 01");
                command(MQTT_SPACE_DEVICE, "a", "1", 1);
                command(MQTT_SPACE_DEVICE, "b", "2", 1);
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
                command(MQTT_SPACE_DEVICE, "a", big, 0);
        assert_false(mqtt_session_has_ended(c.session)); /* QoS 0: dropped */
        assert_true(buf_len(&c.out) <= c.out.max);
        buf_clear(&c.out);
        mqtt_session_drained(c.session, 0);
        assert_true(buf_len(&c.out) > 1200); /* what waited */
        feed(&c, "82 06 0001 0001'#' 01");
        for (size_t i = 0; i < 20; i++)
                command(MQTT_SPACE_DEVICE, "a", big, 1);
        assert_ended(&c, MQTT_QUOTA_EXCEEDED); /* QoS 1 is a promise */
        client_close(&c);
}

static void takeover(void **state)
{
        Client a, b, other, third;
        open_connected(&a, CONNECT5, CONNACK5);
        feed(&a, "32 07 0001'a' 0001 00 'x'");
        open_connected(&b, CONNECT5, CONNACK5);
        assert_ended(&a, MQTT_SESSION_TAKEN_OVER); /* [MQTT-3.1.4-3] */
        assert_int_equal(a.n_abandoned, 1);
        assert_int_equal(buf_view(&a.out).data[2], 0x8e);
        open_connected(&other, "10 12 0004'MQTT'04 02 003c 0006'dev1/x'", CONNACK3);
        client_open(&third);
        assert_int_equal(feed(&third, "10 12 0004'MQTT'04 02 003c 0006'dev1/y'"), MQTT_INPUT_ENDED);
        assert_out(&third, "20 02 00 03");
        assert_ended(&third, MQTT_QUOTA_EXCEEDED);
        client_close(&a);
        client_close(&third);
        mqtt_session_end(b.session, MQTT_ADMINISTRATIVE_ACTION, "gone");
        mqtt_session_end(other.session, MQTT_ADMINISTRATIVE_ACTION, "gone");
        assert_ended(&b, MQTT_ADMINISTRATIVE_ACTION);
        assert_ended(&other, MQTT_ADMINISTRATIVE_ACTION);
        client_close(&b);
        client_close(&other);
}

/* A takeover by a session whose predecessors are ended but not yet freed. */
static void takeover_storm(void **state)
{
        Client c[8];
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                open_connected(&c[i], CONNECT3, CONNACK3);
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                assert_int_equal(mqtt_session_has_ended(c[i].session), i + 1 < ELEMENTSOF(c));
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
        mqtt_session_end(c.session, MQTT_KEEP_ALIVE_TIMEOUT, "test");
        c.session = mqtt_session_free(c.session); /* [MQTT-3.1.2-8] */
        assert_int_equal(c.n_submitted, 1);
        assert_string_equal(c.topics[0], "w=p");
        assert_out(&listener, "30 04 0001'w' 'p'");
        client_close(&c);

        open_connected(&c, with_will, CONNACK3);
        feed(&c, "e0 00"); /* [MQTT-3.14.4-3] */
        c.session = mqtt_session_free(c.session);
        assert_int_equal(c.n_submitted, 0);
        client_close(&c);
        client_close(&listener);
}

/* Thousands of filters in one packet would hold up everybody. */
static void too_many_filters(void **state)
{
        static const char *const heads[] = { "82", "a2" };
        static const char *const entries[] = { "0001'a' 00", "0001'a'" };
        config.maximum_packet_size = 2048;
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
                        assert_int_equal(mqtt_session_has_ended(c.session), n > 256);
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
        c.session = mqtt_session_free(c.session);
        assert_int_equal(c.n_submitted, 1);
        assert_int_equal(c.n_wakes, 0);
        assert_out(&c, "");
        client_close(&c);
}

static void deadlines(void **state)
{
        Client c;
        client_open(&c);
        mqtt_session_tick(c.session, config.connect_timeout - 1);
        assert_false(mqtt_session_has_ended(c.session));
        mqtt_session_tick(c.session, config.connect_timeout);
        assert_true(mqtt_session_has_ended(c.session));
        assert_out(&c, "");
        client_close(&c);

        open_connected(&c, CONNECT5, CONNACK5); /* 60 s: [MQTT-3.1.2-22] */
        feed_at(&c, "c0 00", 10 * USEC_PER_SEC);
        mqtt_session_tick(c.session, 99 * USEC_PER_SEC);
        assert_false(mqtt_session_has_ended(c.session));
        mqtt_session_tick(c.session, 100 * USEC_PER_SEC);
        assert_ended(&c, MQTT_KEEP_ALIVE_TIMEOUT);
        client_close(&c);

        open_connected(&c, "10 10 0004'MQTT'04 02 0000 0004'dev1'", CONNACK3);
        mqtt_session_tick(c.session, USEC_INFINITY - 1);
        assert_false(mqtt_session_has_ended(c.session));
        client_close(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
