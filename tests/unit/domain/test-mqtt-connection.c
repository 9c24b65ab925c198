/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A connection and the server behind it, fed with raw packets. The port keeps what was submitted
 * until the test says that it is durable. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../hex.h"
#include "base/str.h"
#include "domain/mqtt-connection.h"
#include "proto/topic.h"

#define CONNECT3 "10 10 0004'MQTT'04 02 003c 0004'dev1' "
#define CONNECT5 "10 11 0004'MQTT'05 02 003c 00 0004'dev1' "
#define CONNACK3 "20 02 00 00 "
/* receive maximum 4, 4 aliases, 1024 bytes */
#define CONNACK5 "20 0e 00 00 0b 21 0004 22 0004 27 00000400 "
/* The same with a session that is kept, begun or taken up */
#define CONNECT3_KEPT    "10 10 0004'MQTT'04 00 003c 0004'dev1' "
#define CONNECT5_KEPT    "10 16 0004'MQTT'05 00 003c 05 11 00000064 0004'dev1' "
#define CONNACK3_PRESENT "20 02 01 00 "

#define PENDING_MAX 64

typedef struct Client {
        MqttConnection *connection;
        Buf out;
        size_t n_denied, n_connected, n_wakes;
} Client;

static MqttServer *server;
static MqttServerConfig config;
static ClassLimits class_limits;
static bool open_posture;
static MqttPending *submitted[PENDING_MAX]; /* NULL: answered */
static char topics[PENDING_MAX][64];
static size_t n_submitted, n_attested, n_overflows;
static MqttPending *committed[PENDING_MAX];
static size_t n_committed;
static MqttReason refuse;           /* what submit() says at once */
static MqttKey values[PENDING_MAX]; /* put and not removed */
static size_t n_values;

static PolicyOutcome decide(MqttAccess access, const char *device, const char *topic,
                            PolicyTopic *ret, void *userdata)
{
        *ret = (PolicyTopic){ .below = strlen(device) + 1 };
        if (startswith(topic, "dev2/") || topic[0] == '$')
                return POLICY_FOREIGN;
        if (startswith(topic, "rats/dev1/"))
                ret->below += strlen("rats/");
        else if (!startswith(topic, "dev1/"))
                ret->left_out = strlen(device) + 1;
        snprintf(ret->absolute, sizeof(ret->absolute), "%s%s", ret->left_out > 0 ? "dev1/" : "",
                 topic);
        return startswith(topic, "rats/") ? POLICY_ATTESTATION : POLICY_OWN;
}

static bool may_be(const char *device, Bytes id, void *userdata)
{
        return id.len >= 4 && memcmp(id.data, "dev1", 4) == 0 && (id.len == 4 || id.data[4] == '/');
}

static bool may_receive(const char *device, void *userdata)
{
        return open_posture;
}

static const ClassLimits *limits(const char *device, void *userdata)
{
        return &class_limits;
}

static usec_t charge(const char *device, size_t len, usec_t now, void *userdata)
{
        return 0;
}

static void overflow(const char *device, const char *client_id, void *userdata)
{
        n_overflows++;
}

static void failed(int error, void *userdata)
{
        fail_msg("no memory");
}

static void begin(void *userdata)
{
}

static size_t find_value(const MqttKey *key)
{
        size_t i = 0;
        while (i < n_values &&
               (values[i].kind != key->kind || values[i].a != key->a || values[i].b != key->b))
                i++;
        return i;
}

static void put(const MqttKey *key, Bytes value, void *userdata)
{
        size_t i = find_value(key);
        assert_true(i < PENDING_MAX);
        values[i] = *key;
        n_values = MAX(n_values, i + 1);
}

static void remove_value(const MqttKey *key, void *userdata)
{
        size_t i = find_value(key);
        if (i < n_values)
                values[i] = values[--n_values];
}

static int commit(MqttPending *p, void *userdata)
{
        assert_true(n_committed < PENDING_MAX);
        committed[n_committed++] = p;
        return 0;
}

