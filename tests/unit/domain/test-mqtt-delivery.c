/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The way out to one client: order, windows, limits, time, aliases, posture. */

#include "mqtt-bench.h"

#include "domain/mqtt-journal.h"

#define OTHER5 "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' "

static void window(void **state)
{
        Client c;
        client_connect(&c, CONNECT3, CONNACK3);
        exchange(&c, "82 13 0001 0005'cmd/#' 01 0006'cmd/on' 00", "90 04 0001 01 00");
        size_t wakes = c.n_wakes;
        assert_int_equal(command("dev1/cmd/on", "1", 1), 1);
        assert_true(c.n_wakes > wakes);
        assert_out(&c, "32 0b 0006'cmd/on' 0001 '1'");
        assert_int_equal(command("dev1/other", "1", 1), 0);
        assert_int_equal(command("rats/dev1/cmd", "1", 1), 0);
        /* the window is two: the third waits for a PUBACK, and QoS 0 behind it */
        command("dev1/cmd/b", "2", 1);
        assert_out(&c, "32 0a 0005'cmd/b' 0002 '2'");
        command("dev1/cmd/c", "3", 1);
        command("dev1/cmd/d", "4", 0);
        assert_out(&c, "");
        feed(&c, "40 02 0001");
        assert_out(&c, "32 0a 0005'cmd/c' 0003 '3' 30 08 0005'cmd/d' '4'");
        feed(&c, "40 02 7777"); /* nobody's */
        assert_false(mqtt_connection_has_ended(c.connection));
        world.closed = "dev1";
        assert_int_equal(command("dev1/cmd/d", "4", 0), 0);
        client_close(&c);
}

/* What the client says counts when it is less [MQTT-3.3.4-9]. */
static void receive_maximum(void **state)
{
        Client c;
        client_connect(&c, "10 14 0004'MQTT'05 02 003c 03 21 0001 0004'dev1'", CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 02", "90 04 0001 00 02");
        command("dev1/a", "1", 2);
        command("dev1/a", "2", 0); /* does not count, and overtakes nothing */
        command("dev1/a", "3", 1);
        command("dev1/a", "4", 0);
        assert_out(&c, "34 07 0001'a' 0001 00 '1' 30 05 0001'a' 00 '2'");
        exchange(&c, "50 02 0001", "62 02 0001");
        exchange(&c, "70 02 0001", "32 07 0001'a' 0002 00 '3' 30 05 0001'a' 00 '4'");
        client_close(&c);
}

/* [MQTT-4.4.0-1], -4.3.3-4: what is not acknowledged comes again under its identifier. */
static void sent_again(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, "82 0b 0001 00 0001'a' 02 0001'b' 01", "90 05 0001 00 02 01");
        command("dev1/a", "1", 2);
        command("dev1/b", "2", 1);
        settle();
        assert_out(&c, "34 07 0001'a' 0001 00 '1' 32 07 0001'b' 0002 00 '2'");
        client_close(&c);
        client_connect(&c, RESUME5, PRESENT5 "3c 07 0001'a' 0001 00 '1' 3a 07 0001'b' 0002 00 '2'");
        exchange(&c, "50 02 0001", "62 02 0001");
        client_close(&c);
        client_connect(&c, RESUME5, PRESENT5 "62 02 0001 3a 07 0001'b' 0002 00 '2'");
        exchange(&c, "70 02 0001 40 02 0002", "");
        client_leave_for_good(&c);
        assert_nothing_kept();
}

