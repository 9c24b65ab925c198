/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Restarts that follow one another while the clients are away. */

#include "mqtt-bench.h"

/* A session of 100 s whose will is due after 60. */
#define WILL5 "10 22 0004'MQTT'05 06 003c 05 11 00000064 0004'dev1' 05 18 0000003c 0001'w'0001'p' "

/* Section 3.1.2.11.2: the connection ended with the first restart, and only then. */
static void session_expiry(void **state)
{
        Client c;
        client_connect(&c, BEGIN5, CONNACK5);
        crash_for(60);
        crash_for(30);
        client_connect(&c, RESUME5, PRESENT5);
        crash_for(0);
        crash_for(60);
        crash_for(60);
        client_connect(&c, RESUME5, CONNACK5);
        client_close(&c);
}

static void will_delay(void **state)
{
        Client c;
        client_connect(&c, WILL5, CONNACK5);
        crash_for(0);
        crash_for(40);
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("");
        crash_for(20);
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p");
}

static void boot_for(unsigned minutes)
{
        for (unsigned i = 0; i < minutes; i++) {
                mqtt_world_pass(&world, 60);
                settle();
        }
}

/* There is no battery: each boot takes it for the same day. What the server ran for counts. */
static void clock_that_begins_anew(void **state)
{
        Client c;
        const usec_t day = world.realtime;
        client_connect(&c, "10 18 0004'MQTT'05 02 003c 05 11 00000e10 0006'dev1/x' ", CONNACK5);
        exchange(&c, "33 0c 0001'r' 0001 05 02 00000e10 '1'", "40 02 0001");
        client_close(&c);
        for (unsigned boot = 0; boot < 3; boot++) { /* of 25 minutes */
                settle();
                world.realtime = day;
                reboot(0);
                assert_int_equal(stats().sessions, 1);
                assert_int_equal(stats().retained, 1);
                boot_for(25);
        }
        assert_nothing_kept();
}

/* When it was put the clock was certainly wrong: what it says now tells nothing about it. */
static void clock_that_was_put_right(void **state)
{
        Client c;
        for (unsigned right = 0; right <= 1; right++) {
                world.config.earliest = world.realtime + (right ? 0 : 500) * USEC_PER_SEC;
                crash();
                client_connect(&c, BEGIN5, CONNACK5);
                client_close(&c);
                settle();
                reboot(1000);
                mqtt_world_pass(&world, 1);
                assert_int_equal(stats().sessions, !right);
        }
}

/* It was put at an age that was never noted itself: what comes after it counts from there. */
static void younger_than_noted(void **state)
{
        Client c;
        const usec_t day = world.realtime;
        client_connect(&c, "10 18 0004'MQTT'05 02 003c 05 11 00000384 0006'dev1/x' ", CONNACK5);
        for (unsigned i = 0; i < 9; i++) {
                mqtt_world_pass(&world, 60);
                exchange(&c, "c0 00", "d0 00");
        }
        client_close(&c);
        settle();
        world.realtime = day;
        reboot(0);
        boot_for(11);
        world.realtime = day;
        reboot(0);
        boot_for(3);
        assert_int_equal(stats().sessions, 1);
        boot_for(2);
        assert_nothing_kept();
}

/* Section 3.3.1.1: what came after the first restart was never sent. */
static void repeated(void **state)
{
        Client c;
        client_connect(&c, BEGIN5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        mqtt_world_command(&world, "dev1/a", "x", 1);
        settle();
        assert_out(&c, "32 07 0001'a' 0001 00'x'");
        crash();
        mqtt_world_command(&world, "dev1/a", "y", 1);
        settle();
        crash();
        client_connect(&c, RESUME5, PRESENT5 "3a 07 0001'a' 0001 00'x' 32 07 0001'a' 0002 00'y'");
        client_close(&c);
}

/* The disk refuses a will and takes the connection that came after it; then the process dies. */
static void will_of_an_earlier_session(void **state)
{
        Client c, d;
        MqttServerStats stats;
        client_connect(&c, "10 18 0004'MQTT'05 06 003c 00 0004'dev1' 00 0001'w'0001'p' ", CONNACK5);
        client_open(&d);
        feed(&d, BEGIN5);
        assert_true(mqtt_disk_fail(&world.disk, MQTT_QUOTA_EXCEEDED, "store-full"));
        assert_true(mqtt_disk_settle(&world.disk));
        assert_out(&d, CONNACK5);
        crash();
        mqtt_server_stats(world.server, &stats);
        assert_int_equal(stats.sessions, 1);
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p");
}

/* [MQTT-3.1.2-4]: CONNACK says that it has ended, whoever ended it, and also to one whose own
 * session is not kept. */
static void end_of_an_earlier_session(void **state)
{
        Client a, b, c;
        client_connect(&a, BEGIN5, CONNACK5);
        client_close(&a);
        settle();
        client_open(&b);
        feed(&b, CONNECT5);
        client_open(&c);
        feed(&c, CONNECT5);
        assert_out(&c, "");
        settle();
        assert_out(&c, CONNACK5);
        crash();
        client_connect(&a, RESUME5, CONNACK5);
        client_close(&a);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(session_expiry),
                TEST(will_delay),
                TEST(clock_that_begins_anew),
                TEST(clock_that_was_put_right),
                TEST(younger_than_noted),
                TEST(repeated),
                TEST(will_of_an_earlier_session),
                TEST(end_of_an_earlier_session),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
