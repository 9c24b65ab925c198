/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Exactly once (section 4.3.3), both ways: each side of each handshake, and a restart at each step
 * of it. */

#include "mqtt-bench.h"

#define PUBLISH "34 07 0001'a' 0001 00 'x' "
#define AGAIN   "3c 07 0001'a' 0001 00 'x' "

static void received(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, PUBLISH);
        assert_out(&c, "");
        settle();
        assert_out(&c, "50 02 0001");
        exchange(&c, AGAIN, "50 02 0001"); /* [MQTT-4.3.3-10] */
        exchange(&c, PUBLISH, "50 02 0001");
        exchange(&c, "62 02 0001", "70 02 0001");
        exchange(&c, "62 02 0001", "70 03 0001 92");
        assert_records("dev1:a=x");
        exchange(&c, PUBLISH, "50 02 0001"); /* [MQTT-4.3.3-12]: another message */
        assert_records("dev1:a=x,dev1:a=x");
        client_close(&c);
        client_connect(&c, CONNECT3, CONNACK3);
        exchange(&c, "62 02 0001", "70 02 0001"); /* 3.1.1 knows no other answer */
        client_close(&c);
}

/* It came before, but whether it stays is not known yet: both answers say the same. */
static void received_again_before_durable(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, PUBLISH AGAIN);
        assert_out(&c, "");
        mqtt_disk_settle(&world.disk);
        assert_out(&c, "50 02 0001");
        settle();
        assert_out(&c, "50 02 0001");
        feed(&c, "34 07 0001'a' 0002 00 'x' 3c 07 0001'a' 0002 00 'x'");
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        settle();
        assert_out(&c, "50 03 0002 97 50 03 0002 80");
        exchange(&c, "34 07 0001'a' 0002 00 'y'", "50 02 0002"); /* as a new one */
        assert_records("dev1:a=x,dev1:a=y");
        client_close(&c);
}

/* The barrier of the second answer fails: what counts is what became of the message. */
static void received_again_without_barrier(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, PUBLISH AGAIN);
        mqtt_disk_settle(&world.disk);
        settle_failed(MQTT_UNSPECIFIED_ERROR, NULL);
        assert_out(&c, "50 02 0001 50 02 0001");
        exchange(&c, AGAIN, "50 02 0001");
        assert_records("dev1:a=x");
        world.disk.no_barrier = true;
        feed(&c, AGAIN);
        assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
        client_close(&c);
        assert_nothing_kept();
}

/* What is refused at once holds no identifier. */
static void received_and_refused(void **state)
{
        Client c;
        world.refuse = MQTT_QUOTA_EXCEEDED;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, PUBLISH "62 02 0001", "50 0e 0001 97 0a 1f 0007'refused' 70 03 0001 92");
        exchange(&c, "34 0c 0006'dev2/a' 0002 00 'x' 62 02 0002",
                 "50 14 0002 87 10 1f 000d'foreign-topic' 70 03 0002 92");
        exchange(&c, "34 11 000b'rats/dev1/c' 0003 00 'x' 62 02 0003",
                 "50 0e 0003 97 0a 1f 0007'refused' 70 03 0003 92");
        world.refuse = MQTT_SUCCESS;
        exchange(&c, "34 11 000b'rats/dev1/c' 0003 00 'x' 3c 11 000b'rats/dev1/c' 0003 00 'x'",
                 "50 02 0003 50 02 0003");
        assert_int_equal(world.n_attested, 1);
        assert_records("");
        client_close(&c);
}

/* The same packet identifiers in QoS 1 and 2, and answers in the order of what they answer. */
static void in_order(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        feed(&c, PUBLISH "32 07 0001'b' 0002 00 'y' 62 02 0001");
        assert_out(&c, "");
        settle();
        assert_out(&c, "50 02 0001 40 02 0002 70 02 0001");
        client_close(&c);
}

/* PUBREL fed when `step` has come: 0: the message is not written; 1: written, no answer; 2: PUBREC
 * came; 3: PUBREL is not written; 4: written, no answer. */
