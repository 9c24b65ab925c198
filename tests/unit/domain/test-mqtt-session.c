/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Sessions (section 4.1) that outlive their connections and the daemon. */

#include "mqtt-bench.h"

#include <stdio.h>

static void subscribe(Client *c)
{
        exchange(c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
}

static void present_or_new(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        subscribe(&c);
        client_close(&c);
        client_connect(&c, RESUME5, PRESENT5);
        command("dev1/a", "1", 1);
        settle();
        assert_out(&c, "32 07 0001'a' 0001 00 '1'");
        client_close(&c);
        client_connect(&c, BEGIN5, CONNACK5); /* [MQTT-3.1.2-4] */
        assert_int_equal(command("dev1/a", "1", 1), 0);
        client_close(&c);
        client_connect(&c, CONNECT5, CONNACK5);
        subscribe(&c);
        client_close(&c);
        assert_int_equal(stats().sessions, 0); /* its expiry was 0 */
        /* 3.1.1: the same with CleanSession */
        client_connect(&c, "10 10 0004'MQTT'04 00 003c 0004'dev1' ", CONNACK3);
        client_close(&c);
        client_connect(&c, "10 10 0004'MQTT'04 00 003c 0004'dev1' ", "20 02 01 00");
        assert_int_equal(view("dev1").subscriptions, 0);
        client_close(&c);
        client_connect(&c, CONNECT3, CONNACK3);
        client_close(&c);
        assert_nothing_kept();
}

/* A session for 100 s. */
static void leave_for_100_s(unsigned i)
{
        char connect[80];
        Client c;
        snprintf(connect, sizeof(connect),
                 "10 18 0004'MQTT'05 02 003c 05 11 00000064 0006'dev1/%u' ", i);
        client_connect(&c, connect, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        client_close(&c);
}

/* All at once, after a long absence: not in one turn of the loop, and nobody gets one meanwhile. */
static void many_expire(void **state)
{
        static const char fourth[] = "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/3' ";
        Client c;
        world.limits.queue_bytes = 8 << 20;
        for (unsigned i = 0; i < 4; i++)
                leave_for_100_s(i);
        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(command("dev1/a", "1", 1), 4);
        settle();
        mqtt_world_pass(&world, 100);
        assert_int_equal(stats().sessions, 1);
        client_connect(&c, fourth, CONNACK5);
        client_leave_for_good(&c);
        assert_nothing_kept();
}

/* They hold no place that another could have. */
static void expired_make_room(void **state)
{
        Client c;
        for (unsigned most = 1; most <= 4; most++) {
                world.limits.sessions = most;
                for (unsigned i = 0; i < most; i++)
                        leave_for_100_s(i);
                settle();
                client_open(&c);
                exchange(&c, CONNECT5, NULL);
                assert_ended(&c, MQTT_QUOTA_EXCEEDED);
                client_close(&c);
                world.now += 100 * USEC_PER_SEC; /* before the clock ticks */
                client_connect(&c, CONNECT5, CONNACK5);
                client_leave_for_good(&c);
                mqtt_world_pass(&world, 1);
                assert_nothing_kept();
        }
}

static void expires(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        mqtt_world_pass(&world, 50);
        client_close(&c);
        mqtt_world_pass(&world, 99);
        assert_int_equal(stats().sessions, 1);
        client_connect(&c, RESUME5, PRESENT5);
        client_close(&c);
        mqtt_world_pass(&world, 99);
        assert_int_equal(stats().sessions, 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(stats().sessions, 0);

        client_connect(&c, RESUME5, CONNACK5); /* section 3.14.2.2.2 */
        feed(&c, "e0 07 00 05 11 0000000a");
        client_close(&c);
        mqtt_world_pass(&world, 9);
        assert_int_equal(stats().sessions, 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(stats().sessions, 0);

        client_connect(&c, RESUME5, CONNACK5);
        feed(&c, "e0 07 00 05 11 00000000");
        client_close(&c);
        assert_int_equal(stats().sessions, 0);
}

/* Nobody has looked yet whether its time is over. */
static void expired_unnoticed(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        client_close(&c);
        world.now += 99 * USEC_PER_SEC;
        client_connect(&c, RESUME5, PRESENT5);
        client_close(&c);
        world.now += 100 * USEC_PER_SEC;
        client_connect(&c, RESUME5, CONNACK5);
        client_leave_for_good(&c);
        assert_nothing_kept();
}

/* Time goes on while the daemon does not run; for a connected session it begins with the death. */
static void expires_over_a_restart(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        client_close(&c);
        while (mqtt_disk_write(&world.disk))
                ;
        mqtt_world_pass(&world, 40);
        crash_for(40);
        mqtt_world_pass(&world, 19);
        assert_int_equal(stats().sessions, 1);
        reboot(-3); /* its clock jumped back; never more than was left */
        mqtt_world_pass(&world, 3);
        assert_int_equal(stats().sessions, 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(stats().sessions, 0);

        client_connect(&c, RESUME5, CONNACK5);
        crash_for(500);
        mqtt_world_pass(&world, 99);
        assert_int_equal(stats().sessions, 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(stats().sessions, 0);
}

/* One that was kept and is not to be any more ends with the daemon as with its connection. */
static void kept_no_longer(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        subscribe(&c);
        command("dev1/a", "1", 1);
        client_close(&c);
        client_connect(&c, "10 11 0004'MQTT'05 00 003c 00 0004'dev1' ",
                       PRESENT5 "32 07 0001'a' 0001 00 '1'");
        crash();
        assert_int_equal(stats().sessions, 0);
        assert_true(world.dropped > 0);
        client_connect(&c, RESUME5, CONNACK5);
        client_close(&c);
}

static void restarted(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        subscribe(&c);
        exchange(&c, "82 0f 0002 02 0b 07 0007'dev1/b/' 02", "90 04 0002 00 02");
        exchange(&c, "82 07 0003 00 0001'c' 05", "90 04 0003 00 01");
        exchange(&c, "a2 06 0004 00 0001'a'", "b0 04 0004 00 00");
        crash();
        assert_int_equal(world.dropped, 0);
        client_connect(&c, RESUME5, PRESENT5);
        assert_int_equal(command("dev1/a", "1", 1), 0);
        assert_int_equal(command("dev1/b/", "2", 1), 1);
        settle();
        assert_out(&c, "32 0f 0007'dev1/b/' 0001 02 0b 07 '2'");
        feed(&c, "30 05 0001'c' 00 'x'"); /* no local */
        settle();
        assert_out(&c, "");
        exchange(&c, "82 07 0001 00 0001'c' 01", "90 04 0001 00 01");
        exchange(&c, "30 05 0001'c' 00 'x'", "30 05 0001'c' 00 'x'");
        client_close(&c);
}

/* [MQTT-3.1.4-3]: the session goes on with the newest, the others hear nothing more; the second
 * while it still waits for its CONNACK. */
static void taken_over(void **state)
{
        Client a, b, c;
        client_connect(&a, RESUME5, CONNACK5);
        subscribe(&a);
        command("dev1/a", "1", 1);
        settle();
        assert_out(&a, "32 07 0001'a' 0001 00 '1'");
        feed(&a, "32 07 0001'b' 0001 00 'x'");
        client_open(&b);
        feed(&b, RESUME5);
        assert_ended(&a, MQTT_SESSION_TAKEN_OVER);
        assert_int_equal(buf_view(&a.out).data[2], 0x8e);
        buf_clear(&a.out);
        client_open(&c);
        feed(&c, RESUME5);
        assert_ended(&b, MQTT_SESSION_TAKEN_OVER);
        buf_clear(&b.out);
        settle();
        command("dev1/a", "2", 1);
        settle();
        assert_out(&a, "");
        assert_out(&b, "");
        assert_out(&c, PRESENT5 "3a 07 0001'a' 0001 00 '1' 32 07 0001'a' 0002 00 '2'");
        client_close(&a);
        client_close(&b);
        assert_true(view("dev1").connected);
        exchange(&c, "40 02 0001 40 02 0002", "");
        client_leave_for_good(&c);
        assert_nothing_kept();
}

/* The time of a session does not run while it is connected, whatever was left of it before. */
static void taken_over_later(void **state)
{
        Client a, b;
        client_connect(&a, RESUME5, CONNACK5);
        client_close(&a);
        mqtt_world_pass(&world, 90);
        client_connect(&a, RESUME5, PRESENT5);
        mqtt_world_pass(&world, 20);
        client_connect(&b, RESUME5, PRESENT5);
        client_close(&a);
        client_close(&b);
}

/* Clean start beside a message of the old session that the disk still has. */
static void taken_over_in_flight(void **state)
{
        Client a, b;
        client_connect(&a, RESUME5, CONNACK5);
        exchange(&a, "82 07 0001 00 0001'a' 02", "90 04 0001 00 02");
        feed(&a, "34 07 0001'a' 0001 00 '1'");
        client_connect(&b, BEGIN5, CONNACK5);
        exchange(&b, "34 07 0001'a' 0001 00 '2'", "50 02 0001");
        assert_records("dev1:a=1,dev1:a=2");
        client_close(&a);
        client_close(&b);
}

static void too_many(void **state)
{
        Client c;
        world.limits.sessions = 1;
        client_connect(&c, RESUME5, CONNACK5);
        client_close(&c);
        client_open(&c);
        assert_int_equal(feed(&c, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' "), MQTT_INPUT_ENDED);
        assert_ended(&c, MQTT_QUOTA_EXCEEDED); /* those who are away count */
        client_close(&c);
        client_connect_as(&c, "dev2", "10 11 0004'MQTT'05 02 003c 00 0004'dev2' ", CONNACK5);
        client_leave(&c);
        client_connect(&c, RESUME5, PRESENT5);
        client_close(&c);
        client_connect(&c, BEGIN5, CONNACK5);
        client_close(&c);
}

/* [MQTT-2.2.1-4]: what waits while its device may not receive keeps its identifier, however many
 * answers of attestation pass by. */
static void identifiers_all_round(void **state)
{
        Client c;
        char ack[16];
        client_connect(&c, BEGIN5, CONNACK5);
        exchange(&c, "82 15 0001 00 0001'#' 01 000b'rats/dev1/#' 01", "90 05 0001 00 01 01");
        world.closed = "dev1";
        command("dev1/a", "1", 1);
        for (unsigned id = 2; id <= UINT16_MAX; id++) {
                command("rats/dev1/x", "r", 1);
                buf_clear(&c.out);
                snprintf(ack, sizeof(ack), "40 02 %04x", id);
                feed(&c, ack);
        }
        assert_int_equal(view("dev1").unacknowledged, 0);
        command("dev1/b", "2", 1);
        settle();
        crash();
        assert_int_equal(world.dropped, 0);
        world.closed = NULL;
        client_connect(&c, RESUME5, PRESENT5 "3a 07 0001'a' 0001 00 '1' 3a 07 0001'b' 0002 00 '2'");
        client_leave_for_good(&c);
        assert_nothing_kept();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(present_or_new),
                TEST(expires),
                TEST(many_expire),
                TEST(expired_make_room),
                TEST(expired_unnoticed),
                TEST(expires_over_a_restart),
                TEST(kept_no_longer),
                TEST(restarted),
                TEST(taken_over),
                TEST(taken_over_later),
                TEST(taken_over_in_flight),
                TEST(too_many),
                TEST(identifiers_all_round),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
