/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The way of a message to subscriptions: of several devices, overlapping, shared, with options. */

#include "mqtt-bench.h"

#include "domain/mqtt-server-internal.h"

#define OTHER5 "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' "
#define THIRD5 "10 13 0004'MQTT'05 02 003c 00 0006'dev1/y' "
#define DEV2   "10 11 0004'MQTT'05 02 003c 00 0004'dev2' "

/* Written with the device's name in front, topics come back so; identifiers come along. */
static void forms(void **state)
{
        Client c;
        client_connect(&c, "10 14 0004'MQTT'05 02 003c 03 21 0001 0004'dev1'", CONNACK5);
        feed(&c, "82 0e 0001 02 0b 07 0006'dev1/#' 01 82 09 0002 02 0b 08 0001'+' 04 "
                 "82 11 0003 00 000b'rats/dev1/+' 00");
        assert_out(&c, "90 04 0001 00 01 90 04 0002 00 00 90 04 0003 00 00");
        assert_int_equal(command("dev1/t", "1", 1), 1);
        assert_out(&c, "32 0e 0006'dev1/t' 0001 02 0b 07 '1' 30 07 0001't' 02 0b 08 '1'");
        command("rats/dev1/n", "1", 1);
        assert_out(&c, "30 0f 000b'rats/dev1/n' 00 '1'");
        /* its own message comes back where no-local was not asked for; the window is one */
        exchange(&c, "40 02 0001 32 09 0001's' 0001 02 01 01 '5'",
                 "32 10 0006'dev1/s' 0002 04 01 01 0b 07 '5' 40 02 0001");
        client_close(&c);
}

/* Filters that write the topic in the same way give one copy, with the highest QoS and all
 * identifiers [MQTT-3.3.4-2], -3. */
static void overlapping(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, "82 09 0001 02 0b 01 0001'#' 00 82 09 0001 02 0b 02 0001'a' 01 "
                 "82 09 0001 02 0b 03 0001'b' 02 82 07 0001 00 0001'+' 02");
        buf_clear(&c.out);
        command("dev1/a", "1", 1);
        assert_out(&c, "32 0b 0001'a' 0001 04 0b 01 0b 02 '1'");
        client_close(&c);
}

/* They come along into the queue of one that is away, and again [MQTT-3.3.4-3]. */
static void identifiers_in_a_queue(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c,
                 "82 09 0001 02 0b 07 0001'a' 01 82 0a 0001 03 0b 8001 0001'+' 00 "
                 "82 07 0001 00 0001'#' 00",
                 "90 04 0001 00 01 90 04 0001 00 00 90 04 0001 00 00");
        command("dev1/a", "1", 1);
        settle();
        assert_out(&c, "32 0c 0001'a' 0001 05 0b 07 0b 8001 '1'");
        client_close(&c);
        command("dev1/a", "2", 1);
        settle();
        client_connect(&c, RESUME5,
                       PRESENT5 "3a 0c 0001'a' 0001 05 0b 07 0b 8001 '1' "
                                "32 0c 0001'a' 0002 05 0b 07 0b 8001 '2'");
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01"); /* replaced, without one */
        exchange(&c, "40 02 0001 40 02 0002", "");
        command("dev1/a", "3", 1);
        settle();
        assert_out(&c, "32 0a 0001'a' 0003 03 0b 8001 '3'");
        client_leave_for_good(&c);
        assert_nothing_kept();
}

