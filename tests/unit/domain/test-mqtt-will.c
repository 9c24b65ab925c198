/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Wills (section 3.1.2.5): when they are published, when not, and that they survive the daemon. */

#include "mqtt-bench.h"

#include "domain/mqtt-journal.h"

/* "w" = "p", without a delay, 3.1.1 and 5.0 */
#define WILL3 "10 16 0004'MQTT'04 0e 003c 0004'dev1' 0001'w'0001'p' "
#define WILL5 "10 18 0004'MQTT'05 06 003c 00 0004'dev1' 00 0001'w'0001'p' "
/* expiry 100 s, no delay; expiry 100 s, delay 10 s; and the other way round; resuming */
#define DELAYED                                                                                    \
        "10 22 0004'MQTT'05 04 003c 05 11 00000064 0004'dev1' 05 18 0000000a 0001'w'0001'p' "
#define AT_ONCE                                                                                    \
        "10 22 0004'MQTT'05 04 003c 05 11 00000064 0004'dev1' 05 18 00000000 0001'w'0001'p' "
#define LONG "10 22 0004'MQTT'05 04 003c 05 11 0000000a 0004'dev1' 05 18 00000064 0001'w'0001'p' "

static void published(void **state)
{
        Client c, listener;
        client_connect(&listener, "10 12 0004'MQTT'04 02 003c 0006'dev1/x'", CONNACK3);
        exchange(&listener, "82 06 0001 0001'w' 00", "90 03 0001 00");
        client_connect(&c, WILL3, CONNACK3);
        mqtt_connection_end(c.connection, MQTT_KEEP_ALIVE_TIMEOUT, "test");
        client_close(&c);          /* [MQTT-3.1.2-8] */
        assert_out(&listener, ""); /* it may yet have to be published again */
        settle();
        assert_out(&listener, "30 04 0001'w' 'p'");
        client_connect(&c, WILL3, CONNACK3);
        feed(&c, "e0 00"); /* [MQTT-3.14.4-3] */
        client_close(&c);
        client_connect(&c, WILL5, CONNACK5);
        feed(&c, "e0 01 04"); /* section 3.14.2.1: with its will */
        client_close(&c);
        settle();
        assert_out(&listener, "30 04 0001'w' 'p'");
        assert_records("dev1:w=p,dev1:w=p");
        client_close(&listener);
}

/* Its subscriber is the session itself, which is being freed: nobody may be woken for it. */
static void own_will(void **state)
{
        Client c;
        client_connect(&c, WILL3, CONNACK3);
        exchange(&c, "82 06 0001 0001'w' 01", "90 03 0001 01");
        mqtt_connection_end(c.connection, MQTT_KEEP_ALIVE_TIMEOUT, "test");
        c.n_wakes = 0;
        c.connection = mqtt_connection_free(c.connection);
        assert_int_equal(c.n_wakes, 0);
        assert_out(&c, "");
        client_close(&c);
        settle();
        assert_records("dev1:w=p");
}

static void at_a_takeover(void **state)
{
        Client a, b;
        client_connect(&a, WILL5, CONNACK5);
        client_connect(&b, CONNECT5, CONNACK5); /* the session ends, and with it any delay */
        assert_records("dev1:w=p");
        client_close(&b);
        client_close(&a);
        client_connect(&a, DELAYED, CONNACK5);
        client_connect(&b, RESUME5, PRESENT5); /* [MQTT-3.1.3-9] */
        client_close(&a);
        mqtt_world_pass(&world, 50);
        settle();
        assert_records("dev1:w=p");
        client_close(&b);
        client_connect(&a, DELAYED, PRESENT5);
        client_connect(&b, BEGIN5, CONNACK5);
        client_close(&a);
        settle();
        assert_records("dev1:w=p,dev1:w=p");
        client_connect(&a, AT_ONCE, PRESENT5);
        client_close(&b);
        client_connect(&b, RESUME5, PRESENT5); /* the session goes on, the will had no delay */
        client_close(&a);
        client_close(&b);
        settle();
        assert_records("dev1:w=p,dev1:w=p,dev1:w=p");
}

static void delayed(void **state)
{
        Client c;
        client_connect(&c, DELAYED, CONNACK5);
        client_close(&c);
        mqtt_world_pass(&world, 9);
        settle();
        assert_records("");
        client_connect(&c, DELAYED, PRESENT5); /* it came back: [MQTT-3.1.3-9] */
        mqtt_world_pass(&world, 5);
        client_close(&c);
        mqtt_world_pass(&world, 9);
        settle();
        assert_records("");
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p");
        mqtt_world_pass(&world, 100);
        settle();
        assert_records("dev1:w=p");
}