static MqttReason submit(MqttPending *p, const MqttSubmission *m, const char **ret_text,
                         void *userdata)
{
        assert_true(n_submitted < PENDING_MAX);
        *ret_text = "refused";
        if (refuse != MQTT_SUCCESS)
                return refuse;
        snprintf(topics[n_submitted], sizeof(topics[0]), "%s=%.*s", m->topic, (int)m->payload.len,
                 (const char *)m->payload.data);
        submitted[n_submitted++] = p;
        return MQTT_SUCCESS;
}

static MqttReason attest(const MqttSubmission *m, const char **ret_text, void *userdata)
{
        n_attested++;
        *ret_text = "slow";
        return streq(m->topic, "busy") ? MQTT_QUOTA_EXCEEDED : MQTT_SUCCESS;
}

static const MqttServerPort server_port = {
        .decide = decide,
        .may_be = may_be,
        .may_receive = may_receive,
        .limits = limits,
        .charge = charge,
        .overflow = overflow,
        .failed = failed,
        .begin = begin,
        .put = put,
        .remove = remove_value,
        .commit = commit,
        .submit = submit,
        .attest = attest,
};

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

static const MqttConnectionPort port = {
        .connected = connected,
        .denied = denied,
        .wake = wake,
};

static void client_open(Client *c)
{
        *c = (Client){ .out = BUF_INIT(4096) };
        assert_int_equal(mqtt_connection_new(server, "dev1", &c->out, &port, c, 0, &c->connection),
                         0);
}

static void client_close(Client *c)
{
        c->connection = mqtt_connection_free(c->connection);
        buf_done(&c->out);
}

static MqttInput feed_at(Client *c, const char *hex, usec_t now)
{
        uint8_t in[2048];
        usec_t wait;
        size_t consumed, n = unhex(hex, in, sizeof(in));
        MqttInput r =
                mqtt_connection_input(c->connection, BYTES(in, n), 1000, now, &consumed, &wait);
        if (r == MQTT_INPUT_MORE)
                assert_int_equal(consumed, n);
        return r;
}

