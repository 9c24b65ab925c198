/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Answers that wait for the disk: when they go out, in which order, and what they say when it
 * fails. */

#include "mqtt-bench.h"

#include <stdio.h>

/* The heart of it: no PUBACK before the message is durable, and in order. */
static void acknowledged_when_durable(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, "32 07 0001'a' 0001 00 'x' 32 0c 0006'dev1/b' 0002 00 'y' 30 05 0001'c' 00 'z' "
                 "32 10 000a'rats/dev1/' 0003 00 'w'");
        assert_int_equal(world.n_submitted, 3);
        assert_out(&c, "");
        assert_true(mqtt_disk_write(&world.disk));
        assert_out(&c, "");
        mqtt_disk_settle(&world.disk);
        assert_out(&c, "40 02 0001");
        mqtt_disk_settle(&world.disk);
        assert_out(&c, "40 02 0002"); /* QoS 0 has its place in the order too */
        settle();
        assert_records("dev1:a=x,dev1:b=y,dev1:c=z");
        assert_out(&c, "40 15 0003 87 11 1f 000e'reserved-topic'");
        client_close(&c);
}

static void denied_in_order(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c,
             "32 07 0001'a' 0001 00 'x' 32 0c 0006'dev2/b' 0002 00 'y' 30 0a 0006'dev2/b' 00 'y'");
        assert_int_equal(world.n_submitted, 1);
        assert_int_equal(c.n_denied, 2);
        assert_string_equal(c.denied, "foreign-topic");
        assert_out(&c, "");
        settle();
        assert_out(&c, "40 02 0001 40 14 0002 87 10 1f 000d'foreign-topic'");
        assert_false(mqtt_connection_has_ended(c.connection));
        client_close(&c);
}

/* What was submitted is stored all the same. */
static void gone_before_durable(void **state)
{
        Client c;
        client_connect(&c, CONNECT3, CONNACK3);
        feed(&c, "32 06 0001'a' 0001 'x' 32 06 0001'b' 0002 'y'");
        mqtt_connection_end(c.connection, MQTT_ADMINISTRATIVE_ACTION, "test");
        settle();
        assert_out(&c, "");
        client_close(&c);

        client_connect(&c, CONNECT3, CONNACK3);
        feed(&c, "32 06 0001'a' 0001 'z' 32 06 0001'b' 0002 'w'");
        client_close(&c);
        settle();
        assert_records("dev1:a=x,dev1:b=y,dev1:a=z,dev1:b=w");

        client_connect(&c, CONNECT3, CONNACK3); /* 3.1.1 hears a refusal as the end, no PUBACK */
        feed(&c, "32 06 0001'a' 0001 'x' 32 06 0001'b' 0002 'y'");
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_ended(&c, MQTT_QUOTA_EXCEEDED);
        settle();
        assert_out(&c, "");
        client_close(&c);
}

/* A SUBSCRIBE of which the client heard no SUBACK may have been lost; never another way round. */
static void suback_is_a_promise(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'a' 01");
        assert_out(&c, "");
        crash();
        client_connect(&c, RESUME5, PRESENT5);
        assert_int_equal(command("dev1/a", "1", 1), 0);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        crash();
        assert_int_equal(command("dev1/a", "1", 1), 1);
}

/* What CONNACK promises is on disk first; the client's silence is ours meanwhile. */
static void connack_is_a_promise(void **state)
{
        Client c;
        client_open(&c);
        assert_int_equal(feed(&c, RESUME5 "c0 00"), MQTT_INPUT_BLOCKED);
        assert_out(&c, "");
        assert_int_equal(c.n_connected, 0);
        mqtt_connection_tick(c.connection, 1000 * USEC_PER_SEC);
        assert_false(mqtt_connection_has_ended(c.connection));
        settle();
        assert_int_equal(c.n_connected, 1);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_MORE);
        assert_out(&c, CONNACK5 "d0 00");
        client_close(&c);

        static const struct {
                const char *text, *out;
        } failures[] = {
                { "store-failed", "20 12 00 80 0f 1f 000c'store-failed'" },
                { NULL, "20 16 00 80 13 1f 0010'the store failed'" },
        };
        for (size_t i = 0; i < ELEMENTSOF(failures); i++) {
                client_open(&c);
                feed(&c, BEGIN5);
                settle_failed(MQTT_UNSPECIFIED_ERROR, failures[i].text);
                assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
                assert_out(&c, failures[i].out);
                assert_int_equal(c.n_connected, 0);
                client_close(&c);
        }
        world.disk.no_barrier = true;
        client_open(&c);
        feed(&c, BEGIN5);
        assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
        client_close(&c);
}