/* [MQTT-3.8.3-3]: to the others alone. */
static void no_local(void **state)
{
        Client c, other;
        client_connect(&c, CONNECT5, CONNACK5);
        client_connect(&other, OTHER5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 04", "90 04 0001 00 00");
        exchange(&other, "82 07 0001 00 0001'a' 00", "90 04 0001 00 00");
        exchange(&c, "30 05 0001'a' 00 '1'", "");
        assert_out(&other, "30 05 0001'a' 00 '1'");
        exchange(&other, "30 05 0001'a' 00 '2'", "30 05 0001'a' 00 '2'");
        assert_out(&c, "30 05 0001'a' 00 '2'");
        client_close(&c);
        client_close(&other);
}

/* "dev1/#" covers the level above too ([MQTT-4.7.1-2]), of which nothing is left for a client that
 * leaves its name out. */
static void the_device_itself(void **state)
{
        Client c, other;
        world.publish = "#";
        client_connect(&c, "10 14 0004'MQTT'05 02 003c 03 22 0004 0004'dev1' ", CONNACK5);
        exchange(&c, "82 07 0001 00 0001'#' 01 82 10 0002 00 000a'$share/g/#' 01",
                 "90 04 0001 00 01 90 04 0002 00 01");
        client_connect_as(&other, "dev2", DEV2, CONNACK5);
        exchange(&other, "33 0a 0004'dev1' 0001 00 '1'", "40 02 0001");
        assert_out(&c, "");
        assert_int_equal(command("dev1", "2", 1), 0);
        assert_int_equal(command("dev1/", "3", 1), 0);
        exchange(&c, "82 07 0001 00 0001'#' 01", "90 04 0001 00 01");
        exchange(&c, "82 0c 0001 00 0006'dev1/#' 01",
                 "90 04 0001 00 01 33 0d 0004'dev1' 0001 03 23 0001 '1'");
        assert_int_equal(command("dev1", "2", 0), 1);
        assert_out(&c, "30 07 0000 03 23 0001 '2'");
        client_close(&c);
        client_close(&other);
}

static void granted(void **state)
{
        Client a, b;
        world.publish = world.subscribe = "all/#";
        client_connect(&a, CONNECT5, CONNACK5);
        client_connect_as(&b, "dev2", DEV2, CONNACK5);
        exchange(&a, "82 0b 0001 00 0005'all/+' 00 82 07 0001 00 0001'#' 00",
                 "90 04 0001 00 00 90 04 0001 00 00");
        exchange(&b, "30 09 0005'all/a' 00 '1' 30 05 0001'a' 00 '2'", "");
        assert_out(&a, "30 09 0005'all/a' 00 '1'");
        world.subscribe = "#";
        exchange(&b, "82 07 0001 00 0001'#' 00", "90 04 0001 00 00");
        exchange(&a, "30 05 0001'a' 00 '3'", "30 05 0001'a' 00 '3'");
        assert_out(&b, "30 0a 0006'dev1/a' 00 '3'");
        /* attestation is a device's own, whatever is granted */
        assert_int_equal(command("rats/dev1/n", "4", 1), 0);
        assert_out(&b, "");
        client_close(&a);
        client_close(&b);
}

static void replaced(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, "82 09 0001 02 0b 07 0001'a' 01", "90 04 0001 00 01");
        exchange(&c, "82 07 0001 00 0001'a' 00", "90 04 0001 00 00"); /* [MQTT-3.8.4-3] */
        command("dev1/a", "1", 1);
        assert_out(&c, "30 05 0001'a' 00 '1'");
        crash();
        client_connect(&c, RESUME5, PRESENT5);
        command("dev1/a", "1", 1);
        assert_out(&c, "30 05 0001'a' 00 '1'");
        exchange(&c, "a2 06 0001 00 0001'a' a2 06 0002 00 0001'a'",
                 "b0 04 0001 00 00 b0 04 0002 00 11");
        assert_int_equal(command("dev1/a", "1", 1), 0);
        client_close(&c);
}

/* Sections 4.8.2, 3.8.3.1. */
static void shared(void **state)
{
        static const char subscribe[] = "82 10 0001 00 000a'$share/g/+' 01 ";
        Client a, b, other;
        client_connect(&a, CONNECT5, CONNACK5);
        client_connect(&b, OTHER5, CONNACK5);
        client_connect(&other, THIRD5, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 01");
        exchange(&b, subscribe, "90 04 0001 00 01");
        exchange(&other, "82 10 0001 00 000a'$share/h/+' 01", "90 04 0001 00 01");
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(command(i % 2 ? "dev1/p" : "dev1/q", "1", 0), 2);
        assert_out(&a, "30 05 0001'q' 00 '1' 30 05 0001'q' 00 '1'");
        assert_out(&b, "30 05 0001'p' 00 '1' 30 05 0001'p' 00 '1'");
        assert_int_equal(buf_len(&other.out), 4 * 7);
        buf_clear(&other.out);
        exchange(&b, "a2 0f 0001 00 000a'$share/g/+'", "b0 04 0001 00 00");
        command("dev1/p", "1", 0);
        command("dev1/p", "1", 0);
        assert_out(&a, "30 05 0001'p' 00 '1' 30 05 0001'p' 00 '1'");
        client_close(&a);
        client_close(&b);
        client_close(&other);
}

/* Each group once, beside those who subscribed alone. */
static void shares_apart(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c,
                 "82 2e 0001 00 000a'$share/g/a' 00 000a'$share/h/a' 00 000a'$share/g/#' 00 "
                 "0001'a' 00",
                 "90 07 0001 00 00 00 00 00");
        command("dev1/a", "1", 0);
        assert_out(&c, "30 05 0001'a' 00 '1' 30 05 0001'a' 00 '1' 30 05 0001'a' 00 '1' "
                       "30 05 0001'a' 00 '1'");
        exchange(&c, "a2 1b 0002 00 000a'$share/g/a' 000a'$share/h/#'", "b0 05 0002 00 00 11");
        assert_int_equal(command("dev1/a", "1", 0), 3);
        assert_int_equal(command("dev1/b", "1", 0), 1);
        client_leave(&c);
        assert_nothing_kept();
}