static MqttInput input(Client *c, Bytes in, unsigned packets, size_t *ret_consumed)
{
        usec_t wait;
        return mqtt_connection_input(c->connection, in, packets, 0, ret_consumed, &wait);
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

static void settle(MqttPending **p, MqttReason reason, const char *text)
{
        MqttPending *pending = *p;
        assert_non_null(pending);
        *p = NULL;
        mqtt_server_settle(pending, reason, text);
}

static void durable(size_t i)
{
        settle(&submitted[i], MQTT_SUCCESS, NULL);
}

/* The disk has answered for all that was put. */
static void all_committed(void)
{
        for (size_t i = 0; i < n_committed; i++)
                settle(&committed[i], MQTT_SUCCESS, NULL);
        n_committed = 0;
}

static void open_connected(Client *c, const char *connect, const char *connack)
{
        client_open(c);
        assert_int_not_equal(feed(c, connect), MQTT_INPUT_ENDED);
        all_committed();
        assert_out(c, connack);
        assert_int_equal(c->n_connected, 1);
}

static void open_kept(Client *c, const char *out)
{
        client_open(c);
        feed(c, CONNECT3_KEPT);
        all_committed();
        assert_out(c, out);
}

static void assert_ended(Client *c, MqttReason reason)
{
        const char *text;
        assert_true(mqtt_connection_has_ended(c->connection));
        assert_int_equal(mqtt_connection_end_reason(c->connection, &text), reason);
}

static int setup(void **state)
{
        config = MQTT_SERVER_CONFIG_DEFAULT;
        config.maximum_packet_size = 1024;
        config.receive_maximum = 4;
        config.topic_alias_maximum = 4;
        config.window = 2;
        class_limits = (ClassLimits){
                .sessions = 2, .subscriptions = 4, .retained_bytes = 4096, .queue_bytes = 2048
        };
        open_posture = true;
        refuse = MQTT_SUCCESS;
        n_submitted = n_attested = n_overflows = n_committed = n_values = 0;
        return mqtt_server_new(&config, &server_port, NULL, &server);
}

static int teardown(void **state)
{
        server = mqtt_server_free(server);
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

/* [MQTT-3.1.2-24], [MQTT-3.2.2-19]: the reason string is what does not fit. */
static void refused_in_few_bytes(void **state)
{
        Client c;
        client_open(&c);
        feed(&c, "10 16 0004'MQTT'05 02 003c 05 27 00000008 0004'dev2'");
        assert_out(&c, "20 03 00 85 00");
        client_close(&c);
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
                { "10 0d 0004'MQTT'05 02 0000 00 0000",
                  "20 2e 00 00 2b 12 001a'dev1/auto-0000000000000005' 13 012c 21 0004 22 0004 "
                  "27 00000400",
                  "dev1/auto-0000000000000005" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                open_connected(&c, t[i].in, t[i].out);
                assert_string_equal(mqtt_connection_client_id(c.connection), t[i].client_id);
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
                 "32 14 000e'rats/dev1/busy' 0003 00 'w'");
        assert_int_equal(n_submitted, 3);
        assert_int_equal(n_attested, 1);
        assert_string_equal(topics[0], "a=x");
        assert_string_equal(topics[1], "b=y");
        assert_out(&c, "");
        durable(2);
        durable(1);
        assert_out(&c, "");
        durable(0);
        assert_out(&c, "40 02 0001 40 02 0002 40 0b 0003 97 07 1f 0004'slow'");
        client_close(&c);
}

/* What is refused at once has its place in the order of answers. */
static void refused_at_once(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "32 07 0001'a' 0001 00 'x'");
        refuse = MQTT_QUOTA_EXCEEDED;
        feed(&c, "32 07 0001'a' 0002 00 'x' 34 07 0001'a' 0003 00 'x'");
        assert_out(&c, "");
        durable(0);
        assert_out(
                &c,
                "40 02 0001 40 0e 0002 97 0a 1f 0007'refused' 50 0e 0003 97 0a 1f 0007'refused'");
        refuse = MQTT_SUCCESS; /* the identifier is free */
        feed(&c, "34 07 0001'a' 0003 00 'y'");
        assert_int_equal(n_submitted, 2);
        durable(1);
        assert_out(&c, "50 02 0003");
        client_close(&c);
}

static void denied_in_order(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c,
             "32 07 0001'a' 0001 00 'x' 32 0c 0006'dev2/b' 0002 00 'y' 30 0a 0006'dev2/b' 00 'y'");
        assert_int_equal(n_submitted, 1);
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
        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "32 06 0001'a' 0001 'x' 32 06 0001'b' 0002 'y'");
        mqtt_connection_end(c.connection, MQTT_ADMINISTRATIVE_ACTION, "test");
        durable(0);
        assert_out(&c, "");
        client_close(&c);
        durable(1); /* nobody is there to hear it */

        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "32 06 0001'a' 0001 'x' 32 06 0001'b' 0002 'y'");
        settle(&submitted[2], MQTT_QUOTA_EXCEEDED, NULL); /* 3.1.1 hears it as the end */
        assert_ended(&c, MQTT_QUOTA_EXCEEDED);
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
        assert_int_equal(input(&c, BYTES_LITERAL("\xc0\0"), 25, &consumed), MQTT_INPUT_BLOCKED);
        assert_int_equal(consumed, 0);
        size_t wakes = c.n_wakes;
        durable(0);
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
        assert_int_equal(input(&c, BYTES(pings, 8), 3, &consumed), MQTT_INPUT_AGAIN);
        assert_int_equal(consumed, 6);
        assert_out(&c, "d0 00 d0 00 d0 00");
        assert_int_equal(input(&c, BYTES(pings, 1), 3, &consumed), MQTT_INPUT_MORE);
        assert_int_equal(consumed, 0);
        client_close(&c);
}

