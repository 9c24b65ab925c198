/* SPDX-License-Identifier: GPL-3.0-or-later */

/* QoS 2 in both directions, and the way out to one client: its queue while it is away, what the
 * client takes, and what waits for the disk. */

#include "../unit.h"

#include "mqtt-fixture.h"

/* Section 4.3.3: taken once, however often it is sent before PUBREL. */
static void received_once(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0001 00 'x' 3c 07 0001'a' 0001 00 'x'");
        assert_out(&c, "50 02 0001 50 02 0001");
        assert_int_equal(disk.n_submitted, 1);
        feed(&c, "62 02 0001 62 02 0001");
        assert_out(&c, "70 02 0001 70 03 0001 92");
        feed(&c, "34 07 0001'a' 0001 00 'y'");
        assert_out(&c, "50 02 0001");
        assert_int_equal(disk.n_submitted, 2);
        leave(&c);

        open_connected(&c, CONNECT3, CONNACK3); /* 3.1.1 has no codes */
        feed(&c, "62 02 0007");
        assert_out(&c, "70 02 0007");
        leave(&c);
        assert_nothing_kept();
}

/* It came before, but whether it stays is not known yet: both answers say the same. */
static void received_again_before_durable(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0001 00 'x' 3c 07 0001'a' 0001 00 'x'");
        assert_out(&c, "");
        durable(0);
        assert_out(&c, "50 02 0001");
        durable(1);
        assert_out(&c, "50 02 0001");
        feed(&c, "34 07 0001'a' 0002 00 'x' 3c 07 0001'a' 0002 00 'x'");
        settle(2, MQTT_QUOTA_EXCEEDED, NULL);
        durable(3);
        assert_out(&c, "50 03 0002 97 50 03 0002 80");
        feed(&c, "34 07 0001'a' 0002 00 'x'"); /* as a new one */
        assert_int_equal(disk.n_submitted, 3);
        durable(4);
        assert_out(&c, "50 02 0002");
        leave(&c);
}

/* The barrier of the second answer fails: what counts is what became of the message. */
static void received_again_without_barrier(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0001 00 'x' 3c 07 0001'a' 0001 00 'x'");
        durable(0);
        settle(1, MQTT_UNSPECIFIED_ERROR, NULL);
        assert_out(&c, "50 02 0001 50 02 0001");
        feed(&c, "3c 07 0001'a' 0001 00 'x'");
        assert_int_equal(disk.n_submitted, 1);
        durable(2);
        assert_out(&c, "50 02 0001");
        disk.no_barrier = true;
        feed(&c, "3c 07 0001'a' 0001 00 'x'");
        assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
        client_close(&c);
        assert_nothing_kept();
}

static void received_and_refused(void **state)
{
        Client c;
        disk.refuse = disk.refuse_attestation = MQTT_QUOTA_EXCEEDED;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0001 00 'x' 62 02 0001");
        assert_out(&c, "50 0e 0001 97 0a 1f 0007'refused' 70 03 0001 92");
        feed(&c, "34 0c 0006'dev2/a' 0002 00 'x' 62 02 0002");
        assert_out(&c, "50 14 0002 87 10 1f 000d'foreign-topic' 70 03 0002 92");
        feed(&c, "34 11 000b'rats/dev1/c' 0003 00 'x' 62 02 0003");
        assert_out(&c, "50 0e 0003 97 0a 1f 0007'refused' 70 03 0003 92");
        disk.refuse_attestation = MQTT_SUCCESS;
        feed(&c, "34 11 000b'rats/dev1/c' 0003 00 'x' 3c 11 000b'rats/dev1/c' 0003 00 'x'");
        assert_out(&c, "50 02 0003 50 02 0003");
        assert_int_equal(disk.n_submitted, 2);
        leave(&c);
}