static void receive_until(Client *c, unsigned step)
{
        feed(c, PUBLISH);
        if (step == 1)
                mqtt_disk_write(&world.disk);
        if (step >= 2) {
                settle();
                assert_out(c, "50 02 0001");
        }
        if (step >= 3)
                feed(c, "62 02 0001");
        while (step == 4 && mqtt_disk_write(&world.disk))
                ;
        assert_out(c, "");
}

static void received_with_restart(void **state)
{
        Client c;
        for (unsigned step = 0; step <= 4; step++) {
                size_t before = mqtt_disk_n_records(&world.disk);
                client_connect(&c, BEGIN5, CONNACK5);
                receive_until(&c, step);
                crash();
                client_connect(&c, RESUME5, PRESENT5);
                if (step < 2)
                        exchange(&c, AGAIN, "50 02 0001");
                exchange(&c, "62 02 0001", step == 4 ? "70 03 0001 92" : "70 02 0001");
                assert_int_equal(mqtt_disk_n_records(&world.disk), before + 1);
                exchange(&c, PUBLISH, "50 02 0001");
                assert_int_equal(mqtt_disk_n_records(&world.disk), before + 2);
                client_close(&c);
        }
}

/* A message that the disk did not take never came: the client may send another under its number. */
static void received_and_failed(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        feed(&c, PUBLISH);
        settle_failed(MQTT_QUOTA_EXCEEDED, "store-full");
        assert_out(&c, "50 11 0001 97 0d 1f 000a'store-full'");
        exchange(&c, PUBLISH, "50 02 0001");
        assert_records("dev1:a=x");

        /* who asks again in the meantime hears the same */
        exchange(&c, "62 02 0001", "70 02 0001");
        feed(&c, PUBLISH);
        client_close(&c);
        client_open(&c);
        feed(&c, RESUME5);
        settle_failed(MQTT_QUOTA_EXCEEDED, "store-full");
        settle();
        assert_out(&c, PRESENT5);
        exchange(&c, AGAIN, "50 02 0001");
        exchange(&c, "62 02 0001", "70 02 0001");
        assert_records("dev1:a=x,dev1:a=x");
        client_close(&c);
}

static void asked_again_in_flight(void **state)
{
        Client a, b;
        client_connect(&a, RESUME5, CONNACK5);
        feed(&a, PUBLISH);
        client_open(&b);
        feed(&b, RESUME5);
        mqtt_disk_write(&world.disk); /* the record's answer stands before CONNACK's */
        settle();
        assert_out(&b, PRESENT5);
        exchange(&b, AGAIN, "50 02 0001");
        assert_records("dev1:a=x");
        client_close(&a);
        client_close(&b);
}

/* Handed to attestation, it is not a record; its number waits for the disk all the same. If that
 * fails the client may send it anew, also after a restart that finds what was tried again. */
static void attestation_failed(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        feed(&c, "34 11 000b'rats/dev1/c' 0001 00 'w'");
        settle_failed(MQTT_UNSPECIFIED_ERROR, "store-failed");
        assert_out(&c, "50 13 0001 80 0f 1f 000c'store-failed'");
        settle();
        client_close(&c);
        settle();
        crash();
        client_connect(&c, RESUME5, PRESENT5);
        exchange(&c, "34 11 000b'rats/dev1/c' 0001 00 'v'", "50 02 0001");
        assert_int_equal(world.n_attested, 2);
        client_close(&c);
}

/* Neither PUBREL nor PUBCOMP has a code for the disk's failure (sections 3.6.2.1, 3.7.2.1). */
static void no_answer_when_the_disk_fails(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, PUBLISH, "50 02 0001");
        feed(&c, "62 02 0001");
        settle_failed(MQTT_UNSPECIFIED_ERROR, "store-failed");
        assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
        assert_int_equal(buf_view(&c.out).data[0], 0xe0);
        client_close(&c);
        client_connect(&c, RESUME5, PRESENT5);
        exchange(&c, "62 02 0001", "70 03 0001 92");

        exchange(&c, "82 07 0002 00 0001'b' 02", "90 04 0002 00 02");
        command("dev1/b", "1", 2);
        settle();
        assert_out(&c, "34 07 0001'b' 0001 00 '1'");
        feed(&c, "50 02 0001");
        settle_failed(MQTT_UNSPECIFIED_ERROR, "store-failed");
        assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
        assert_int_equal(buf_view(&c.out).data[0], 0xe0);
        client_close(&c);
        client_connect(&c, RESUME5, PRESENT5 "62 02 0001");
        exchange(&c, "70 02 0001", "");
        client_close(&c);
}