static void aliases(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "30 08 0001'a' 03 23 0004 'x' 30 07 0000 03 23 0004 'y' "
                 "30 08 0001'b' 03 23 0004 'z' 30 07 0000 03 23 0004 'w'");
        assert_int_equal(n_submitted, 4);
        assert_string_equal(topics[1], "a=y");
        assert_string_equal(topics[3], "b=w");
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
                input(&c, BYTES(in, 4 + levels + 5), 1000, &consumed);
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
        /* own, other device, shared, too long */
        feed(&c, "82 26 0001 00 0005'cmd/#' 02 0006'dev2/a' 01 000a'$share/g/a' 01 0002'$x' 00");
        assert_out(&c, "90 17 0001 10 1f 000d'foreign-topic' 02 87 01 87");
        feed(&c, "a2 0f 000a 00 000a'$share/g/a'");
        assert_out(&c, "b0 04 000a 00 00");
        feed(&c, "82 07 0002 00 0001'a' 00 82 07 0003 00 0001'b' 00 82 07 0004 00 0001'c' 00 "
                 "82 07 0005 00 0001'd' 00 82 07 0006 00 0001'a' 01");
        assert_out(&c, "90 04 0002 00 00 90 04 0003 00 00 90 04 0004 00 00 90 04 0005 00 97 "
                       "90 04 0006 00 01");
        feed(&c, "a2 09 0007 00 0001'a' 0001'd'");
        assert_out(&c, "b0 05 0007 00 00 11");
        client_close(&c);

        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "82 13 0001 0006'dev2/a' 01 0005'cmd/+' 02 a2 05 0002 0001'q'");
        assert_out(&c, "90 04 0001 80 02 b0 02 0002");
        client_close(&c);
}

static size_t publish(const char *topic, const char *payload, uint8_t qos)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        assert_int_equal(
                mqtt_message_new(bytes_from_str(topic), bytes_from_str(payload), qos, NULL, 0, &m),
                0);
        m->attestation = startswith(topic, "rats/");
        return (size_t)mqtt_server_publish(server, m, 0);
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
        assert_int_equal(publish("rats/dev1/on", "1", 1), 0);
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
        open_posture = false;
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
        feed(&a, "32 07 0001'a' 0001 00 'x'");
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

/* A takeover by a session whose predecessors are ended but not yet freed. */
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
        assert_int_equal(n_submitted, 1);
        assert_string_equal(topics[0], "w=p");
        assert_out(&listener, "30 04 0001'w' 'p'");
        client_close(&c);

        open_connected(&c, with_will, CONNACK3);
        feed(&c, "e0 00"); /* [MQTT-3.14.4-3] */
        c.connection = mqtt_connection_free(c.connection);
        assert_int_equal(n_submitted, 1); /* that was the other */
        client_close(&c);
        client_close(&listener);
}