/* [MQTT-4.1.0-1]: the identifiers are part of the session. */
static void received_across_connections(void **state)
{
        Client c;
        open_connected(&c, KEPT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0001 00 'x'");
        assert_out(&c, "50 02 0001");
        client_close(&c);
        open_connected(&c, KEPT5, CONNACK5_PRESENT);
        feed(&c, "3c 07 0001'a' 0001 00 'x'");
        assert_out(&c, "50 02 0001");
        assert_int_equal(disk.n_submitted, 1);
        disk.slow = true;
        feed(&c, "62 02 0001");
        assert_out(&c, ""); /* the identifier is free once that is on disk */
        durable(0);
        assert_out(&c, "70 02 0001");
        disk.slow = false;
        leave_for_good(&c);
        assert_nothing_kept();
}

/* Section 4.9: QoS 2 counts until PUBCOMP, whatever that says, and not twice. */
static void receive_maximum_in(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0001 00 'x' 34 07 0001'a' 0002 00 'x' 34 07 0001'a' 0003 00 'x' "
                 "34 07 0001'a' 0004 00 'x' 3c 07 0001'a' 0001 00 'x' 62 02 0001 62 02 0001");
        assert_out(&c, "50 02 0001 50 02 0002 50 02 0003 50 02 0004 50 02 0001 70 02 0001 "
                       "70 03 0001 92");
        feed(&c, "34 07 0001'a' 0005 00 'x' 34 07 0001'a' 0007 00 'x'");
        assert_out(&c, "50 02 0005 50 02 0007");
        feed(&c, "32 07 0001'a' 0006 00 'x'");
        assert_ended(&c, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
        client_close(&c);
}

/* A message that was refused does not make room twice when it had been sent twice. */
static void receive_maximum_of_repeated(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0001 00 'x' 3c 07 0001'a' 0001 00 'x' 34 07 0001'a' 0002 00 'x' "
                 "34 07 0001'a' 0003 00 'x' 34 07 0001'a' 0004 00 'x'");
        settle(0, MQTT_QUOTA_EXCEEDED, NULL);
        durable(1);
        assert_out(&c, "50 03 0001 97 50 03 0001 80");
        feed(&c, "34 07 0001'a' 0005 00 'x'");
        assert_false(mqtt_connection_has_ended(c.connection));
        feed(&c, "34 07 0001'a' 0006 00 'x'");
        assert_ended(&c, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
        client_close(&c);
}

static void sent_once(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'a' 02");
        buf_clear(&c.out);
        publish("dev1/a", "1", 2);
        assert_out(&c, "34 07 0001'a' 0001 00 '1'");
        feed(&c, "50 02 0001 50 02 0001");
        assert_out(&c, "62 02 0001 62 02 0001");
        feed(&c, "70 02 0001 70 02 0001");
        assert_out(&c, "");
        feed(&c, "50 02 0001");
        assert_out(&c, "62 03 0001 92");
        feed(&c, "50 03 0001 80"); /* nothing to release */
        assert_out(&c, "");
        assert_int_equal(view("dev1").unacknowledged, 0);
        leave(&c);

        open_connected(&c, CONNECT3, CONNACK3);
        feed(&c, "50 02 0001");
        assert_out(&c, "62 02 0001");
        leave(&c);
}

/* [MQTT-4.3.3-9]: the client does not want it. */
static void sent_and_refused(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'a' 02");
        buf_clear(&c.out);
        publish("dev1/a", "1", 2);
        publish("dev1/a", "2", 2);
        publish("dev1/a", "3", 2);
        assert_out(&c, "34 07 0001'a' 0001 00 '1' 34 07 0001'a' 0002 00 '2'");
        feed(&c, "50 03 0001 80"); /* its place in the window is free */
        assert_out(&c, "34 07 0001'a' 0003 00 '3'");
        feed(&c, "50 02 0002 50 03 0002 80");
        assert_out(&c, "62 02 0002");
        assert_int_equal(view("dev1").unacknowledged, 1);
        leave(&c);
}

static void wrong_acknowledgements(void **state)
{
        static const struct {
                uint8_t qos;
                const char *in;
        } t[] = {
                { 1, "50 02 0001" },
                { 1, "70 02 0001" },
                { 2, "40 02 0001" },
                { 2, "70 02 0001" },
                { 2, "50 02 0001 40 02 0001" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                open_connected(&c, CONNECT5, CONNACK5);
                feed(&c, "82 07 0001 00 0001'a' 02");
                publish("dev1/a", "1", t[i].qos);
                feed(&c, t[i].in);
                assert_ended(&c, MQTT_PROTOCOL_ERROR);
                client_close(&c);
        }
}

/* [MQTT-4.4.0-1], -4.3.3-4: what is not acknowledged comes again under its identifier. */
static void sent_again(void **state)
{
        Client c;
        open_connected(&c, KEPT5, CONNACK5);
        feed(&c, "82 0b 0001 00 0001'a' 02 0001'b' 01");
        buf_clear(&c.out);
        publish("dev1/a", "1", 2);
        publish("dev1/b", "2", 1);
        assert_out(&c, "34 07 0001'a' 0001 00 '1' 32 07 0001'b' 0002 00 '2'");
        client_close(&c);
        open_connected(&c, KEPT5,
                       CONNACK5_PRESENT "3c 07 0001'a' 0001 00 '1' 3a 07 0001'b' 0002 00 '2'");
        disk.slow = true;
        feed(&c, "50 02 0001"); /* it must not be sent again once the client hears PUBREL */
        assert_out(&c, "");
        durable(0);
        assert_out(&c, "62 02 0001");
        disk.slow = false;
        client_close(&c);
        open_connected(&c, KEPT5, CONNACK5_PRESENT "62 02 0001 3a 07 0001'b' 0002 00 '2'");
        feed(&c, "70 02 0001 40 02 0002");
        assert_out(&c, "");
        leave_for_good(&c);
        assert_nothing_kept();
}

/* [MQTT-4.3.3], -3.3.4: the window is the client's Receive Maximum; QoS 0 does not count, and does
 * not overtake. */
static void receive_maximum_out(void **state)
{
        Client c;
        open_connected(&c, "10 14 0004'MQTT'05 02 003c 03 21 0001 0004'dev1'", CONNACK5);
        feed(&c, "82 07 0001 00 0001'#' 02");
        buf_clear(&c.out);
        publish("dev1/a", "1", 2);
        publish("dev1/a", "2", 0);
        publish("dev1/a", "3", 1);
        publish("dev1/a", "4", 0);
        assert_out(&c, "34 07 0001'a' 0001 00 '1' 30 05 0001'a' 00 '2'");
        feed(&c, "50 02 0001");
        assert_out(&c, "62 02 0001");
        feed(&c, "70 02 0001");
        assert_out(&c, "32 07 0001'a' 0002 00 '3' 30 05 0001'a' 00 '4'");
        leave(&c);
}

/* [MQTT-3.1.2-25]: too large for this client, as if it had been delivered. */
static void maximum_packet_size(void **state)
{
        Client c;
        open_connected(&c, "10 16 0004'MQTT'05 02 003c 05 27 00000014 0004'dev1'", CONNACK5);
        feed(&c, "82 07 0001 00 0001'#' 01");
        buf_clear(&c.out);
        publish("dev1/a", "1234567890abcd", 1);
        publish("dev1/a", "1234567890a", 1);
        assert_out(&c, "32 11 0001'a' 0002 00 '1234567890a'");
        assert_int_equal(view("dev1").dropped, 1);
        assert_int_equal(view("dev1").waiting, 0);
        leave(&c);
}

/* Section 3.3.2.3.4: the topic once, then its number, as many as the client allows. */
static void aliases_out(void **state)
{
        static const char connect[] = "10 14 0004'MQTT'05 02 003c 03 22 0001 0004'dev1'";
        for (unsigned i = 0; i < 2; i++) { /* a new connection begins anew */
                Client c;
                open_connected(&c, connect, CONNACK5);
                feed(&c, "82 07 0001 00 0001'#' 01");
                buf_clear(&c.out);
                publish("dev1/abcd", "1", 0);
                publish("dev1/abcd", "2", 0);
                assert_out(&c, "30 0b 0004'abcd' 03 23 0001 '1' 30 07 0000 03 23 0001 '2'");
                publish("dev1/efgh", "3", 0);
                publish("dev1/abcd", "4", 0);
                assert_out(&c, "30 0b 0004'efgh' 03 23 0001 '3' 30 0b 0004'abcd' 03 23 0001 '4'");
                publish("dev1/a", "5", 0); /* not worth one */
                assert_out(&c, "30 05 0001'a' 00 '5'");
                leave(&c);
        }
}

/* [MQTT-3.3.4-3], -5: all that match, in one copy. */
static void subscription_ids(void **state)
{
        Client c;
        open_connected(&c, KEPT5, CONNACK5);
        feed(&c, "82 09 0001 02 0b 07 0001'a' 01 82 0a 0001 03 0b 8001 0001'+' 00 "
                 "82 07 0001 00 0001'#' 00");
        buf_clear(&c.out);
        publish("dev1/a", "1", 1);
        assert_out(&c, "32 0c 0001'a' 0001 05 0b 07 0b 8001 '1'");
        client_close(&c);
        publish("dev1/a", "2", 1);
        open_connected(&c, KEPT5,
                       CONNACK5_PRESENT "3a 0c 0001'a' 0001 05 0b 07 0b 8001 '1' "
                                        "32 0c 0001'a' 0002 05 0b 07 0b 8001 '2'");
        feed(&c, "82 07 0001 00 0001'a' 01"); /* [MQTT-3.8.4-3]: replaced, without one */
        buf_clear(&c.out);
        feed(&c, "40 02 0001 40 02 0002");
        publish("dev1/a", "3", 1);
        assert_out(&c, "32 0a 0001'a' 0003 03 0b 8001 '3'");
        leave_for_good(&c);
        assert_nothing_kept();
}

/* [MQTT-3.8.3-3]: to the others alone. */
static void no_local(void **state)
{
        Client c, d;
        open_connected(&c, CONNECT5, CONNACK5);
        open_connected(&d, OTHER5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'a' 04");
        feed(&d, "82 07 0001 00 0001'a' 00");
        buf_clear(&c.out);
        buf_clear(&d.out);
        feed(&c, "30 05 0001'a' 00 '1'");
        feed(&d, "30 05 0001'a' 00 '2'");
        assert_out(&c, "30 05 0001'a' 00 '2'");
        assert_out(&d, "30 05 0001'a' 00 '1' 30 05 0001'a' 00 '2'");
        leave(&c);
        leave(&d);
}

static void away(Client *c)
{
        open_connected(c, KEPT5, CONNACK5);
        feed(c, "82 07 0001 00 0001'#' 02");
        client_close(c);
}

static void queue_while_away(void **state)
{
        Client c;
        away(&c);
        assert_int_equal(publish("dev1/a", "1", 1), 1);
        assert_int_equal(publish("dev1/a", "2", 2), 1);
        assert_int_equal(publish("dev1/a", "3", 0), 0);
        assert_int_equal(publish("rats/dev1/n", "4", 1), 0);
        assert_int_equal(publish("dev1/a", "5", 1), 1);
        assert_int_equal(view("dev1").waiting, 3);
        assert_false(view("dev1").connected);
        assert_true(view("dev1").kept);
        open_connected(&c, KEPT5,
                       CONNACK5_PRESENT "32 07 0001'a' 0001 00 '1' 34 07 0001'a' 0002 00 '2'");
        feed(&c, "40 02 0001");
        assert_out(&c, "32 07 0001'a' 0003 00 '5'");
        feed(&c, "50 02 0002 70 02 0002 40 02 0003");
        assert_int_equal(view("dev1").waiting_bytes, 0);
        assert_int_equal(stats().kept_bytes, 0);
        leave_for_good(&c);
        assert_nothing_kept();
}

/* The device's own limit: what came first stays. */
static void queue_overflows(void **state)
{
        Client c;
        disk.limits.queue_bytes = 512;
        away(&c);
        unsigned n = 0;
        while (publish("dev1/a", "1", 1) == 1)
                n++;
        assert_in_range(n, 1, 4);
        assert_int_equal(disk.n_overflows, 1);
        assert_int_equal(view("dev1").dropped, 1);
        assert_int_equal(view("dev1").waiting, n);
        assert_in_range(view("dev1").waiting_bytes, 1, 512);
        tick(101 * USEC_PER_SEC);
        assert_nothing_kept();
        /* any message is taken when nothing else waits: [MQTT-4.5.0-1] */
        disk.limits.queue_bytes = 1;
        away(&c);
        assert_int_equal(publish("dev1/a", "1", 1), 1);
        assert_int_equal(publish("dev1/a", "2", 1), 0);
        open_connected(&c, KEPT5, CONNACK5_PRESENT "32 07 0001'a' 0001 00 '1'");
        leave_for_good(&c);
}

/* All devices together. */
static void store_overflows(void **state)
{
        Client c;
        config.kept_bytes = 512;
        restart();
        away(&c);
        unsigned n = 0;
        while (publish("dev1/a", "1", 1) == 1)
                n++;
        assert_int_equal(n, 1);
        assert_int_equal(disk.n_overflows, 1);
        open_connected(&c, KEPT5, CONNACK5_PRESENT "32 07 0001'a' 0001 00 '1'");
        leave_for_good(&c);
        assert_nothing_kept();
}

/* [MQTT-3.3.2-5], -6; what has expired makes room. */
static void queue_expires(void **state)
{
        Client c, d;
        away(&c);
        open_connected(&d, OTHER5, CONNACK5);
        feed(&d, "32 0c 0001'a' 0001 05 02 0000000a '1' 32 0c 0001'a' 0001 05 02 00000014 '2'");
        assert_int_equal(view("dev1").waiting, 2);
        disk.limits.queue_bytes = view("dev1").waiting_bytes;
        assert_int_equal(publish("dev1/a", "3", 1), 0);
        assert_int_equal(publish_at("dev1/a", "4", 1, 11 * USEC_PER_SEC), 1);
        open_as(&c, "dev1");
        feed_at(&c, KEPT5, 12 * USEC_PER_SEC);
        assert_out(&c, CONNACK5_PRESENT "32 0c 0001'a' 0002 05 02 00000008 '2' "
                                        "32 07 0001'a' 0003 00 '4'");
        assert_int_equal(view("dev1").dropped, 2);
        leave_for_good(&c);
        leave(&d);
        assert_nothing_kept();
}

/* A device that is cut off: its messages wait, those of attestation do not. */
static void closed_posture(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "82 15 0001 00 0001'a' 01 000b'rats/dev1/n' 01");
        buf_clear(&c.out);
        disk.closed = "dev1";
        assert_int_equal(publish("dev1/a", "1", 1), 1);
        assert_int_equal(publish("dev1/a", "2", 0), 0);
        assert_int_equal(publish("rats/dev1/n", "3", 1), 1);
        assert_out(&c, "32 11 000b'rats/dev1/n' 0002 00 '3'");
        mqtt_server_device_changed(server, "dev1", 0);
        assert_out(&c, "");
        disk.closed = NULL;
        mqtt_server_device_changed(server, "dev2", 0);
        assert_out(&c, "");
        mqtt_server_device_changed(server, "dev1", 0);
        assert_out(&c, "32 07 0001'a' 0001 00 '1'");
        leave(&c);
}

/* A client whose session is kept hears nothing that a crash would take back. */
static void after_the_disk(void **state)
{
        Client c, d;
        open_connected(&c, KEPT5, CONNACK5);
        open_connected(&d, OTHER5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'a' 01");
        feed(&d, "82 07 0001 00 0001'a' 01");
        buf_clear(&c.out);
        buf_clear(&d.out);
        disk.slow = true;
        feed(&d, "32 07 0001'a' 0001 00 '1' 30 05 0001'a' 00 '2'");
        assert_out(&c, "");
        assert_out(&d, "32 07 0001'a' 0001 00 '1' 30 05 0001'a' 00 '2'"); /* not kept */
        durable(0);
        assert_out(&c, "32 07 0001'a' 0001 00 '1' 30 05 0001'a' 00 '2'");
        disk.slow = false;
        leave_for_good(&c);
        leave(&d);
}

/* What waits for clients that are away leaves room for one that listens. */
static void queue_of_another_session(void **state)
{
        Client c, d;
        disk.limits.queue_bytes = 512;
        away(&c);
        while (publish("dev1/a", "1", 1) == 1)
                ;
        open_connected(&d, OTHER5, CONNACK5);
        feed(&d, "82 07 0001 00 0001'a' 01");
        buf_clear(&d.out);
        assert_int_equal(publish("dev1/a", "2", 0), 1);
        assert_int_equal(publish("dev1/a", "3", 1), 1);
        assert_out(&d, "30 05 0001'a' 00 '2' 32 07 0001'a' 0001 00 '3'");
        leave(&d);
        tick(101 * USEC_PER_SEC);
        assert_nothing_kept();
}

/* What is dropped goes off the disk whatever becomes of a message of others. */
static void dropped_apart(void **state)
{
        Client c, d;
        open_connected(&c, "10 1b 0004'MQTT'05 00 003c 0a 11 00000064 27 00000014 0004'dev1' ",
                       CONNACK5);
        open_connected(&d, OTHER5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'#' 01");
        for (unsigned i = 0; i < 3; i++) {
                disk.closed = "dev1";
                feed(&d, "32 0c 0001'a' 0001 05 02 0000000a '1'"); /* expires */
                disk.closed = i < 2 ? "dev1" : NULL;
                disk.slow = true;
                feed(&d, "32 16 0001'b' 0002 00 '1234567890123456'"); /* too large */
                size_t begun = disk.n_begun, removed = disk.n_removed;
                disk.closed = NULL;
                if (i == 0)
                        mqtt_server_device_changed(server, "dev1", 11 * USEC_PER_SEC);
                else if (i == 1)
                        mqtt_connection_drained(c.connection, 11 * USEC_PER_SEC);
                else
                        durable(0);
                assert_true(disk.n_removed > removed);
                assert_true(disk.n_begun > begun);
                disk.slow = false;
                settle_all(MQTT_SUCCESS);
        }
        assert_int_equal(view("dev1").waiting, 0);
        leave_for_good(&c);
        leave(&d);
        assert_nothing_kept();
}

/* What the disk did not take is delivered to nobody, and holds up nobody. */
static void lost(void **state)
{
        Client c, d;
        open_connected(&c, KEPT5, CONNACK5);
        open_connected(&d, OTHER5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'a' 01");
        buf_clear(&c.out);
        disk.slow = true;
        feed(&d, "32 07 0001'a' 0001 00 '1'");
        settle(0, MQTT_UNSPECIFIED_ERROR, NULL);
        assert_out(&d, "40 03 0001 80");
        publish("dev1/a", "2", 0);
        assert_out(&c, "30 05 0001'a' 00 '2'");
        assert_int_equal(view("dev1").waiting, 0);
        assert_int_equal(stats().kept_bytes, 0);
        disk.slow = false;
        leave_for_good(&c);
        leave(&d);
        assert_nothing_kept();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(received_once),
                TEST(received_again_before_durable),
                TEST(received_again_without_barrier),
                TEST(received_and_refused),
                TEST(received_across_connections),
                TEST(receive_maximum_in),
                TEST(receive_maximum_of_repeated),
                TEST(sent_once),
                TEST(sent_and_refused),
                TEST(wrong_acknowledgements),
                TEST(sent_again),
                TEST(receive_maximum_out),
                TEST(maximum_packet_size),
                TEST(aliases_out),
                TEST(subscription_ids),
                TEST(no_local),
                TEST(queue_while_away),
                TEST(queue_overflows),
                TEST(store_overflows),
                TEST(queue_expires),
                TEST(queue_of_another_session),
                TEST(dropped_apart),
                TEST(closed_posture),
                TEST(after_the_disk),
                TEST(lost),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
