/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What queues are charged for on disk: no more than all devices may have together, and nothing for
 * what the disk did not take. */

#include "mqtt-bench.h"

#include "domain/mqtt-journal.h"

#define OTHER5      "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' "
#define SUBSCRIBE_A "82 07 0001 00 0001'a' 01 "

static uint64_t kept_bytes(void)
{
        MqttServerStats stats;
        mqtt_server_stats(world.server, &stats);
        return stats.kept_bytes;
}

/* A session that subscribed to "a" and is away. */
static void leave_subscribed(void)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, SUBSCRIBE_A, "90 04 0001 00 01");
        client_close(&c);
}

static void limit(void **state)
{
        unsigned n = 0;
        world.config.kept_bytes = 1800;
        crash();
        leave_subscribed();
        while (mqtt_world_command(&world, "dev1/a", "1", 1) == 1)
                n++;
        settle();
        assert_in_range(n, 1, 3);
        assert_in_range(kept_bytes(), 1800 / 2, 1800);
}

/* It lies there once, whoever waits for it. */
static void shared(void **state)
{
        static const char *const sessions[] = {
                "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/y' ",
                "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/z' "
        };
        char large[801] = { 0 };
        memset(large, 'x', sizeof(large) - 1);
        world.config.kept_bytes = 2048;
        crash();
        for (size_t i = 0; i < ELEMENTSOF(sessions); i++) {
                Client c;
                client_connect(&c, sessions[i], CONNACK5);
                exchange(&c, SUBSCRIBE_A, "90 04 0001 00 01");
                client_close(&c);
        }
        assert_int_equal(mqtt_world_command(&world, "dev1/a", large, 1), 2);
        settle();
        assert_in_range(kept_bytes(), 1024, 2048);
}

/* The client that it was for is away, and comes back. */
static void not_taken(void **state)
{
        Client c, d;
        leave_subscribed();
        client_connect(&d, OTHER5, CONNACK5);
        exchange(&d, "32 07 0001'a' 0001 00 '1'", "40 02 0001");
        uint64_t one = kept_bytes();
        assert_int_not_equal(one, 0);
        feed(&d, "32 07 0001'a' 0002 00 '2' 32 07 0001'a' 0003 00 '3'");
        assert_true(mqtt_disk_fail(&world.disk, MQTT_QUOTA_EXCEEDED, NULL));
        assert_int_equal(kept_bytes(), 2 * one);
        settle();
        assert_out(&d, "40 03 0002 97 40 02 0003");
        client_close(&d);
        client_open(&c);
        exchange(&c, RESUME5, PRESENT5 "32 07 0001'a' 0001 00 '1' 32 07 0001'a' 0003 00 '3'");
        client_close(&c);
}

/* Messages of the gateway itself: their values are tried again, unless they are taken back. */
static void not_taken_and_tried_again(void **state)
{
        leave_subscribed();
        assert_int_equal(mqtt_world_command(&world, "dev1/a", "1", 1), 1);
        assert_true(mqtt_disk_fail(&world.disk, MQTT_UNSPECIFIED_ERROR, NULL));
        assert_int_equal(kept_bytes(), 0);
        settle();
        crash();
        assert_int_equal(kept_bytes(), 0);
}

/* What has expired made room for a message that the disk did not take: it is gone all the same. */
static void room_for_what_is_not_taken(void **state)
{
        static const char expiring[] = "32 0c 0001'a' 0001 05 02 0000000a '1'";
        Client c;
        leave_subscribed();
        client_connect(&c, OTHER5, CONNACK5);
        exchange(&c, expiring, "40 02 0001");
        world.limits.queue_bytes = (view("dev1").waiting_bytes * 4 + 2) / 3;
        world.now += 11 * USEC_PER_SEC;
        feed(&c, "32 07 0001'a' 0002 00 '2'");
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        settle();
        assert_out(&c, "40 03 0002 97");
        assert_int_equal(view("dev1").waiting, 0);
        assert_int_equal(kept_bytes(), 0);
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_QUEUED), 0);
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_MESSAGE), 0);
        client_leave(&c);
        mqtt_world_pass(&world, 101);
        assert_nothing_kept();
}

/* A client that did not even have the time to read is not sent away because others have filled the
 * device's room, or the whole store. */
static void filled_by_others(void **state)
{
        static const struct {
                uint64_t queue, kept;
        } t[] = { { 800, UINT64_MAX }, { 16384, 4096 } };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                world.limits.queue_bytes = t[i].queue;
                world.config.kept_bytes = t[i].kept;
                crash();
                leave_subscribed();
                client_connect(&c, "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/x' ",
                               CONNACK5);
                exchange(&c, "82 07 0001 00 0001'b' 01 ", "90 04 0001 00 01");
                if (i > 0)
                        assert_int_equal(command("dev1/b", "1", 1), 1);
                while (command("dev1/a", "-", 1) == 1)
                        ;
                while (i == 0 && command("dev1/b", "1", 1) == 1)
                        ;
                world.n_overflows = 0;
                assert_int_equal(command("dev1/b", "2", 1), 0);
                assert_false(mqtt_connection_has_ended(c.connection));
                assert_int_equal(world.n_overflows, 1);
                settle();
                assert_out(&c, "32 07 0001'b' 0001 00 '1'");
                client_leave_for_good(&c);
                mqtt_world_pass(&world, 101);
                assert_nothing_kept();
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(limit),
                TEST(shared),
                TEST(not_taken),
                TEST(not_taken_and_tried_again),
                TEST(room_for_what_is_not_taken),
                TEST(filled_by_others),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
