/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Sessions (section 4.1) that outlive their connections and the daemon. */

#include "mqtt-bench.h"

static size_t sessions(void)
{
        MqttServerStats stats;
        mqtt_server_stats(world.server, &stats);
        return stats.sessions;
}

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
        assert_int_equal(sessions(), 0); /* its expiry was 0 */
        /* 3.1.1: the same with CleanSession */
        client_connect(&c, "10 10 0004'MQTT'04 00 003c 0004'dev1' ", CONNACK3);
        client_close(&c);
        client_connect(&c, "10 10 0004'MQTT'04 00 003c 0004'dev1' ", "20 02 01 00");
        client_close(&c);
        client_connect(&c, CONNECT3, CONNACK3);
        client_close(&c);
        assert_int_equal(sessions(), 0);
}

static void expires(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        mqtt_world_pass(&world, 50);
        client_close(&c);
        mqtt_world_pass(&world, 99);
        assert_int_equal(sessions(), 1);
        client_connect(&c, RESUME5, PRESENT5);
        client_close(&c);
        mqtt_world_pass(&world, 99);
        assert_int_equal(sessions(), 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(sessions(), 0);

        client_connect(&c, RESUME5, CONNACK5); /* section 3.14.2.2.2 */
        feed(&c, "e0 07 00 05 11 0000000a");
        client_close(&c);
        mqtt_world_pass(&world, 9);
        assert_int_equal(sessions(), 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(sessions(), 0);

        client_connect(&c, RESUME5, CONNACK5);
        feed(&c, "e0 07 00 05 11 00000000");
        client_close(&c);
        assert_int_equal(sessions(), 0);
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
        assert_int_equal(sessions(), 1);
        mqtt_world_crash(&world); /* another boot: what is left is told by the wall clock */
        world.config.boot = 2;
        world.now = 0;
        world.realtime -= 3 * USEC_PER_SEC; /* which jumped back; never more than was left */
        assert_int_equal(mqtt_world_start(&world), 0);
        mqtt_world_pass(&world, 3);
        assert_int_equal(sessions(), 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(sessions(), 0);

        client_connect(&c, RESUME5, CONNACK5);
        crash_for(500);
        mqtt_world_pass(&world, 99);
        assert_int_equal(sessions(), 1);
        mqtt_world_pass(&world, 1);
        assert_int_equal(sessions(), 0);
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
        assert_int_equal(sessions(), 0);
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

static void taken_over(void **state)
{
        Client a, b;
        client_connect(&a, RESUME5, CONNACK5);
        subscribe(&a);
        command("dev1/a", "1", 1);
        settle();
        assert_out(&a, "32 07 0001'a' 0001 00 '1'");
        client_connect(&b, RESUME5, PRESENT5 "3a 07 0001'a' 0001 00 '1'");
        assert_ended(&a, MQTT_SESSION_TAKEN_OVER);
        command("dev1/a", "2", 1);
        settle();
        assert_out(&b, "32 07 0001'a' 0002 00 '2'");
        client_close(&a);
        exchange(&b, "40 02 0001 40 02 0002", "");
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

static void of_another_device(void **state)
{
        Client a, b;
        client_connect(&a, RESUME5, CONNACK5);
        client_connect_as(&b, "dev2", "10 16 0004'MQTT'05 00 003c 05 11 00000064 0004'dev2' ",
                          CONNACK5);
        assert_false(mqtt_connection_has_ended(a.connection));
        subscribe(&b);
        assert_int_equal(command("dev1/a", "1", 1), 0);
        client_close(&a);
        client_close(&b);
        world.gone = "dev1";
        mqtt_server_review(world.server);
        assert_int_equal(sessions(), 1);
        settle();
        crash();
        assert_int_equal(sessions(), 1);
        world.gone = "dev2";
        crash();
        assert_int_equal(sessions(), 0);
}

static void reviewed(void **state)
{
        Client c;
        world.subscribe = "all/#";
        client_connect(&c, RESUME5, CONNACK5);
        subscribe(&c);
        exchange(&c, "82 0b 0002 00 0005'all/a' 01", "90 04 0002 00 01");
        exchange(&c, "82 14 0002 00 000e'$share/g/all/b' 01", "90 04 0002 00 01");
        exchange(&c, "82 10 0002 00 000a'$share/g/a' 01", "90 04 0002 00 01");
        client_close(&c);
        mqtt_server_review(world.server);
        assert_int_equal(command("all/a", "1", 1), 1);
        assert_int_equal(command("all/b", "2", 1), 1);
        world.subscribe = NULL;
        mqtt_server_review(world.server);
        assert_int_equal(command("all/a", "3", 1), 0);
        assert_int_equal(command("all/b", "4", 1), 0);
        assert_int_equal(command("dev1/a", "5", 1), 2);
        settle();
        crash();
        assert_int_equal(command("all/a", "6", 1), 0);
        assert_int_equal(command("dev1/a", "7", 1), 2);
}

/* Rules that changed while the daemon did not run hold for what it takes up. */
static void reviewed_at_the_start(void **state)
{
        Client c;
        world.subscribe = "all/#";
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, "82 0b 0002 00 0005'all/a' 01", "90 04 0002 00 01");
        world.subscribe = NULL;
        crash();
        assert_int_equal(command("all/a", "1", 1), 0);
}

static void too_many(void **state)
{
        Client c;
        world.limits.sessions = 1;
        client_connect(&c, RESUME5, CONNACK5);
        client_close(&c);
        client_open(&c);
        feed(&c, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ");
        assert_ended(&c, MQTT_QUOTA_EXCEEDED); /* those who are away count */
        client_close(&c);
        client_connect(&c, BEGIN5, CONNACK5);
        client_close(&c);
}

typedef struct Seen {
        size_t n;
        MqttSessionView last;
} Seen;

static void see(const MqttSessionView *view, void *userdata)
{
        Seen *seen = userdata;
        seen->n++;
        seen->last = *view;
}

static void shown(void **state)
{
        Client c;
        Seen seen = { 0 };
        client_connect(&c, RESUME5, CONNACK5);
        subscribe(&c);
        for (unsigned i = 0; i < 3; i++)
                command("dev1/a", "1", 1);
        settle();
        mqtt_server_each(world.server, see, &seen);
        assert_int_equal(seen.n, 1);
        assert_string_equal(seen.last.device, "dev1");
        assert_string_equal(seen.last.client_id, "dev1");
        assert_true(seen.last.connected && seen.last.kept);
        assert_int_equal(seen.last.subscriptions, 1);
        assert_int_equal(seen.last.waiting, 1);
        assert_int_equal(seen.last.unacknowledged, 2);
        assert_true(seen.last.waiting_bytes > 0);
        assert_int_equal(seen.last.dropped, 0);
        client_close(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(present_or_new),        TEST(expires),           TEST(expires_over_a_restart),
                TEST(kept_no_longer),        TEST(restarted),         TEST(taken_over),
                TEST(taken_over_in_flight),  TEST(of_another_device), TEST(reviewed),
                TEST(reviewed_at_the_start), TEST(too_many),          TEST(shown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