/* Thousands of filters in one packet would hold up everybody. */
static void too_many_filters(void **state)
{
        static const char *const heads[] = { "82", "a2" };
        static const char *const entries[] = { "0001'a' 00", "0001'a'" };
        config.maximum_packet_size = 2048;
        mqtt_server_free(server);
        assert_int_equal(mqtt_server_new(&config, &server_port, NULL, &server), 0);
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
        assert_int_equal(n_submitted, 1);
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

/* Section 4.3.3, as the receiver: taken once, however often it comes before PUBREL. */
static void qos_2_in(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0007 00 'x'");
        assert_out(&c, "");
        feed(&c, "3c 07 0001'a' 0007 00 'x'");
        assert_int_equal(n_submitted, 1);
        durable(0);
        all_committed(); /* of the second one */
        assert_out(&c, "50 02 0007 50 02 0007");
        feed(&c, "62 02 0007 62 02 0007");
        assert_out(&c, "70 02 0007 70 03 0007 92");
        feed(&c, "34 07 0001'a' 0007 00 'y'");
        assert_int_equal(n_submitted, 2);
        settle(&submitted[1], MQTT_UNSPECIFIED_ERROR, "full");
        assert_out(&c, "50 0b 0007 80 07 1f 0004'full'");
        feed(&c, "62 02 0007"); /* its PUBREC has ended it */
        assert_out(&c, "70 03 0007 92");
        client_close(&c);
}

/* PUBCOMP and PUBREL of a kept session say what is on disk. */
static void qos_2_is_on_disk(void **state)
{
        Client c;
        client_open(&c);
        feed(&c, CONNECT3_KEPT);
        assert_out(&c, "");
        all_committed();
        assert_out(&c, CONNACK3);
        feed(&c, "34 06 0001'a' 0007 'x'");
        durable(0);
        assert_out(&c, "50 02 0007");
        feed(&c, "62 02 0007");
        assert_out(&c, "");
        all_committed();
        assert_out(&c, "70 02 0007");
        feed(&c, "82 06 0001 0001'#' 02");
        assert_out(&c, "");
        all_committed();
        assert_out(&c, "90 03 0001 02");
        assert_int_equal(publish("dev1/b", "1", 2), 1);
        assert_out(&c, ""); /* a crash would give its identifier to another message */
        all_committed();
        assert_out(&c, "34 06 0001'b' 0001 '1'");
        feed(&c, "50 02 0001");
        assert_out(&c, "");
        all_committed();
        assert_out(&c, "62 02 0001");
        feed(&c, "40 02 0001"); /* PUBACK for QoS 2 */
        assert_ended(&c, MQTT_PROTOCOL_ERROR);
        client_close(&c);

        open_kept(&c, CONNACK3_PRESENT "62 02 0001 "); /* [MQTT-4.4.0-1] */
        feed(&c, "70 02 0001 50 02 0009"); /* 3.1.1 answers a PUBREC for nothing all the same */
        assert_out(&c, "62 02 0009");
        client_close(&c);
}

static void queue_of_who_is_away(void **state)
{
        Client c;
        open_kept(&c, CONNACK3);
        feed(&c, "82 06 0001 0001'#' 01");
        all_committed();
        client_close(&c);
        publish("dev1/a", "1", 1);
        publish("dev1/b", "2", 0); /* is not kept */
        publish("dev1/c", "3", 2); /* as QoS 1 */
        publish("dev1/d", "4", 1);
        all_committed();
        open_kept(&c, CONNACK3_PRESENT "32 06 0001'a' 0001 '1' 32 06 0001'c' 0002 '3' ");
        feed(&c, "40 02 0001");
        assert_out(&c, "32 06 0001'd' 0003 '4'");
        mqtt_connection_end(c.connection, MQTT_ADMINISTRATIVE_ACTION, "test");
        client_close(&c);
        open_kept(&c, CONNACK3_PRESENT "3a 06 0001'c' 0002 '3' 3a 06 0001'd' 0003 '4' ");
        feed(&c, "40 02 0002 40 02 0003 e0 00");
        client_close(&c);
        client_open(&c);
        feed(&c, CONNECT3); /* clean: [MQTT-3.1.2-4] */
        all_committed();
        assert_out(&c, CONNACK3);
        client_close(&c);
        assert_int_equal(n_values, 0);
}

/* [MQTT-3.3.1-5] to -10. */
static void retained(void **state)
{
        Client c;
        MqttServerStats stats;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "33 07 0001'a' 0001 00 'x' 31 05 0001'b' 00 'y'");
        durable(0);
        settle(&submitted[1], MQTT_UNSPECIFIED_ERROR, NULL); /* never was */
        feed(&c, "82 07 0002 00 0001'#' 00");
        assert_out(&c, "40 02 0001 90 04 0002 00 00 31 05 0001'a' 00 'x'");
        feed(&c, "82 07 0003 00 0001'#' 10"); /* retain handling 1: it is no new one */
        assert_out(&c, "90 04 0003 00 00");
        feed(&c, "82 07 0003 00 0001'#' 28"); /* 2, and retain as published */
        assert_out(&c, "90 04 0003 00 00");
        feed(&c, "33 07 0001'a' 0001 00 'z'");
        assert_out(&c, "31 05 0001'a' 00 'z'");
        settle(&submitted[2], MQTT_UNSPECIFIED_ERROR, NULL);
        feed(&c, "82 07 0004 00 0001'#' 00"); /* what was before is in force again */
        assert_out(&c, "40 03 0001 80 90 04 0004 00 00 31 05 0001'a' 00 'x'");
        feed(&c, "31 04 0001'a' 00");
        client_close(&c); /* and nothing else of the device is left meanwhile */
        durable(3);
        mqtt_server_stats(server, &stats);
        assert_int_equal(stats.retained, 0);
        assert_int_equal(stats.kept_bytes, 0);
}