/* A member that is away gets messages only when all are. */
static void shared_with_some_away(void **state)
{
        static const char subscribe[] = "82 10 0001 00 000a'$share/g/+' 01 ";
        Client a, b;
        client_connect(&a, RESUME5, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 01");
        client_close(&a);
        client_connect(&b, OTHER5, CONNACK5);
        exchange(&b, subscribe, "90 04 0001 00 01");
        assert_int_equal(command("dev1/p", "1", 1), 1);
        assert_int_equal(command("dev1/p", "2", 1), 1);
        assert_out(&b, "32 07 0001'p' 0001 00 '1' 32 07 0001'p' 0002 00 '2'");
        exchange(&b, "40 02 0001 40 02 0002", "");
        client_close(&b);
        assert_int_equal(command("dev1/p", "-", 0), 0);
        assert_int_equal(command("dev1/p", "3", 1), 1);
        settle();
        client_connect(&a, RESUME5, PRESENT5 "32 07 0001'p' 0001 00 '3'");
        client_close(&a);
}

/* What a member had when its session ends goes to another: QoS 2 only where its delivery has not
 * begun [MQTT-4.8.2-5], and nothing that was not for the group. */
static void handed_on(void **state)
{
        static const char narrow[] = "10 14 0004'MQTT'05 02 003c 03 21 0001 0004'dev1' ";
        static const char subscribe[] = "82 10 0001 00 000a'$share/g/p' 02 ";
        Client a, b;
        client_connect(&a, narrow, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 02");
        client_connect(&b, OTHER5, CONNACK5);
        exchange(&b, subscribe, "90 04 0001 00 02");
        exchange(&a, "82 07 0001 00 0001'q' 01", "90 04 0001 00 01");
        for (unsigned i = 0; i < 4; i++)
                command("dev1/p", (const char *[]){ "1", "2", "3", "4" }[i], i < 2 ? 1 : 2);
        command("dev1/q", "5", 1);
        assert_out(&a, "32 07 0001'p' 0001 00 '1'");
        assert_out(&b, "32 07 0001'p' 0001 00 '2' 34 07 0001'p' 0002 00 '4'");
        exchange(&b, "40 02 0001 50 02 0002", "62 02 0002");
        exchange(&b, "70 02 0002", "");
        client_close(&a);
        assert_out(&b, "32 07 0001'p' 0003 00 '1' 34 07 0001'p' 0004 00 '3'");
        exchange(&b, "40 02 0003 50 02 0004", "62 02 0004");
        exchange(&b, "70 02 0004", "");
        client_connect(&a, CONNECT5, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 02");
        command("dev1/p", "6", 2);
        command("dev1/p", "7", 2);
        assert_out(&a, "34 07 0001'p' 0001 00 '7'");
        assert_out(&b, "34 07 0001'p' 0005 00 '6'");
        client_close(&a);
        assert_out(&b, "");
        client_leave(&b);
        assert_nothing_kept();
}

/* However full the device's room is; and who has none is not ended for it. */
static void handed_on_in_bulk(void **state)
{
        static const char subscribe[] = "82 14 0001 00 000e'$share/g/all/x' 01 ";
        char payload[901] = { 0 };
        Client a, b;
        memset(payload, 'x', sizeof(payload) - 1);
        world.subscribe = "all/#";
        client_connect(&a, BEGIN5, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 01");
        for (unsigned i = 0; i < 12; i++) /* of 16384 bytes: a copy would find no room */
                assert_int_equal(command("all/x", payload, 1), 1);
        client_connect(&b, OTHER5, CONNACK5);
        exchange(&b, subscribe, "90 04 0001 00 01");
        client_leave_for_good(&a);
        assert_int_equal(view("dev1/x").unacknowledged + view("dev1/x").waiting, 12);
        /* To another device, which has room for some of them. */
        client_connect_as(&a, "dev2", DEV2, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 01");
        world.limits.queue_bytes = 4096;
        client_close(&b);
        assert_false(mqtt_connection_has_ended(a.connection));
        assert_in_range(view("dev2").unacknowledged + view("dev2").waiting, 2, 11);
        world.limits.queue_bytes = 16384;
        client_close(&a);
}

/* From disk to disk, in one step. */
static void handed_on_while_away(void **state)
{
        static const char other[] = "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/x' ";
        static const char subscribe[] = "82 10 0001 00 000a'$share/g/p' 01 ";
        Client a, b;
        client_connect(&a, RESUME5, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 01");
        client_connect(&b, other, CONNACK5);
        exchange(&b, subscribe, "90 04 0001 00 01");
        client_close(&b);
        command("dev1/p", "1", 1);
        command("dev1/p", "2", 1);
        settle();
        assert_out(&a, "32 07 0001'p' 0001 00 '1' 32 07 0001'p' 0002 00 '2'");
        exchange(&a, "40 02 0001", "");
        client_close(&a);
        command("dev1/p", "3", 1); /* to the first that is away: not to the last that got one */
        settle();
        crash();
        client_connect(&a, CONNECT5, CONNACK5); /* begins anew: what was before ends */
        crash();
        client_connect(&b, other, PRESENT5 "32 07 0001'p' 0001 00 '3' 32 07 0001'p' 0002 00 '2'");
        exchange(&b, "40 02 0001 40 02 0002", "");
        client_leave_for_good(&b);
        assert_nothing_kept();
}

/* What one gives has its room already; who has none for it is told. */
static void handed_on_in_a_full_store(void **state)
{
        static const char subscribe[] = "82 14 0001 00 000e'$share/g/all/x' 01 ";
        static const char one[] = "10 18 0004'MQTT'05 02 003c 05 11 00000064 0006'dev1/x' ";
        static const char two[] = "10 18 0004'MQTT'05 02 003c 05 11 00000064 0006'dev1/y' ";
        Client a, b;
        world.subscribe = "all/#";
        client_connect(&a, one, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 01");
        client_close(&a);
        for (unsigned i = 0; i < 6; i++)
                assert_int_equal(command("all/x", "1", 1), 1);
        client_connect(&b, two, CONNACK5);
        exchange(&b, subscribe, "90 04 0001 00 01");
        client_close(&b);
        settle();
        world.server->config.kept_bytes = stats().kept_bytes;
        client_connect(&a, one, CONNACK5);
        assert_int_equal(view("dev1/y").waiting, 6);
        assert_int_equal(world.n_overflows, 0);
        exchange(&a, subscribe, "90 04 0001 00 01");
        client_close(&a);
        world.limits.queue_bytes = 1;
        client_connect(&b, two, CONNACK5);
        assert_in_range(world.n_overflows, 1, 6);
        client_close(&b);
}

/* Nor does a device that may not receive now, and whose queue would keep them. */
static void shared_with_some_closed(void **state)
{
        static const char subscribe[] = "82 14 0001 00 000e'$share/g/all/x' 01 ";
        Client a, b;
        world.subscribe = "all/#";
        client_connect(&a, CONNECT5, CONNACK5);
        exchange(&a, subscribe, "90 04 0001 00 01");
        client_connect_as(&b, "dev2", "10 11 0004'MQTT'05 02 003c 00 0004'dev2' ", CONNACK5);
        exchange(&b, subscribe, "90 04 0001 00 01");
        world.closed = "dev1";
        assert_int_equal(command("all/x", "1", 1), 1);
        assert_int_equal(command("all/x", "2", 1), 1);
        assert_out(&b, "32 0b 0005'all/x' 0001 00 '1' 32 0b 0005'all/x' 0002 00 '2'");
        exchange(&b, "40 02 0001 40 02 0002", "");
        client_close(&b);
        assert_int_equal(command("all/x", "3", 1), 1);
        world.closed = NULL;
        mqtt_server_device_changed(world.server, "dev1", world.now);
        assert_out(&a, "32 0b 0005'all/x' 0001 00 '3'");
        client_close(&a);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(forms),
                TEST(overlapping),
                TEST(identifiers_in_a_queue),
                TEST(no_local),
                TEST(the_device_itself),
                TEST(granted),
                TEST(replaced),
                TEST(shared),
                TEST(shares_apart),
                TEST(shared_with_some_away),
                TEST(shared_with_some_closed),
                TEST(handed_on),
                TEST(handed_on_in_bulk),
                TEST(handed_on_while_away),
                TEST(handed_on_in_a_full_store),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