/* A message that is refused at once reaches nobody. */
static void refused_at_once(void **state)
{
        Client c;
        world.refuse = MQTT_QUOTA_EXCEEDED;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        exchange(&c, "33 07 0001'a' 0001 00 'x' 31 05 0001'a' 00 'x'",
                 "40 0e 0001 97 0a 1f 0007'refused'");
        assert_int_equal(stats().retained, 0);
        client_leave(&c);
        client_connect(&c, CONNECT3, CONNACK3);
        feed(&c, "30 04 0001'a' 'x'");
        assert_false(mqtt_connection_has_ended(c.connection));
        feed(&c, "32 06 0001'a' 0001 'x'");
        assert_ended(&c, MQTT_QUOTA_EXCEEDED);
        assert_out(&c, "");
        client_close(&c);
        assert_nothing_kept();
}

/* A change that cannot be kept ends the connection: there is no code that says so. */
static void barrier_fails(void **state)
{
        static const char *const t[] = {
                "82 07 0009 00 0001'z' 01", /* SUBACK */
                "a2 06 0009 00 0001'a'",    /* UNSUBACK */
                "62 02 0001",               /* PUBCOMP */
                "50 02 0001",               /* PUBREL */
        };
        for (size_t i = 0; i < 2 * ELEMENTSOF(t); i++) {
                Client c;
                client_connect(&c, RESUME5, CONNACK5);
                exchange(&c, "82 07 0001 00 0001'a' 02 34 07 0001'b' 0001 00 'x'",
                         "90 04 0001 00 02 50 02 0001");
                command("dev1/a", "1", 2);
                settle();
                assert_out(&c, "34 07 0001'a' 0001 00 '1'");
                world.disk.no_barrier = i % 2;
                feed(&c, t[i / 2]);
                if (!world.disk.no_barrier)
                        settle_failed(MQTT_UNSPECIFIED_ERROR, NULL);
                if (!mqtt_connection_has_ended(c.connection))
                        fail_msg("%s: not ended", t[i / 2]);
                assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
                assert_int_equal(buf_view(&c.out).data[0], 0xe0);
                client_close(&c);
                world.disk.no_barrier = false;
                client_connect(&c, CONNECT5, CONNACK5);
                client_leave(&c);
                assert_nothing_kept();
        }
}

/* A session of 100 s with a subscription, a message that it was sent and one that came from it;
 * then another client's message goes to the disk, which will not take it. */