static void offline(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, "82 15 0001 00 0001'a' 02 000b'rats/dev1/+' 01", "90 05 0001 00 02 01");
        command("dev1/a", "1", 1);
        settle();
        assert_out(&c, "32 07 0001'a' 0001 00 '1'");
        client_close(&c);
        command("dev1/a", "2", 1);
        assert_int_equal(command("dev1/a", "-", 0), 0);
        assert_int_equal(command("rats/dev1/n", "-", 1), 0);
        assert_int_equal(command("dev1/a", "3", 2), 1);
        command("dev1/a", "4", 1);
        settle();
        assert_int_equal(view("dev1").waiting, 3);
        assert_int_equal(view("dev1").unacknowledged, 1);
        assert_true(view("dev1").kept && !view("dev1").connected);
        for (unsigned i = 0; i < 2; i++) {
                settle();
                if (i == 1)
                        crash();
                client_connect(&c, RESUME5,
                               i == 0 ? PRESENT5 "3a 07 0001'a' 0001 00 '1' "
                                                 "32 07 0001'a' 0002 00 '2'"
                                      : PRESENT5 "3a 07 0001'a' 0001 00 '1' "
                                                 "3a 07 0001'a' 0002 00 '2'");
                client_close(&c);
        }
        client_connect(&c, RESUME5, PRESENT5 "3a 07 0001'a' 0001 00 '1' 3a 07 0001'a' 0002 00 '2'");
        exchange(&c, "40 02 0001", "34 07 0001'a' 0003 00 '3'");
        exchange(&c, "40 02 0002", "32 07 0001'a' 0004 00 '4'");
        exchange(&c, "50 02 0003", "62 02 0003");
        exchange(&c, "70 02 0003 40 02 0004", "");
        assert_int_equal(view("dev1").waiting_bytes, 0);
        assert_int_equal(stats().kept_bytes, 0);
        client_leave_for_good(&c);
        assert_nothing_kept();
}

/* QoS 0 and answers of attestation are of the connection that they waited for. */
static void left_behind(void **state)
{
        Client c;
        client_connect(&c, BEGIN5, CONNACK5);
        exchange(&c, "82 15 0001 00 0001'a' 02 000b'rats/dev1/+' 01", "90 05 0001 00 02 01");
        command("dev1/a", "1", 1);
        command("dev1/a", "2", 1);
        command("dev1/a", "-", 0);
        command("rats/dev1/n", "-", 1);
        command("dev1/a", "3", 1);
        settle();
        assert_out(&c, "32 07 0001'a' 0001 00 '1' 32 07 0001'a' 0002 00 '2' 30 05 0001'a' 00 '-'");
        command("dev1/a", "-", 0);
        client_close(&c);
        assert_int_equal(view("dev1").waiting, 1);
        client_connect(&c, RESUME5, PRESENT5 "3a 07 0001'a' 0001 00 '1' 3a 07 0001'a' 0002 00 '2'");
        exchange(&c, "40 02 0001 40 02 0002", "32 07 0001'a' 0004 00 '3'");
        client_close(&c);
}

