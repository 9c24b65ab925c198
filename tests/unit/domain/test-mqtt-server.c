/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The server as a whole: devices beside one another, rules that change, what it shows of itself. */

#include "mqtt-bench.h"

static void subscribe(Client *c)
{
        exchange(c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
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
        assert_int_equal(stats().sessions, 1);
        assert_string_equal(view("dev2").device, "dev2");
        settle();
        crash();
        assert_int_equal(stats().sessions, 1);
        world.gone = "dev2";
        crash();
        assert_int_equal(stats().sessions, 0);
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
        assert_int_equal(view("dev1").subscriptions, 4);
        assert_int_equal(command("all/a", "1", 1), 1);
        assert_int_equal(command("all/b", "2", 1), 1);
        assert_int_equal(command("dev1/a", "0", 1), 2);
        settle();
        size_t waiting = view("dev1").waiting;
        world.subscribe = NULL;
        mqtt_server_review(world.server);
        assert_int_equal(view("dev1").subscriptions, 2);
        assert_int_equal(view("dev1").waiting, waiting - 2); /* what was its own stays */
        assert_int_equal(view("dev1").dropped, 2);
        assert_int_equal(command("all/a", "3", 1), 0);
        assert_int_equal(command("all/b", "4", 1), 0);
        assert_int_equal(command("dev1/a", "5", 1), 2);
        settle();
        crash();
        assert_int_equal(command("all/a", "6", 1), 0);
        assert_int_equal(command("dev1/a", "7", 1), 2);
        world.gone = "dev1";
        mqtt_server_review(world.server);
        assert_nothing_kept();
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
                TEST(of_another_device),
                TEST(reviewed),
                TEST(reviewed_at_the_start),
                TEST(shown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