static void begin_behind(Client *c, Client *other)
{
        client_connect(c, BEGIN5, CONNACK5);
        exchange(c, "82 07 0001 00 0001'a' 01 34 07 0001'b' 0001 00 'x'",
                 "90 04 0001 00 01 50 02 0001");
        command("dev1/a", "1", 1);
        settle();
        assert_out(c, "32 07 0001'a' 0001 00 '1'");
        client_connect(other, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ", CONNACK5);
        feed(other, "32 07 0001'z' 0001 00 'y'");
}

static void end_behind(Client *other)
{
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        settle();
        assert_out(other, "40 03 0001 97");
}

/* What a client does behind a message of another, in one turn of the loop, is no part of that: it
 * stays when the message fails. */
static void behind_one_that_fails(void **state)
{
        static const char again[] = PRESENT5 "3a 07 0001'a' 0001 00 '1'";
        static const struct {
                const char *in, *out;
                const char *after;          /* what the client hears when it comes again */
                const char *retry, *answer; /* and asks the same */
        } t[] = {
                { "82 07 0002 00 0001'b' 01", "90 04 0002 00 01", again, "a2 06 0003 00 0001'b'",
                  "b0 04 0003 00 00" },
                { "a2 06 0002 00 0001'a'", "b0 04 0002 00 00", again, "a2 06 0003 00 0001'a'",
                  "b0 04 0003 00 11" },
                { "62 02 0001", "70 02 0001", again, "62 02 0001", "70 03 0001 92" },
                { "40 02 0001", "", PRESENT5, "c0 00", "d0 00" },
                { "e0 07 00 05 11 00000000", NULL, CONNACK5, "c0 00", "d0 00" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c, other;
                begin_behind(&c, &other);
                feed(&c, t[i].in);
                if (!t[i].out)
                        client_close(&c);
                end_behind(&other);
                if (t[i].out)
                        assert_out(&c, t[i].out);
                crash();
                client_connect(&c, RESUME5, t[i].after);
                exchange(&c, t[i].retry, t[i].answer);
                client_close(&c);
        }
}

/* The same of what begins and ends without its packets. */
static void behind_one_that_fails_otherwise(void **state)
{
        static const char of_dev2[] = "10 16 0004'MQTT'05 00 003c 05 11 00000064 0004'dev2' ";
        Client c, other, third;
        begin_behind(&c, &other);
        client_open_as(&third, "dev2");
        feed(&third, of_dev2);
        end_behind(&other);
        crash();
        client_connect_as(&third, "dev2", of_dev2, PRESENT5);
        client_close(&third);

        begin_behind(&c, &other);
        command("dev1/a", "2", 1);
        end_behind(&other);
        assert_out(&c, "32 07 0001'a' 0002 00 '2'");
        crash();
        client_connect(&c, RESUME5, PRESENT5 "3a 07 0001'a' 0001 00 '1' 3a 07 0001'a' 0002 00 '2'");
        client_close(&c);

        begin_behind(&c, &other);
        client_close(&c); /* its time begins */
        end_behind(&other);
        crash();
        assert_int_equal(stats().sessions, 2);
        crash_for(100);
        mqtt_world_pass(&world, 0);
        assert_int_equal(stats().sessions, 0);

        begin_behind(&c, &other);
        client_close(&c);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        settle();
        mqtt_world_pass(&world, 20);
        feed(&other, "32 07 0001'z' 0002 00 'y'");
        mqtt_server_tick(world.server, world.now + 100 * USEC_PER_SEC, world.realtime);
        buf_clear(&other.out);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        settle();
        assert_int_equal(mqtt_disk_n_values(&world.disk, 0), 0);
        client_close(&other);
}

/* Whatever ends a connection in the middle of a packet: nothing waits for ever. */
static void nothing_left_behind(void **state)
{
        char hex[4096];
        Client c;
        int at = snprintf(hex, sizeof(hex), "82 87 08 0001 00 ");
        for (unsigned i = 0; i < 257; i++)
                at += snprintf(hex + at, sizeof(hex) - (size_t)at, "0001'a' 00 ");
        world.config.maximum_packet_size = 2048;
        crash();
        client_open(&c);
        feed(&c, RESUME5);
        settle();
        feed(&c, hex);
        assert_ended(&c, MQTT_QUOTA_EXCEEDED);
        client_close(&c);
        mqtt_world_pass(&world, 100);
        assert_nothing_kept();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(acknowledged_when_durable),
                TEST(denied_in_order),
                TEST(gone_before_durable),
                TEST(suback_is_a_promise),
                TEST(connack_is_a_promise),
                TEST(refused_at_once),
                TEST(barrier_fails),
                TEST(behind_one_that_fails),
                TEST(behind_one_that_fails_otherwise),
                TEST(nothing_left_behind),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
