/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What is taken up from disk when it is not what was put there: each value cut off, with bytes
 * behind it, changed, or under another key; and when the world is another: time has passed, by
 * whichever clock, devices are gone, limits and rules have changed. */

#include "mqtt-bench.h"

#include <stdio.h>
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
        mqtt_journal_age(world.server);
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

/* What comes after a restart has numbers of its own: nothing takes another's place on disk. */
static void numbered_on(void **state)
{
        static const struct {
                const char *connect, *retain, *payload, *out;
        } t[] = {
                { "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/x' ", "31 05 0001'x' 00 '1'",
                  "1", PRESENT5 "32 07 0001'a' 0001 00 '1' 32 07 0001'a' 0002 00 '2'" },
                { "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/y' ", "31 05 0001'y' 00 '1'",
                  "2", PRESENT5 "32 07 0001'a' 0001 00 '2' 32 07 0001'a' 0002 00 '3'" },
                { "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/z' ", "31 05 0001'z' 00 '1'",
                  "3", PRESENT5 "32 07 0001'a' 0001 00 '3'" },
        };
        Client c;
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                client_connect(&c, t[i].connect, CONNACK5);
                exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
                exchange(&c, "82 07 0001 00 0001'b' 01", "90 04 0001 00 01");
                exchange(&c, t[i].retain, "");
                client_close(&c);
                settle();
                crash();
                assert_int_equal(world.dropped, 0);
                assert_int_equal(command("dev1/a", t[i].payload, 1), i + 1);
                settle();
        }
        crash();
        assert_int_equal(stats().retained, 3);
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                client_connect(&c, t[i].connect, t[i].out);
                assert_int_equal(view(mqtt_connection_client_id(c.connection)).subscriptions, 2);
                client_close(&c);
        }
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

/* A client takes up what there is, and numbers go on. */
static void come_and_go(void)
{
        Client c;
        client_connect(&c, RESUME5, NULL);
        exchange(&c, "82 07 0001 00 0001'a' 01", NULL);
        command("dev1/a", "1", 1);
        exchange(&c, "31 05 0001'a' 00 '2'", NULL);
        assert_false(mqtt_connection_has_ended(c.connection));
        client_close(&c);
}

/* It may be another value by that, or none; the server goes on, and in the end nothing is left. */
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
                        come_and_go();
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
                                come_and_go();
                                if (!mqtt_world_forget_all(&world))
                                        fail_msg("kind %u under %zu, %zu", values[i].key.kind, a,
                                                 b);
                                world.gone = NULL;
                        }
}

/* One of each that a time is running for: a session of 100 s, whose will comes after 40 s, a
 * message of 100 s in its queue and retained. 10 s of each have passed. */
