/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Values on disk that are whole, and say what the server itself would not: a client would hear
 * packets that are not well-formed, or that it must end the connection for. */

#include "mqtt-bench.h"

#include "../hex.h"
#include "domain/mqtt-journal.h"

/* In a queue's entry, behind the message's number. */
#define AT_PACKET_ID       8
#define AT_QOS             10
#define AT_STAGE           11
#define AT_LEFT_OUT        13
#define AT_SUBSCRIPTION_ID 17

typedef struct Value {
        MqttKey key;
        size_t len;
        uint8_t data[256];
} Value;

/* The last one. */
static int take(const MqttKey *key, Bytes value, void *userdata)
{
        Value *v = userdata;
        assert_true(value.len <= sizeof(v->data));
        v->key = *key;
        v->len = value.len;
        if (value.len > 0)
                memcpy(v->data, value.data, value.len);
        return 0;
}

static Value read_last(uint8_t kind)
{
        Value v = { 0 };
        mqtt_disk_read(kind, take, &v, &world.disk);
        assert_int_equal(v.key.kind, kind);
        return v;
}

/* Two messages wait for a client that is away: of QoS 2, and of QoS 1 with a content type. */
static void fill(void)
{
        Client c, d;
        client_connect(&c, BEGIN5, CONNACK5);
        exchange(&c, "82 09 0001 02 0b 05 0001'a' 02", "90 04 0001 00 02");
        client_close(&c);
        client_connect(&d, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x'", CONNACK5);
        exchange(&d, "34 07 0001'a' 0001 00 '1' 33 0b 0001'a' 0002 04 03 0001't' '2'",
                 "50 02 0001 40 02 0002");
        client_close(&d);
}

static void start_with(const Value *v)
{
        mqtt_disk_plant(&world.disk, &v->key, BYTES(v->data, v->len));
        crash();
}

static void change(uint8_t kind, size_t at, size_t width, uint32_t number)
{
        Value v = read_last(kind);
        assert_true(at + width <= v.len);
        for (size_t i = width; i > 0; i--, number >>= 8)
                v.data[at + i - 1] = (uint8_t)number;
        start_with(&v);
}

static void forget(void)
{
        assert_true(mqtt_world_forget_all(&world));
        world.gone = NULL;
}

static void changed_to_the_same(void **state)
{
        fill();
        change(MQTT_KIND_QUEUED, AT_QOS, 1, 1);
        assert_int_equal(world.dropped, 0);
        change(MQTT_KIND_QUEUED, AT_SUBSCRIPTION_ID, 4, 268435455);
        assert_int_equal(world.dropped, 0);
}

static void wrong_in_queue(void **state)
{
        static const struct {
                size_t at, width;
                uint32_t number;
        } rows[] = {
                { AT_PACKET_ID, 2, 0 },
                { AT_PACKET_ID, 2, 1 }, /* the other one's */
                { AT_QOS, 1, 0 },
                { AT_QOS, 1, 3 },
                { AT_STAGE, 1, MQTT_STAGE_PUBREL }, /* of QoS 1 */
                { AT_STAGE, 1, 2 },
                { AT_LEFT_OUT, 4, 3 }, /* within a level */
                { AT_LEFT_OUT, 4, 6 }, /* all of it */
                { AT_SUBSCRIPTION_ID, 4, 0 },
                { AT_SUBSCRIPTION_ID, 4, 268435456 },
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                fill();
                change(MQTT_KIND_QUEUED, rows[i].at, rows[i].width, rows[i].number);
                if (world.dropped != 2) /* and the message */
                        fail_msg("row %zu: %zu", i, world.dropped);
                forget();
        }
}

/* A content type becomes something else, of a retained message too. */
static void wrong_properties(void **state)
{
        const size_t at = 2 + 5 * 8 + 4 + strlen("dev1/a") + 4, owner = 4 + strlen("dev1");
        static const uint8_t wrong[] = { 0, 0x02, 0x0b, 0x23, 0x24, 0xff };
        for (size_t i = 0; i < sizeof(wrong); i++) {
                fill();
                change(MQTT_KIND_MESSAGE, at, 1, wrong[i]);
                if (world.dropped != 2)
                        fail_msg("0x%02x: %zu", wrong[i], world.dropped);
                change(MQTT_KIND_RETAINED, owner + at, 1, wrong[i]);
                assert_int_equal(world.dropped, 1);
                forget();
        }
}

static void wrong_session(void **state)
{
        fill();
        change(MQTT_KIND_SESSION, 4 + strlen("dev1") + 4, 1, 0xff);
        assert_in_range(world.dropped, 1, 10);
}

static void wrong_subscription(void **state)
{
        const size_t at_id = 4 + strlen("a") + 4 + strlen("dev1/a") + 4 + 2;
        fill();
        change(MQTT_KIND_SUBSCRIPTION, at_id, 4, 268435456);
        assert_int_equal(world.dropped, 1);
        forget();
        fill();
        Value again = read_last(MQTT_KIND_SUBSCRIPTION);
        again.key.b++;
        start_with(&again);
        assert_int_equal(world.dropped, 1);
}

#define PACKET_MAX 70000

static int largest(const MqttKey *key, Bytes value, void *userdata)
{
        size_t *max = userdata;
        *max = MAX(*max, value.len);
        return 0;
}

static void assert_largest(uint8_t kind)
{
        size_t max = 0;
        mqtt_disk_read(kind, largest, &max, &world.disk);
        assert_in_range(max, PACKET_MAX - 100, PACKET_MAX + MQTT_VALUE_EXTRA);
}

/* Begins with `head`, has `tail` at `at`, and else 'x' up to the largest packet there may be. */
static void feed_largest(Client *c, const char *head, size_t at, const char *tail)
{
        static uint8_t packet[PACKET_MAX];
        size_t consumed;
        memset(packet, 'x', sizeof(packet));
        unhex(head, packet, sizeof(packet));
        unhex(tail, packet + at, sizeof(packet) - at);
        mqtt_connection_input(c->connection, BYTES(packet, sizeof(packet)), 1, world.now, &consumed,
                              &c->wait);
        assert_int_equal(consumed, sizeof(packet));
        settle();
        buf_clear(&c->out);
}

static void set_alias(Client *c)
{
        uint8_t packet[1033];
        size_t consumed;
        memset(packet, 't', sizeof(packet));
        unhex("30 86 08 0400", packet, sizeof(packet));
        unhex("03 23 0001", packet + 1029, 4);
        mqtt_connection_input(c->connection, BYTES(packet, sizeof(packet)), 1, world.now, &consumed,
                              &c->wait);
        assert_int_equal(consumed, sizeof(packet));
}

/* The store takes no value that is larger, and the daemon cannot go on without. */
static void size(void **state)
{
        Client c, away;
        world.config.maximum_packet_size = PACKET_MAX;
        world.limits.retained_bytes = world.limits.queue_bytes = 2 * PACKET_MAX;
        crash();
        client_connect(&away, "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/x' ", NULL);
        buf_clear(&away.out);
        exchange(&away, "82 07 0001 00 0001'#' 01", "90 04 0001 00 01");
        client_close(&away);
        /* a will, most of it its content type */
        client_open(&c);
        feed_largest(&c,
                     "10 ec a2 04 0004'MQTT'05 06 003c 05 11 00000064 0004'dev1' 82 80 04 03 ffff",
                     32 + UINT16_MAX, "0001'w' 114c");
        assert_largest(MQTT_KIND_WILL);
        /* a message, most of its topic an alias */
        set_alias(&c);
        feed_largest(&c, "33 ec a2 04 0000 0001 03 23 0001", PACKET_MAX, "");
        assert_largest(MQTT_KIND_MESSAGE);
        assert_largest(MQTT_KIND_RETAINED);
        client_leave_for_good(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(changed_to_the_same), TEST(wrong_in_queue),     TEST(wrong_properties),
                TEST(wrong_session),       TEST(wrong_subscription), TEST(size),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