/* Section 4.9: PUBCOMP gives back one of Receive Maximum, whatever its code is; what is sent again
 * takes none. */
static void receive_maximum(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, "34 07 0001'a' 0001 00 'x' 34 07 0001'a' 0002 00 'x' 34 07 0001'a' 0003 00 'x' "
                 "32 07 0001'a' 0004 00 'x'");
        settle();
        assert_out(&c, "50 02 0001 50 02 0002 50 02 0003 40 02 0004");
        exchange(&c, "34 07 0001'a' 0005 00 'x' ", "50 02 0005");
        exchange(&c, AGAIN, "50 02 0001");
        exchange(&c, "62 02 0001", "70 02 0001");
        exchange(&c, "34 07 0001'a' 0008 00 'x' ", "50 02 0008");
        exchange(&c, "62 02 0009", "70 03 0009 92");
        exchange(&c, "34 07 0001'a' 0006 00 'x' ", "50 02 0006");
        assert_int_equal(feed(&c, "34 07 0001'a' 0007 00 'x' "), MQTT_INPUT_ENDED);
        assert_ended(&c, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
        client_close(&c);
}

/* A message that was refused does not make room twice when it had been sent twice. */
static void receive_maximum_of_repeated(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, PUBLISH AGAIN "34 07 0001'a' 0002 00 'x' 34 07 0001'a' 0003 00 'x' "
                               "34 07 0001'a' 0004 00 'x'");
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        mqtt_disk_settle(&world.disk);
        assert_out(&c, "50 03 0001 97 50 03 0001 80");
        feed(&c, "34 07 0001'a' 0005 00 'x'");
        assert_false(mqtt_connection_has_ended(c.connection));
        feed(&c, "34 07 0001'a' 0006 00 'x'");
        assert_ended(&c, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
        client_close(&c);
}

static void begin_delivery(Client *c)
{
        client_connect(c, BEGIN5, CONNACK5);
        exchange(c, "82 07 0001 00 0001'a' 02", "90 04 0001 00 02");
        assert_int_equal(command("dev1/a", "1", 2), 1);
        assert_out(c, "");
}

static void delivered(void **state)
{
        Client c;
        begin_delivery(&c);
        settle();
        assert_out(&c, "34 07 0001'a' 0001 00 '1'");
        feed(&c, "50 02 0001");
        assert_out(&c, "");
        settle();
        assert_out(&c, "62 02 0001");
        exchange(&c, "50 02 0001", "62 02 0001"); /* a client that repeats itself */
        exchange(&c, "70 02 0001", "");
        exchange(&c, "50 02 0001", "62 03 0001 92");
        exchange(&c, "50 04 0001 80 00", "");
        exchange(&c, "70 02 0001", "");
        assert_int_equal(view("dev1").unacknowledged, 0);
        client_leave_for_good(&c);
        client_connect(&c, CONNECT3, CONNACK3);
        exchange(&c, "50 02 0001", "62 02 0001"); /* 3.1.1 has no codes */
        client_close(&c);
}

/* [MQTT-4.3.3-9]: the client does not want it. */
static void delivered_and_refused(void **state)
{
        Client c;
        begin_delivery(&c);
        command("dev1/a", "2", 2);
        command("dev1/a", "3", 2);
        settle();
        assert_out(&c, "34 07 0001'a' 0001 00 '1' 34 07 0001'a' 0002 00 '2'");
        exchange(&c, "50 04 0001 80 00", "34 07 0001'a' 0003 00 '3'"); /* its place is free */
        exchange(&c, "50 02 0001", "62 03 0001 92");
        exchange(&c, "50 02 0002", "62 02 0002");
        exchange(&c, "50 03 0002 80", ""); /* too late */
        assert_int_equal(view("dev1").unacknowledged, 1);
        client_close(&c);
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
                client_connect(&c, BEGIN5, CONNACK5);
                exchange(&c, "82 07 0001 00 0001'a' 02", "90 04 0001 00 02");
                command("dev1/a", "1", t[i].qos);
                settle();
                feed(&c, t[i].in);
                assert_ended(&c, MQTT_PROTOCOL_ERROR);
                client_close(&c);
        }
}