/* A queue goes on behind what was in it before the restart. */
static void longer_after_a_restart(void **state)
{
        Client c;
        client_connect(&c, BEGIN5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        client_close(&c);
        settle();
        for (unsigned i = 1; i <= 3; i++) {
                char payload[] = { (char)('0' + i), 0 };
                assert_int_equal(command("dev1/a", payload, 1), 1);
                settle();
                crash();
        }
        client_connect(&c, RESUME5, PRESENT5 "32 07 0001'a' 0001 00 '1' 32 07 0001'a' 0002 00 '2'");
        exchange(&c, "40 02 0001", "32 07 0001'a' 0003 00 '3'");
        client_close(&c);
}

/* A client whose session is kept hears nothing that a crash would take back; QoS 0 stays in its
 * place. Others do not wait. */
static void durable_first(void **state)
{
        Client c, other;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        client_connect(&other, OTHER5, CONNACK5);
        exchange(&other, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        command("dev1/a", "1", 1);
        command("dev1/a", "2", 0);
        assert_out(&c, "");
        assert_out(&other, "32 07 0001'a' 0001 00 '1' 30 05 0001'a' 00 '2'");
        settle();
        assert_out(&c, "32 07 0001'a' 0001 00 '1' 30 05 0001'a' 00 '2'");
        feed(&other, "32 07 0001'a' 0001 00 '3'");
        assert_out(&c, "");
        assert_out(&other, "32 07 0001'a' 0002 00 '3'");
        settle();
        assert_out(&c, "32 07 0001'a' 0002 00 '3'");
        assert_out(&other, "40 02 0001");
        client_close(&c);
        client_close(&other);
}

/* A message that its publisher heard was not taken is nobody's, and holds nobody up. */
static void lost(void **state)
{
        Client c, other;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        client_connect(&other, OTHER5, CONNACK5);
        feed(&other, "32 07 0001'a' 0001 00 '1' 30 05 0001'a' 00 '2'");
        command("dev1/a", "3", 0);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_out(&other, "40 03 0001 97");
        assert_out(&c, "30 05 0001'a' 00 '2' 30 05 0001'a' 00 '3'");
        assert_int_equal(view("dev1").waiting, 0);
        assert_int_equal(stats().kept_bytes, 0);
        client_close(&c);
        client_close(&other);
}

/* A message that waits longer than it is good for does not come any more. */
static void in_time(void **state)
{
        for (unsigned after = 9; after <= 11; after += 2) {
                Client c;
                client_connect(&c, CONNECT5, CONNACK5);
                feed(&c, "82 07 0001 00 0001'#' 01");
                command("dev1/a", "1", 1);
                command("dev1/b", "2", 1);
                feed(&c, "32 0c 0001's' 0001 05 02 0000000a '5'"); /* good for ten seconds */
                settle();
                buf_clear(&c.out);
                mqtt_world_pass(&world, after);
                exchange(&c, "40 02 0001",
                         after < 10 ? "32 0c 0001's' 0003 05 02 00000001 '5'" : "");
                client_close(&c);
        }
}

/* Neither for a client that was away, with or without a restart. */
static void in_time_offline(void **state)
{
        for (unsigned restarts = 0; restarts <= 1; restarts++) {
                Client c, other;
                client_connect(&c, BEGIN5, CONNACK5);
                exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
                client_close(&c);
                client_connect(&other, OTHER5, CONNACK5);
                exchange(&other, "32 0c 0001'a' 0001 05 02 0000000a '5' 32 07 0001'a' 0001 00 '6'",
                         "40 02 0001 40 02 0001");
                client_close(&other);
                mqtt_world_pass(&world, 11);
                if (restarts > 0)
                        crash();
                client_connect(&c, RESUME5, PRESENT5 "32 07 0001'a' 0002 00 '6'");
                client_close(&c);
        }
}

/* One whose delivery may have begun comes again nevertheless (section 4.4). */
static void in_time_begun(void **state)
{
        for (unsigned restarts = 0; restarts <= 1; restarts++) {
                Client c, other;
                client_connect(&c, BEGIN5, CONNACK5);
                exchange(&c, "82 07 0001 00 0001'a' 02", "90 04 0001 00 02");
                client_connect(&other, OTHER5, CONNACK5);
                exchange(&other, "34 0c 0001'a' 0001 05 02 0000000a '5'", "50 02 0001");
                assert_out(&c, "34 0c 0001'a' 0001 05 02 0000000a '5'");
                client_close(&other);
                client_close(&c);
                settle();
                mqtt_world_pass(&world, 11);
                if (restarts > 0)
                        crash();
                client_connect(&c, RESUME5, PRESENT5 "3c 0c 0001'a' 0001 05 02 00000000 '5'");
                client_close(&c);
        }
}

static void slow_reader(void **state)
{
        static char big[601];
        Client c;
        memset(big, 'x', 600);
        world.limits.queue_bytes = 8192;
        client_connect(&c, CONNECT3, CONNACK3);
        exchange(&c, "82 06 0001 0001'#' 00", "90 03 0001 00");
        for (size_t i = 0; i < 20; i++)
                command("dev1/a", big, 0);
        assert_false(mqtt_connection_has_ended(c.connection)); /* QoS 0: dropped */
        assert_true(buf_len(&c.out) <= c.out.max);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_BLOCKED);
        buf_clear(&c.out);
        mqtt_connection_drained(c.connection, world.now);
        assert_true(buf_len(&c.out) > 1200); /* what waited */
        while (buf_len(&c.out) > 0) {
                buf_clear(&c.out);
                mqtt_connection_drained(c.connection, world.now);
        }
        feed(&c, "82 06 0001 0001'#' 01");
        for (size_t i = 0; i < 20; i++)
                command("dev1/a", big, 1);
        assert_ended(&c, MQTT_QUOTA_EXCEEDED); /* QoS 1 is a promise */
        client_close(&c);
}

/* Has subscribed to all, and is gone. */
static void away(Client *c)
{
        client_connect(c, BEGIN5, CONNACK5);
        exchange(c, "82 07 0001 00 0001'#' 02", "90 04 0001 00 02");
        client_close(c);
}

/* Who is away loses the newest ones, and that is told. */
static void overflow(void **state)
{
        static char big[601];
        Client c;
        memset(big, 'x', 600);
        world.limits.queue_bytes = 2048 + 683; /* a quarter is not for who is away */
        away(&c);
        assert_int_equal(command("dev1/a", big, 1), 1);
        assert_int_equal(command("dev1/b", big, 1), 1);
        assert_int_equal(command("dev1/c", big, 1), 0);
        assert_int_equal(world.n_overflows, 1);
        assert_int_equal(command("dev1/d", "4", 1), 1);
        settle();
        assert_int_equal(view("dev1").dropped, 1);
        assert_int_equal(view("dev1").waiting, 3);
        assert_in_range(view("dev1").waiting_bytes, 1200, 2048);
        client_connect(&c, RESUME5, NULL);
        assert_int_equal(buf_view(&c.out).data[16], 0x32);
        buf_clear(&c.out);
        feed(&c, "40 02 0001");
        assert_out(&c, "32 07 0001'd' 0003 00 '4'");
        client_close(&c);
        mqtt_world_pass(&world, 101);
        assert_nothing_kept();
}

/* Any message is taken when nothing else waits [MQTT-4.5.0-1], unless the whole store is full. */
static void room_for_one(void **state)
{
        static const struct {
                uint64_t queue, kept;
                int taken;
        } t[] = { { 1, UINT64_MAX, 1 }, { 16384, 750, 1 }, { 16384, 1, 0 } };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                world.limits.queue_bytes = t[i].queue;
                world.config.kept_bytes = t[i].kept;
                crash();
                away(&c);
                assert_int_equal(command("dev1/a", "1", 1), t[i].taken);
                assert_int_equal(command("dev1/a", "2", 1), 0);
                assert_int_equal(world.n_overflows, 2 - (size_t)t[i].taken);
                world.n_overflows = 0;
                settle();
                client_connect(&c, RESUME5,
                               t[i].taken ? PRESENT5 "32 07 0001'a' 0001 00 '1'" : PRESENT5);
                client_leave_for_good(&c);
                assert_nothing_kept();
        }
}