static void shared(void **state)
{
        Client a, b;
        open_connected(&a, CONNECT3, CONNACK3);
        open_connected(&b, "10 12 0004'MQTT'04 02 003c 0006'dev1/x'", CONNACK3);
        feed(&a, "82 0f 0001 000a'$share/g/t' 00");
        feed(&b, "82 14 0001 000f'$share/g/dev1/t' 00");
        buf_clear(&a.out);
        buf_clear(&b.out);
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(publish("dev1/t", "1", 0), 1);
        assert_out(&a, "30 04 0001't' '1' 30 04 0001't' '1'");
        assert_out(&b, "30 09 0006'dev1/t' '1' 30 09 0006'dev1/t' '1'");
        client_close(&a);
        assert_int_equal(publish("dev1/t", "1", 0), 1);
        client_close(&b);
        assert_int_equal(publish("dev1/t", "1", 0), 0);
}

/* [MQTT-3.1.3-9]: not when the client is back in time. */
static void will_with_delay(void **state)
{
        static const char connect[] = "10 22 0004'MQTT'05 04 003c 05 11 00000064 0004'dev1' "
                                      "05 18 0000000a 0001'w'0001'p'";
        for (usec_t away = 9; away <= 10; away++) {
                Client c;
                n_submitted = 0;
                client_open(&c);
                feed_at(&c, connect, 0);
                all_committed();
                mqtt_connection_end(c.connection, MQTT_KEEP_ALIVE_TIMEOUT, "test");
                client_close(&c);
                mqtt_server_tick(server, away * USEC_PER_SEC, 0);
                assert_int_equal(n_submitted, away == 10);
                mqtt_server_tick(server, 200 * USEC_PER_SEC, 0); /* the session has ended */
                assert_int_equal(n_submitted, 1);
                durable(0);
                assert_int_equal(n_values, 0);
        }
}

/* A device that may not receive now gets it when it may. */
static void posture(void **state)
{
        Client c;
        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "82 0f 0001 0001'#' 01 0006'rats/#' 01");
        buf_clear(&c.out);
        open_posture = false;
        publish("dev1/a", "1", 1);
        publish("dev1/a", "2", 0);
        assert_out(&c, "");
        open_posture = true;
        mqtt_server_device_changed(server, "dev1", 0);
        assert_out(&c, "32 06 0001'a' 0001 '1'");
        client_close(&c);
}

static void aliases_out(void **state)
{
        Client c;
        open_connected(&c, "10 14 0004'MQTT'05 02 003c 03 22 0001 0004'dev1' ", CONNACK5);
        feed(&c, "82 07 0001 00 0001'#' 00");
        buf_clear(&c.out);
        publish("dev1/aaaa", "1", 0);
        publish("dev1/aaaa", "2", 0);
        publish("dev1/bbbb", "3", 0); /* takes its place */
        assert_out(&c, "30 0b 0004'aaaa' 03 23 0001 '1' 30 07 0000 03 23 0001 '2' "
                       "30 0b 0004'bbbb' 03 23 0001 '3'");
        client_close(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(refused),
                TEST(refused_5),
                TEST(refused_in_few_bytes),
                TEST(accepted),
                TEST(acknowledged_when_durable),
                TEST(denied_in_order),
                TEST(refused_at_once),
                TEST(qos_2_in),
                TEST(qos_2_is_on_disk),
                TEST(queue_of_who_is_away),
                TEST(retained),
                TEST(shared),
                TEST(will_with_delay),
                TEST(posture),
                TEST(aliases_out),
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
