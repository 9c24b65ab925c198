/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What is taken up from disk when it is not what was put there: each value cut off, with bytes
 * behind it, changed, or under another key. */

#include "mqtt-bench.h"

#include <stdlib.h>

#include "domain/mqtt-journal.h"

typedef struct Value {
        MqttKey key;
        size_t len;
        uint8_t data[256];
} Value;

static Value values[64];
static size_t n_values;

static int take(const MqttKey *key, Bytes value, void *userdata)
{
        assert_true(n_values < ELEMENTSOF(values) && value.len <= sizeof(values[0].data));
        Value *v = &values[n_values++];
        v->key = *key;
        v->len = value.len;
        if (value.len > 0)
                memcpy(v->data, value.data, value.len);
        return 0;
}

/* One value of each kind at least, all of dev1. */
static void fill(void)
{
        Client c;
        client_connect(&c,
                       "10 22 0004'MQTT'05 04 003c 05 11 00000064 0004'dev1' 05 18 0000000a "
                       "0001'w'0001'p' ",
                       CONNACK5);
        exchange(&c, "82 09 0001 02 0b 07 0001'a' 02 82 10 0002 00 000a'$share/g/b' 01", NULL);
        exchange(&c, "35 10 0001'a' 0001 09 02 00000064 03 0001't' 'x'", NULL);
        client_close(&c);
        command("dev1/a", "1", 1);
        settle();
        n_values = 0;
        for (uint8_t kind = MQTT_KIND_SESSION; kind < _MQTT_KIND_MAX; kind++) {
                assert_true(mqtt_disk_n_values(&world.disk, kind) > 0);
                mqtt_disk_read(kind, take, NULL, &world.disk);
        }
}

/* Starts with what fill() left, but value `i` in its place. */
static void start_with(size_t i, const MqttKey *key, Bytes value)
{
        mqtt_world_crash(&world);
        mqtt_disk_done(&world.disk);
        for (size_t j = 0; j < n_values; j++)
                if (j != i)
                        mqtt_disk_plant(&world.disk, &values[j].key,
                                        BYTES(values[j].data, values[j].len));
        mqtt_disk_plant(&world.disk, key, value);
        assert_int_equal(mqtt_world_start(&world), 0);
        settle();
}

static void taken_up(void **state)
{
        MqttServerStats before, after;
        fill();
        mqtt_server_stats(world.server, &before);
        crash();
        mqtt_server_stats(world.server, &after);
        assert_int_equal(world.dropped, 0);
        assert_int_equal(after.sessions, before.sessions);
        assert_int_equal(after.retained, before.retained);
        assert_int_equal(after.kept_bytes, before.kept_bytes);
        assert_int_equal(mqtt_disk_n_values(&world.disk, 0), n_values);
}

static void cut_off(void **state)
{
        uint8_t longer[257] = { 0 };
        fill();
        for (size_t i = 0; i < n_values; i++) {
                for (size_t len = 0; len < values[i].len; len++) {
                        if (values[i].key.kind == MQTT_KIND_QUEUED && len >= 17 && len % 4 == 1)
                                continue; /* fewer subscription identifiers */
                        start_with(i, &values[i].key, BYTES(values[i].data, len));
                        assert_true(world.dropped > 0);
                }
                memcpy(longer, values[i].data, values[i].len);
                start_with(i, &values[i].key, BYTES(longer, values[i].len + 1));
                assert_true(world.dropped > 0);
                assert_true(mqtt_disk_n_values(&world.disk, 0) < n_values);
        }
}

/* It may be another value by that, or none; the server starts, and in the end nothing is left. */
static void changed(void **state)
{
        uint8_t copy[256];
        fill();
        for (size_t i = 0; i < n_values; i++) {
                memcpy(copy, values[i].data, values[i].len);
                for (size_t bit = 0; bit < 8 * values[i].len; bit++) {
                        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
                        start_with(i, &values[i].key, BYTES(copy, values[i].len));
                        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
                        mqtt_world_pass(&world, 200);
                        if (!mqtt_world_forget_all(&world))
                                fail_msg("kind %u, bit %zu", values[i].key.kind, bit);
                        world.gone = NULL;
                }
        }
}

static void under_another_key(void **state)
{
        static const uint64_t numbers[] = { 0, 1, 2, 999, UINT16_MAX + 1, INT64_MAX };
        fill();
        for (size_t i = 0; i < n_values; i++)
                for (size_t a = 0; a < ELEMENTSOF(numbers); a++)
                        for (size_t b = 0; b < ELEMENTSOF(numbers); b++) {
                                MqttKey key = { values[i].key.kind, numbers[a], numbers[b] };
                                start_with(SIZE_MAX, &key, BYTES(values[i].data, values[i].len));
                                Client c; /* numbers go on */
                                client_connect(&c, RESUME5, NULL);
                                exchange(&c, "82 07 0001 00 0001'a' 01", NULL);
                                command("dev1/a", "1", 1);
                                exchange(&c, "31 05 0001'a' 00 '2'", NULL);
                                client_close(&c);
                                if (!mqtt_world_forget_all(&world))
                                        fail_msg("kind %u under %zu, %zu", values[i].key.kind, a,
                                                 b);
                                world.gone = NULL;
                        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(taken_up),
                TEST(cut_off),
                TEST(changed),
                TEST(under_another_key),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