/* By others: a client that has read all it got is not sent away for that. */
static void store_is_full(void **state)
{
        Client c, other;
        world.config.kept_bytes = 750;
        crash();
        away(&c);
        assert_int_equal(command("dev1/a", "1", 1), 1);
        settle();
        client_connect(&other, "10 18 0004'MQTT'05 00 003c 05 11 00000064 0006'dev1/x' ", CONNACK5);
        exchange(&other, "82 07 0001 00 0001'b' 01", "90 04 0001 00 01");
        assert_int_equal(command("dev1/b", "1", 1), 0);
        assert_false(mqtt_connection_has_ended(other.connection));
        assert_int_equal(command("dev1/b", "2", 0), 1);
        settle();
        assert_out(&other, "30 05 0001'b' 00 '2'");
        assert_int_equal(world.n_overflows, 2); /* of the client that is away too */
        client_leave_for_good(&other);
        mqtt_world_pass(&world, 101);
        assert_nothing_kept();
}

/* [MQTT-3.3.2-5], -6; what has expired makes room, before anybody has looked. */
static void room_of_the_expired(void **state)
{
        Client c, other;
        away(&c);
        client_connect(&other, OTHER5, CONNACK5);
        exchange(&other,
                 "32 0c 0001'a' 0001 05 02 0000000a '1' 32 0c 0001'a' 0001 05 02 00000014 '2'",
                 "40 02 0001 40 02 0001");
        assert_int_equal(view("dev1").waiting, 2);
        world.limits.queue_bytes = (view("dev1").waiting_bytes * 4 + 2) / 3;
        assert_int_equal(command("dev1/a", "3", 1), 0);
        world.now += 11 * USEC_PER_SEC;
        assert_int_equal(command("dev1/a", "4", 1), 1);
        settle();
        world.now += USEC_PER_SEC;
        client_connect(&c, RESUME5,
                       PRESENT5 "32 0c 0001'a' 0002 05 02 00000008 '2' "
                                "32 07 0001'a' 0003 00 '4'");
        assert_int_equal(view("dev1").dropped, 2);
        client_leave_for_good(&c);
        client_leave(&other);
        assert_nothing_kept();
}