/* 0: the message is not written; 1: written, not sent; 2: sent; 3: PUBREC is not written; 4: is
 * written; 5: PUBREL was sent; 6: PUBCOMP is not written; 7: is written. */
static void deliver_until(Client *c, unsigned step)
{
        begin_delivery(c);
        if (step == 1)
                while (mqtt_disk_write(&world.disk))
                        ;
        if (step >= 2) {
                settle();
                assert_out(c, "34 07 0001'a' 0001 00 '1'");
        }
        if (step >= 3)
                feed(c, "50 02 0001");
        if (step == 4)
                while (mqtt_disk_write(&world.disk))
                        ;
        if (step >= 5) {
                settle();
                assert_out(c, "62 02 0001");
        }
        if (step >= 6)
                feed(c, "70 02 0001");
        if (step >= 7)
                settle();
        assert_out(c, "");
}

static void delivered_with_restart(void **state)
{
        static const char publish[] = PRESENT5 "3c 07 0001'a' 0001 00 '1'";
        static const char release[] = PRESENT5 "62 02 0001";
        static const char *const after[] = { PRESENT5, publish, publish, publish,
                                             release,  release, release, PRESENT5 };
        Client c;
        for (unsigned step = 0; step < ELEMENTSOF(after); step++) {
                deliver_until(&c, step);
                crash();
                client_connect(&c, RESUME5, after[step]);
                if (after[step] == publish)
                        exchange(&c, "50 02 0001", "62 02 0001");
                if (after[step] != after[0])
                        exchange(&c, "70 02 0001", "");
                command("dev1/a", "2", 2); /* what follows has its own number */
                settle();
                assert_out(&c, step == 0 || step == 7 ? "34 07 0001'a' 0001 00 '2'"
                                                      : "34 07 0001'a' 0002 00 '2'");
                client_close(&c);
        }
}

/* Not before it is taken, whether the receiver's session is kept or not: 3.1.1 has no refusal, and
 * the client sends it again. */
static void delivered_once_taken(void **state)
{
        Client from, to;
        client_connect(&to, CONNECT5, CONNACK5);
        exchange(&to, "82 07 0001 00 0001'a' 02", "90 04 0001 00 02");
        client_connect(&from, "10 12 0004'MQTT'04 00 003c 0006'dev1/f'", CONNACK3);
        feed(&from, "34 06 0001'a' 0001 'x'");
        assert_true(mqtt_disk_fail(&world.disk, MQTT_QUOTA_EXCEEDED, "store-full"));
        assert_ended(&from, MQTT_QUOTA_EXCEEDED);
        client_close(&from);
        client_connect(&from, "10 12 0004'MQTT'04 00 003c 0006'dev1/f'", "20 02 01 00");
        assert_out(&to, "");
        exchange(&from, "3c 06 0001'a' 0001 'x'", "50 02 0001");
        assert_out(&to, "34 07 0001'a' 0002 00 'x'");
        client_close(&from);
        client_close(&to);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(received),
                TEST(received_again_before_durable),
                TEST(received_again_without_barrier),
                TEST(received_and_refused),
                TEST(in_order),
                TEST(received_with_restart),
                TEST(received_and_failed),
                TEST(asked_again_in_flight),
                TEST(attestation_failed),
                TEST(no_answer_when_the_disk_fails),
                TEST(receive_maximum),
                TEST(receive_maximum_of_repeated),
                TEST(delivered),
                TEST(delivered_and_refused),
                TEST(wrong_acknowledgements),
                TEST(delivered_with_restart),
                TEST(delivered_once_taken),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