static void begin_times(void)
{
        Client c;
        client_connect(&c,
                       "10 22 0004'MQTT'05 06 003c 05 11 00000064 0004'dev1' 05 18 00000028 "
                       "0001'w'0001'p' ",
                       CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        client_close(&c);
        client_connect(&c, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ", CONNACK5);
        exchange(&c, "33 0c 0001'a' 0001 05 02 00000064 'x'", "40 02 0001");
        client_close(&c);
        settle();
        mqtt_world_pass(&world, 10);
}

/* The process dies, or the host with it; and the wall clock jumps. */
static const struct {
        bool boots;
        int clock;
        unsigned will, session; /* seconds that are left then */
} restarts[] = {
        { false, 0, 30, 90 }, { false, -1000, 30, 90 }, { false, 1000, 30, 90 },
        { true, 0, 30, 90 },  { true, 25, 5, 65 },      { true, 1000, 0, 0 },
        { true, -5, 35, 95 }, { true, -1000, 40, 100 }, /* never more than when it was written */
};

static void restart(size_t i)
{
        if (restarts[i].boots) {
                reboot(restarts[i].clock);
                return;
        }
        world.realtime += (usec_t)restarts[i].clock * USEC_PER_SEC;
        crash();
}

/* Passes all but the last of `seconds`. */
static void pass_nearly(unsigned seconds)
{
        if (seconds > 0)
                mqtt_world_pass(&world, seconds - 1);
        settle();
}

static void pass_last(unsigned seconds)
{
        mqtt_world_pass(&world, seconds > 0);
        settle();
}

/* However much there is to remove. */
static void much_senseless(void **state)
{
        for (uint64_t i = 1; i <= 1000; i++) {
                const MqttKey key = { MQTT_KIND_RECEIVED, 1 + i % 10, i };
                mqtt_disk_plant(&world.disk, &key, BYTES(NULL, 0));
        }
        crash();
        assert_int_equal(world.dropped, 1000);
        assert_nothing_kept();
}

static void time_goes_on(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(restarts); i++) {
                unsigned will = restarts[i].will, session = restarts[i].session;
                begin_times();
                size_t n = mqtt_disk_n_records(&world.disk);
                restart(i);
                assert_int_equal(world.dropped, 0);
                pass_nearly(will);
                assert_int_equal(mqtt_disk_n_records(&world.disk), n);
                pass_last(will);
                assert_int_equal(mqtt_disk_n_records(&world.disk), n + 1);
                pass_nearly(session - will);
                assert_int_equal(stats().sessions, session > 0);
                pass_last(session - will);
                assert_int_equal(stats().sessions, 0);
                mqtt_world_pass(&world, 60);
                assert_nothing_kept();
        }
}

/* A clock that was set right before. */
static void clock_was_set(void **state)
{
        world.realtime += 1000 * USEC_PER_SEC;
        mqtt_world_pass(&world, 1);
        begin_times();
        reboot(0);
        mqtt_world_pass(&world, 89);
        assert_int_equal(stats().sessions, 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(stats().sessions, 0);
}

/* Who is back after it: what is left of a message in its queue, and of a retained one. */
static void time_went_on(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(restarts); i++) {
                unsigned left = restarts[i].session;
                char queued[128], retained[128];
                Client c;
                begin_times();
                size_t n = mqtt_disk_n_records(&world.disk);
                restart(i);
                snprintf(queued, sizeof(queued), PRESENT5 "32 0c 0001'a' 0001 05 02 %08x 'x'",
                         left);
                client_connect(&c, RESUME5, left > 0 ? queued : CONNACK5);
                snprintf(retained, sizeof(retained),
                         "31 0a 0001'a' 05 02 %08x 'x' 90 04 0002 00 00", left);
                exchange(&c, "82 07 0002 00 0001'a' 00", left > 0 ? retained : "90 04 0002 00 00");
                client_leave_for_good(&c);
                /* in time for its will, unless that was due */
                assert_int_equal(mqtt_disk_n_records(&world.disk), n + (left == 0));
                mqtt_world_pass(&world, 200);
                assert_nothing_kept();
        }
}

/* What has no end has none after years. */
static void without_end(void **state)
{
        Client c;
        world.config.session_expiry = UINT32_MAX;
        crash();
        client_connect(&c, "10 16 0004'MQTT'05 02 003c 05 11 ffffffff 0004'dev1' ", CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01 33 07 0001'a' 0001 00 'x'",
                 "90 04 0001 00 01 40 02 0001 32 07 0001'a' 0001 00 'x'");
        client_close(&c);
        settle();
        reboot(10 * 365 * 86400);
        mqtt_world_pass(&world, 365 * 86400);
        client_connect(&c, RESUME5, PRESENT5 "3a 07 0001'a' 0001 00 'x'");
        client_close(&c);
        assert_int_equal(stats().retained, 1);
}

/* Nothing is taken up of a device that is no more, and its will is not published. */
static void unknown_device(void **state)
{
        Client c;
        fill();
        client_connect_as(&c, "dev2", "10 16 0004'MQTT'05 02 003c 05 11 00000064 0004'dev2' ",
                          CONNACK5);
        client_close(&c);
        settle();
        world.gone = "dev1";
        crash();
        assert_int_equal(world.dropped, n_values - 1); /* the server's age is nobody's */
        assert_int_equal(mqtt_disk_n_values(&world.disk, 0), 2);
        assert_int_equal(stats().sessions, 1);
        assert_string_equal(view("dev2").device, "dev2");
        mqtt_world_pass(&world, 100);
        assert_nothing_kept();
        assert_records("dev1:a=x");
}

/* What was within the limits of its time stays; what comes now is held against those of today. */
static void lower_limits(void **state)
{
        Client c, other;
        fill();
        client_connect(&other, "10 18 0004'MQTT'05 02 003c 05 11 00000064 0006'dev1/x' ", CONNACK5);
        client_close(&other);
        world.limits = (ClassLimits){ .sessions = 1, .subscriptions = 1, .queue_bytes = 1 };
        crash();
        assert_int_equal(world.dropped, 0);
        client_open(&c);
        feed(&c, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/y' ");
        assert_ended(&c, MQTT_QUOTA_EXCEEDED);
        client_close(&c);
        client_connect(&c, RESUME5,
                       PRESENT5 "3c 12 0001'a' 0001 0b 02 00000064 03 0001't' 0b 07 'x' "
                                "32 09 0001'a' 0002 02 0b 07 '1'");
        exchange(&c, "82 07 0001 00 0001'c' 01 82 07 0002 00 0001'a' 01",
                 "90 1d 0001 19 1f 0016'too many subscriptions' 97 90 04 0002 00 01");
        exchange(&c, "40 02 0002 50 02 0001", "62 02 0001");
        exchange(&c, "70 02 0001", "");
        exchange(&c, "33 08 0001'a' 0001 00 'yy'",
                 "40 22 0001 97 1e 1f 001b'the device retains too much'");
        assert_int_equal(stats().retained, 1);
        exchange(&c, "33 06 0001'a' 0001 00", "40 02 0001 32 06 0001'a' 0003 00");
        assert_int_equal(stats().retained, 0);
        client_leave_for_good(&c);
        mqtt_world_pass(&world, 100);
        assert_nothing_kept();
}

/* The store has less room than it holds. */
static void less_room(void **state)
{
        Client c;
        fill();
        world.config.kept_bytes = 1;
        crash();
        assert_int_equal(world.dropped, 0);
        assert_int_equal(command("dev1/a", "2", 1), 0);
        assert_int_equal(world.n_overflows, 1);
        client_connect(&c, RESUME5, NULL);
        buf_clear(&c.out);
        exchange(&c, "40 02 0002 50 02 0001", "62 02 0001");
        exchange(&c, "70 02 0001", "");
        exchange(&c, "33 06 0001'a' 0001 00", "40 02 0001");
        assert_int_equal(stats().kept_bytes, 0);
        client_leave_for_good(&c);
        assert_nothing_kept();
}

/* Of what a client may do at once: it does less at once. */
static void smaller_windows(void **state)
{
        Client c;
        client_connect(&c, BEGIN5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'b' 01", "90 04 0001 00 01");
        exchange(&c, "34 07 0001'a' 0001 00 'x' 34 07 0001'a' 0002 00 'y'",
                 "50 02 0001 50 02 0002");
        command("dev1/b", "1", 1);
        command("dev1/b", "2", 1);
        settle();
        assert_out(&c, "32 07 0001'b' 0001 00 '1' 32 07 0001'b' 0002 00 '2'");
        world.config.window = 1;
        world.config.receive_maximum = 1;
        world.config.session_expiry = 10;
        crash();
        client_connect(&c, RESUME5,
                       "20 13 01 00 10 11 0000000a 21 0001 22 0004 27 00000400 "
                       "3a 07 0001'b' 0001 00 '1'");
        exchange(&c, "40 02 0001", "3a 07 0001'b' 0002 00 '2'");
        exchange(&c, "40 02 0002", "");
        exchange(&c, "3c 07 0001'a' 0001 00 'x'", "50 02 0001");
        exchange(&c, "62 02 0001", "70 02 0001");
        exchange(&c, "62 02 0002", "70 02 0002");
        exchange(&c, "34 07 0001'a' 0003 00 'z'", "50 02 0003");
        assert_records("dev1:a=x,dev1:a=y,dev1:a=z");
        client_close(&c);
        mqtt_world_pass(&world, 10);
        assert_nothing_kept();
}

/* A filter that means other topics now ends, and a will that may not be published any more. */
static void other_rules(void **state)
{
        Client c;
        world.publish = "all/#";
        client_connect(&c,
                       "10 26 0004'MQTT'05 06 003c 05 11 00000064 0004'dev1' 05 18 0000000a "
                       "0005'all/w'0001'p' ",
                       CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01 82 0c 0002 00 0006'dev1/b' 01",
                 "90 04 0001 00 01 90 04 0002 00 01");
        world.publish = NULL;
        world.subscribe = "a";
        crash();
        assert_int_equal(view("dev1").subscriptions, 1);
        assert_int_equal(command("dev1/a", "1", 1), 0);
        assert_int_equal(command("a", "1", 1), 0);
        assert_int_equal(command("dev1/b", "1", 1), 1);
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_SUBSCRIPTION), 1);
        mqtt_world_pass(&world, 10);
        settle();
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_WILL), 0);
        assert_records("");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(taken_up),     TEST(numbered_on),       TEST(cut_off),
                TEST(changed),      TEST(under_another_key), TEST(much_senseless),
                TEST(time_goes_on), TEST(clock_was_set),     TEST(time_went_on),
                TEST(without_end),  TEST(unknown_device),    TEST(lower_limits),
                TEST(less_room),    TEST(smaller_windows),   TEST(other_rules),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