/* What waits for clients that are away leaves room for one that listens. */
static void room_beside_one_that_is_away(void **state)
{
        Client c, other;
        world.limits.queue_bytes = 4096;
        away(&c);
        while (command("dev1/a", "1", 1) == 1)
                ;
        assert_in_range(view("dev1").waiting_bytes, 2560, 3072);
        settle();
        client_connect(&other, OTHER5, CONNACK5);
        exchange(&other, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        assert_int_equal(command("dev1/a", "2", 0), 1);
        assert_int_equal(command("dev1/a", "3", 1), 1);
        assert_int_equal(command("dev1/a", "4", 1), 1);
        assert_out(&other,
                   "30 05 0001'a' 00 '2' 32 07 0001'a' 0001 00 '3' 32 07 0001'a' 0002 00 '4'");
        client_leave(&other);
        mqtt_world_pass(&world, 101);
        assert_nothing_kept();
}

/* What waited for one whose session has ended, be it kept or not, takes no room any more. */
static void room_of_one_that_left(void **state)
{
        static const char *const connects[] = { CONNECT5, BEGIN5 };
        for (size_t i = 0; i < ELEMENTSOF(connects); i++) {
                Client c, other;
                world.limits.queue_bytes = UINT64_MAX;
                client_connect(&other, OTHER5, CONNACK5);
                exchange(&other, "82 07 0001 00 0001'b' 01", "90 04 0001 00 01");
                client_connect(&c, connects[i], CONNACK5);
                exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
                for (unsigned n = 0; n < 3; n++)
                        command("dev1/a", "1", 1);
                settle();
                world.limits.queue_bytes = view("dev1").waiting_bytes;
                client_leave_for_good(&c);
                for (unsigned n = 0; n < 3; n++)
                        assert_int_equal(command("dev1/b", "1", 1), 1);
                assert_int_equal(view("dev1/x").waiting_bytes, world.limits.queue_bytes);
                client_close(&other);
        }
}

/* What is dropped goes off the disk whatever becomes of a message of others, with which it would
 * stand in one group: when the posture opens, the output drains, the disk answers. */
static void dropped_apart(void **state)
{
        for (unsigned i = 0; i < 3; i++) {
                Client c, other;
                client_connect(&c,
                               "10 1b 0004'MQTT'05 02 003c 0a 11 00000064 27 00000014 0004'dev1' ",
                               CONNACK5);
                client_connect(&other, OTHER5, CONNACK5);
                exchange(&c, "82 07 0001 00 0001'#' 01", "90 04 0001 00 01");
                world.closed = "dev1";
                exchange(&other, "32 0c 0001'a' 0001 05 02 0000000a '1'", "40 02 0001");
                world.now += 11 * USEC_PER_SEC; /* it has expired */
                world.closed = i < 2 ? "dev1" : NULL;
                feed(&other, "32 16 0001'b' 0002 00 '1234567890123456'"); /* too large */
                if (i < 2)
                        settle();
                feed(&other, "32 07 0001'c' 0003 00 '1'");
                world.closed = NULL;
                if (i == 0)
                        mqtt_server_device_changed(world.server, "dev1", world.now);
                else if (i == 1)
                        mqtt_connection_drained(c.connection, world.now);
                else
                        mqtt_disk_settle(&world.disk);
                assert_out(&c, "");
                settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
                settle();
                assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_QUEUED), 0);
                client_close(&c);
                client_close(&other);
        }
}