static void due_before_the_clock_ticks(void **state)
{
        Client c;
        client_connect(&c, DELAYED, CONNACK5);
        client_close(&c);
        world.now += 10 * USEC_PER_SEC;
        world.realtime += 10 * USEC_PER_SEC;
        client_connect(&c, RESUME5, PRESENT5); /* too late */
        assert_records("dev1:w=p");
        client_close(&c);
}

/* A device has to connect before it can attest: its will is judged when it is published. */
static void by_posture(void **state)
{
        Client c;
        for (unsigned i = 0; i < 2; i++) {
                world.mute = "dev1";
                client_connect(&c, WILL5, CONNACK5);
                world.mute = i == 0 ? "dev1" : NULL;
                client_close(&c);
                settle();
                assert_records(i == 0 ? "" : "dev1:w=p");
        }
}

static void session_ends_first(void **state)
{
        Client c;
        client_connect(&c, LONG, CONNACK5);
        client_close(&c);
        mqtt_world_pass(&world, 9);
        settle();
        assert_records("");
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p");

        client_connect(&c, LONG, CONNACK5); /* ended by DISCONNECT with 0x04 and expiry 0 */
        feed(&c, "e0 07 04 05 11 00000000");
        client_close(&c);
        settle();
        assert_records("dev1:w=p,dev1:w=p");
}

/* The daemon's death is the connection's; who is back in time has none. */
static void after_a_restart(void **state)
{
        Client c;
        client_connect(&c, WILL5, CONNACK5);
        crash();
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p");
        assert_nothing_kept(); /* its session had ended with the connection */
        crash();
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p");

        client_connect(&c, DELAYED, CONNACK5);
        crash();
        mqtt_world_pass(&world, 9);
        client_connect(&c, DELAYED, PRESENT5);
        client_close(&c); /* its delay runs over a restart */
        settle();
        mqtt_world_pass(&world, 4);
        crash_for(4);
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p");
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p,dev1:w=p");

        client_connect(&c, WILL5, CONNACK5);
        feed(&c, "e0 00");
        client_close(&c);
        while (mqtt_disk_write(&world.disk))
                ;
        crash();
        mqtt_world_pass(&world, 1);
        settle();
        assert_records("dev1:w=p,dev1:w=p");
}

/* Its expiry begins when it is published (section 3.1.3.2.4), its properties come along. */
static void properties(void **state)
{
        Client c, listener;
        client_connect(&listener, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ", CONNACK5);
        exchange(&listener, "82 07 0001 00 0001'w' 00", "90 04 0001 00 00");
        client_connect(&c,
                       "10 2b 0004'MQTT'05 04 003c 05 11 00000064 0004'dev1' "
                       "0e 02 0000001e 18 0000000a 03 0001't' 0001'w'0001'p' ",
                       CONNACK5);
        client_close(&c);
        settle();
        crash();
        client_connect(&listener, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ", CONNACK5);
        exchange(&listener, "82 07 0001 00 0001'w' 00", "90 04 0001 00 00");
        mqtt_world_pass(&world, 10);
        settle();
        assert_string_equal(world.content_type, "t");
        assert_out(&listener, "30 0e 0001'w' 09 02 0000001e 03 0001't' 'p'");
        client_close(&listener);
}

/* What it may publish is asked when it is published: the rules may have changed since CONNECT. */
static void no_longer_allowed(void **state)
{
        Client c, listener;
        world.publish = world.subscribe = "all/#";
        client_connect(&listener, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ", CONNACK5);
        exchange(&listener, "82 0b 0001 00 0005'all/w' 01", "90 04 0001 00 01");
        client_connect(&c,
                       "10 26 0004'MQTT'05 06 003c 05 11 00000064 0004'dev1' 05 18 0000000a "
                       "0005'all/w'0001'p' ",
                       CONNACK5);
        client_close(&c);
        settle();
        world.publish = NULL;
        mqtt_world_pass(&world, 11);
        settle();
        assert_records("");
        assert_out(&listener, "");
        client_close(&listener);
        mqtt_world_pass(&world, 100);
        assert_nothing_kept();
}

/* A device that is no more has no will either. */
static void device_is_gone(void **state)
{
        Client c;
        client_connect(&c, DELAYED, CONNACK5);
        client_close(&c);
        settle();
        world.gone = "dev1";
        mqtt_server_review(world.server);
        mqtt_world_pass(&world, 1000);
        assert_nothing_kept();
        assert_records("");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(published),
                TEST(own_will),
                TEST(at_a_takeover),
                TEST(delayed),
                TEST(due_before_the_clock_ticks),
                TEST(session_ends_first),
                TEST(after_a_restart),
                TEST(properties),
                TEST(no_longer_allowed),
                TEST(device_is_gone),
                TEST(by_posture),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