/* [MQTT-3.1.2-24], -25: as if it had been delivered. */
static void larger_than_the_client_takes(void **state)
{
        Client c;
        client_connect(&c, "10 1b 0004'MQTT'05 00 003c 0a 11 00000064 27 00000014 0004'dev1' ",
                       CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 01", "90 04 0001 00 01");
        command("dev1/a", "1234567890123", 1);
        command("dev1/a", "123456789012", 1);
        settle();
        assert_out(&c, "32 12 0001'a' 0002 00 '123456789012'");
        assert_int_equal(view("dev1").dropped, 1);
        assert_int_equal(view("dev1").waiting, 0);
        client_close(&c);
}

/* Section 3.3.2.3.4. */
static void aliases(void **state)
{
        Client c;
        client_connect(&c, "10 14 0004'MQTT'05 02 003c 03 22 0002 0004'dev1'", CONNACK5);
        exchange(&c, "82 07 0001 00 0001'#' 00", "90 04 0001 00 00");
        command("dev1/long/1", "1", 0);
        assert_out(&c, "30 0d 0006'long/1' 03 23 0001 '1'");
        command("dev1/long/1", "2", 0);
        assert_out(&c, "30 07 0000 03 23 0001 '2'");
        command("dev1/long/2", "3", 0);
        assert_out(&c, "30 0d 0006'long/2' 03 23 0002 '3'");
        command("dev1/long/1", "4", 0);
        command("dev1/long/3", "5", 0); /* in place of the one that rested longest */
        assert_out(&c, "30 07 0000 03 23 0001 '4' 30 0d 0006'long/3' 03 23 0002 '5'");
        command("dev1/s", "6", 0); /* shorter than what an alias costs */
        assert_out(&c, "30 05 0001's' 00 '6'");
        client_close(&c);
        client_connect(&c, "10 14 0004'MQTT'05 02 003c 03 22 0002 0004'dev1'", CONNACK5);
        exchange(&c, "82 07 0001 00 0001'#' 00", "90 04 0001 00 00");
        command("dev1/long/1", "1", 0); /* of another connection: learnt anew */
        assert_out(&c, "30 0d 0006'long/1' 03 23 0001 '1'");
        client_close(&c);
        client_connect(&c, "10 19 0004'MQTT'05 02 003c 08 22 0002 27 00000014 0004'dev1'",
                       CONNACK5);
        exchange(&c, "82 07 0001 00 0001'#' 00", "90 04 0001 00 00");
        command("dev1/abcd", "1234567890", 0); /* too large: taught the client nothing */
        command("dev1/abcd", "1", 0);
        assert_out(&c, "30 0b 0004'abcd' 03 23 0001 '1'");
        client_close(&c);
}

/* While the posture is closed, QoS 1 and 2 wait; attestation goes on. */
static void posture(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'a' 02 82 11 0001 00 000b'rats/dev1/+' 01",
                 "90 04 0001 00 02 90 04 0001 00 01");
        world.closed = "dev1";
        command("dev1/a", "1", 1);
        command("dev1/a", "-", 0);
        command("dev1/a", "2", 2);
        command("rats/dev1/n", "n", 1);
        settle();
        assert_out(&c, "32 11 000b'rats/dev1/n' 0003 00 'n'");
        mqtt_server_device_changed(world.server, "dev1", world.now);
        assert_out(&c, "");
        crash(); /* attestation's answers are of this connection alone */
        client_connect(&c, RESUME5, PRESENT5);
        world.closed = NULL;
        mqtt_server_device_changed(world.server, "dev2", world.now);
        assert_out(&c, "");
        mqtt_server_device_changed(world.server, "dev1", world.now);
        assert_out(&c, "3a 07 0001'a' 0001 00 '1' 3c 07 0001'a' 0002 00 '2'");
        exchange(&c, "40 02 0001 50 02 0002", "62 02 0002");
        world.closed = "dev1";
        command("rats/dev1/n", "m", 1);
        client_close(&c);
        client_connect(&c, RESUME5, PRESENT5 "3a 11 000b'rats/dev1/n' 0003 00 'm'");
        world.closed = NULL;
        mqtt_server_device_changed(world.server, "dev1", world.now);
        assert_out(&c, "62 02 0002");
        client_close(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(window),
                TEST(receive_maximum),
                TEST(sent_again),
                TEST(offline),
                TEST(left_behind),
                TEST(longer_after_a_restart),
                TEST(durable_first),
                TEST(lost),
                TEST(in_time),
                TEST(in_time_offline),
                TEST(in_time_begun),
                TEST(slow_reader),
                TEST(overflow),
                TEST(room_for_one),
                TEST(store_is_full),
                TEST(room_of_the_expired),
                TEST(room_beside_one_that_is_away),
                TEST(room_of_one_that_left),
                TEST(dropped_apart),
                TEST(larger_than_the_client_takes),
                TEST(aliases),
                TEST(posture),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
