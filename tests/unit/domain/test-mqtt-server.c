/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What outlives a connection: sessions, wills, shared subscriptions; and what becomes of all when
 * the disk fails or the policy changes. */

#include "../unit.h"

#include "mqtt-fixture.h"

#define KEPT3      "10 10 0004'MQTT'04 00 003c 0004'dev1' "
#define SECONDS(n) ((n)*USEC_PER_SEC)
/* expiry of the session and delay of the will */
#define WILL5(expiry, delay)                                                                       \
        "10 22 0004'MQTT'05 04 003c 05 11 " expiry " 0004'dev1' 05 18 " delay " 0001'w'0001'p' "

static void connect_at(Client *c, const char *connect, const char *connack, usec_t now)
{
        open_as(c, "dev1");
        feed_at(c, connect, now);
        assert_out(c, connack);
}

static void kept_or_not(void **state)
{
        Client c;
        open_connected(&c, KEPT5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'a' 01");
        client_close(&c);
        open_connected(&c, KEPT5, CONNACK5_PRESENT);
        assert_int_equal(publish("dev1/a", "1", 0), 1);
        client_close(&c);
        open_connected(&c, CONNECT5, CONNACK5); /* [MQTT-3.1.2-4] */
        assert_int_equal(publish("dev1/a", "1", 1), 0);
        leave(&c);
        assert_nothing_kept();

        open_connected(&c, KEPT3, CONNACK3);
        leave(&c);
        open_connected(&c, KEPT3, "20 02 01 00");
        assert_int_equal(view("dev1").subscriptions, 0);
        leave(&c);
        open_connected(&c, CONNECT3, CONNACK3);
        leave(&c);
        assert_nothing_kept();
}

/* Section 3.1.2.11.2: counted from the end of the connection. */
static void session_expiry(void **state)
{
        Client c;
        open_connected(&c, KEPT5, CONNACK5);
        tick(SECONDS(1000));
        client_close(&c);
        tick(SECONDS(1099));
        assert_int_equal(stats().sessions, 1);
        tick(SECONDS(1100));
        assert_nothing_kept();

        open_connected(&c, KEPT5, CONNACK5); /* DISCONNECT may say something else */
        feed_at(&c, "e0 07 00 05 11 00000005", SECONDS(2000));
        client_close(&c);
        tick(SECONDS(2004));
        assert_int_equal(stats().sessions, 1);
        tick(SECONDS(2005));
        assert_nothing_kept();
}

/* Nobody has looked yet whether it has. */
static void expired_unnoticed(void **state)
{
        Client c;
        open_connected(&c, KEPT5, CONNACK5);
        client_close(&c);
        connect_at(&c, KEPT5, CONNACK5_PRESENT, SECONDS(99));
        client_close(&c);
        connect_at(&c, KEPT5, CONNACK5, SECONDS(199));
        leave_for_good(&c);
        assert_nothing_kept();
}

/* Those that are away take up the device's allowance. */
static void too_many_sessions(void **state)
{
        Client c, d;
        disk.limits.sessions = 1;
        open_connected(&c, KEPT5, CONNACK5);
        client_close(&c);
        client_open(&d);
        assert_int_equal(feed(&d, OTHER5), MQTT_INPUT_ENDED);
        assert_ended(&d, MQTT_QUOTA_EXCEEDED);
        client_close(&d);
        connect_as(&d, "dev2", "10 11 0004'MQTT'05 02 003c 00 0004'dev2'", CONNACK5);
        leave(&d);
        open_connected(&c, KEPT5, CONNACK5_PRESENT);
        leave_for_good(&c);
        assert_nothing_kept();
}

/* [MQTT-3.1.3-7]: not one that a client has chosen itself. */
static void assigned_client_id(void **state)
{
        Client c, d;
        open_connected(&c, "10 27 0004'MQTT'05 02 003c 00 001a'dev1/auto-0000000000000002'",
                       CONNACK5);
        open_connected(&d, "10 0d 0004'MQTT'05 02 003c 00 0000",
                       "20 2b 00 00 28 12 001a'dev1/auto-0000000000000003' " OFFER);
        assert_false(mqtt_connection_has_ended(c.connection));
        leave(&c);
        leave(&d);
}

/* [MQTT-3.2.2-19]: no text that the client would have to refuse. */
static void refused_in_few_bytes(void **state)
{
        Client c;
        client_open(&c);
        feed(&c, "10 16 0004'MQTT'05 02 003c 05 27 00000008 0004'dev2'");
        assert_out(&c, "20 03 00 85 00");
        client_close(&c);
        client_open(&c); /* not even CONNACK */
        feed(&c, "10 16 0004'MQTT'05 02 003c 05 27 00000004 0004'dev1'");
        assert_out(&c, "");
        assert_ended(&c, MQTT_PACKET_TOO_LARGE);
        client_close(&c);
        assert_nothing_kept();
}

/* What CONNACK promises is on disk first. */
static void connack_waits(void **state)
{
        Client c;
        disk.slow = true;
        client_open(&c);
        assert_int_equal(feed(&c, KEPT5 "c0 00"), MQTT_INPUT_BLOCKED);
        assert_out(&c, "");
        assert_int_equal(c.n_connected, 0);
        mqtt_connection_tick(c.connection, SECONDS(1000));
        assert_false(mqtt_connection_has_ended(c.connection));
        durable(0);
        assert_int_equal(c.n_connected, 1);
        assert_int_equal(feed(&c, "c0 00"), MQTT_INPUT_MORE);
        assert_out(&c, CONNACK5 "d0 00");
        client_close(&c);

        client_open(&c);
        feed(&c, KEPT5);
        settle(1, MQTT_UNSPECIFIED_ERROR, NULL);
        assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
        assert_out(&c, "20 16 00 80 13 1f 0010'the store failed'");
        client_close(&c);
        disk.no_barrier = true;
        client_open(&c);
        feed(&c, KEPT5);
        assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
        client_close(&c);
}

/* [MQTT-3.1.4-3]: the session goes on with the other, the old one hears nothing more. */
static void takeover(void **state)
{
        Client a, b, d;
        open_connected(&a, KEPT5, CONNACK5);
        feed(&a, "82 07 0001 00 0001'a' 01");
        buf_clear(&a.out);
        publish("dev1/a", "1", 1);
        assert_out(&a, "32 07 0001'a' 0001 00 '1'");
        disk.slow = true;
        feed(&a, "32 07 0001'b' 0001 00 'x'");
        client_open(&b);
        feed(&b, KEPT5);
        assert_ended(&a, MQTT_SESSION_TAKEN_OVER);
        assert_int_equal(buf_view(&a.out).data[2], 0x8e);
        buf_clear(&a.out);
        client_open(&d); /* before the second has heard of it */
        feed(&d, KEPT5);
        assert_ended(&b, MQTT_SESSION_TAKEN_OVER);
        assert_int_equal(buf_view(&b.out).data[3], 0x88); /* CONNACK knows no 0x8e */
        buf_clear(&b.out);
        disk.slow = false;
        settle_all(MQTT_SUCCESS);
        publish("dev1/a", "2", 1);
        assert_out(&a, "");
        assert_out(&b, "");
        assert_out(&d, CONNACK5_PRESENT "3a 07 0001'a' 0001 00 '1' 32 07 0001'a' 0002 00 '2'");
        client_close(&a);
        client_close(&b);
        assert_true(view("dev1").connected);
        leave_for_good(&d);
        assert_nothing_kept();
}

static void assert_published(const char *topic)
{
        if (!topic) {
                assert_int_equal(disk.n_submitted, 0);
                return;
        }
        assert_int_equal(disk.n_submitted, 1);
        assert_string_equal(disk.topics[0], topic);
        disk.n_submitted = 0;
}

/* [MQTT-3.1.3-9]; section 3.1.3.2.2: whichever comes first. */
static void will_delay(void **state)
{
        Client c;
        connect_at(&c, WILL5("00000064", "0000000a"), CONNACK5, 0);
        client_close(&c);
        tick(SECONDS(9));
        assert_published(NULL);
        tick(SECONDS(10));
        assert_published("dev1:w=p");
        tick(SECONDS(11));
        assert_published(NULL);
        tick(SECONDS(100));
        assert_nothing_kept();

        connect_at(&c, WILL5("00000005", "0000000a"), CONNACK5, SECONDS(200));
        client_close(&c);
        tick(SECONDS(204));
        assert_published(NULL);
        tick(SECONDS(205)); /* the session ends */
        assert_published("dev1:w=p");
        assert_nothing_kept();
}

static void will_and_another_connection(void **state)
{
        Client c, d;
        connect_at(&c, WILL5("00000064", "0000000a"), CONNACK5, 0);
        client_close(&c);
        connect_at(&c, KEPT5, CONNACK5_PRESENT, SECONDS(5)); /* in time */
        tick(SECONDS(50));
        assert_published(NULL);
        client_close(&c);
        connect_at(&c, WILL5("00000064", "0000000a"), CONNACK5_PRESENT, SECONDS(60));
        connect_at(&d, KEPT5, CONNACK5_PRESENT, SECONDS(60)); /* taken over, in time */
        client_close(&c);
        assert_published(NULL);
        connect_at(&c, WILL5("00000064", "00000000"), CONNACK5_PRESENT, SECONDS(60));
        client_close(&d);
        connect_at(&d, KEPT5, CONNACK5_PRESENT, SECONDS(60)); /* without delay */
        assert_published("dev1:w=p");
        client_close(&c);
        connect_at(&c, WILL5("00000064", "0000000a"), CONNACK5_PRESENT, SECONDS(60));
        client_close(&d);
        connect_at(&d, CONNECT5, CONNACK5, SECONDS(60)); /* its session has ended */
        assert_published("dev1:w=p");
        client_close(&c);
        leave(&d);
        assert_nothing_kept();
}

/* [MQTT-3.14.4-3], section 3.14.2.1. */
static void will_and_goodbye(void **state)
{
        Client c;
        connect_at(&c, WILL5("00000064", "00000000"), CONNACK5, 0);
        leave(&c);
        assert_published(NULL);
        connect_at(&c, WILL5("00000064", "00000000"), CONNACK5_PRESENT, 0);
        feed(&c, "e0 01 04");
        assert_ended(&c, MQTT_SUCCESS);
        client_close(&c);
        assert_published("dev1:w=p");
        connect_at(&c, WILL5("00000064", "0000000a"), CONNACK5_PRESENT, 0);
        feed(&c, "e0 07 04 05 11 00000000"); /* its session ends as well: no delay */
        client_close(&c);
        assert_published("dev1:w=p");
        assert_nothing_kept();
}

/* Its expiry counts from when it is published; who listens gets it with what it came with. */
static void will_as_written(void **state)
{
        Client c, d;
        open_connected(&d, OTHER5, CONNACK5);
        feed(&d, "82 07 0001 00 0001'w' 01");
        buf_clear(&d.out);
        connect_at(&c,
                   "10 2b 0004'MQTT'05 0c 003c 05 11 00000064 0004'dev1' "
                   "0e 18 0000000a 02 00000064 03 0001't' 0001'w'0001'p'",
                   CONNACK5, 0);
        client_close(&c);
        tick(SECONDS(10));
        assert_published("dev1:w=p");
        assert_out(&d, "32 10 0001'w' 0001 09 02 00000064 03 0001't' 'p'");
        leave(&d);
        tick(SECONDS(200));
        assert_nothing_kept();
}

/* Refused by the store, or by a policy that has changed since CONNECT: it is gone. */
static void will_refused(void **state)
{
        Client c, d;
        open_connected(&d, OTHER5, CONNACK5);
        feed(&d, "82 07 0001 00 0001'w' 01");
        buf_clear(&d.out);
        disk.refuse = MQTT_QUOTA_EXCEEDED;
        connect_at(&c, WILL5("00000000", "00000000"), CONNACK5, 0);
        client_close(&c);
        disk.refuse = MQTT_SUCCESS;
        connect_at(&c, WILL5("00000000", "00000000"), CONNACK5, 0);
        disk.denied = "dev1/w";
        client_close(&c);
        assert_published(NULL);
        assert_out(&d, "");
        leave(&d);
        assert_nothing_kept();
}

/* Section 4.8.2: in turn; those that are away get what nobody else can take. */
static void shared(void **state)
{
        Client a, b;
        open_connected(&a, KEPT5, CONNACK5);
        open_connected(&b, OTHER5, CONNACK5);
        feed(&a, "82 10 0001 00 000a'$share/g/a' 01");
        feed(&b, "82 10 0001 00 000a'$share/g/a' 01");
        buf_clear(&a.out);
        buf_clear(&b.out);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(publish("dev1/a", "1", 0), 1);
        assert_out(&a, "30 05 0001'a' 00 '1' 30 05 0001'a' 00 '1'");
        assert_out(&b, "30 05 0001'a' 00 '1' 30 05 0001'a' 00 '1'");
        client_close(&a);
        publish("dev1/a", "2", 0);
        publish("dev1/a", "3", 0);
        assert_out(&b, "30 05 0001'a' 00 '2' 30 05 0001'a' 00 '3'");
        leave(&b);
        assert_int_equal(publish("dev1/a", "4", 0), 0);
        assert_int_equal(publish("dev1/a", "5", 1), 1);
        open_connected(&a, KEPT5, CONNACK5_PRESENT "32 07 0001'a' 0001 00 '5'");
        leave_for_good(&a);
        assert_nothing_kept();
}

/* Each group once, beside those who subscribed alone. */
static void shares_apart(void **state)
{
        Client a;
        open_connected(&a, CONNECT5, CONNACK5);
        feed(&a, "82 2e 0001 00 000a'$share/g/a' 00 000a'$share/h/a' 00 000a'$share/g/#' 00 "
                 "0001'a' 00");
        assert_out(&a, "90 07 0001 00 00 00 00 00");
        publish("dev1/a", "1", 0);
        assert_out(&a, "30 05 0001'a' 00 '1' 30 05 0001'a' 00 '1' 30 05 0001'a' 00 '1' "
                       "30 05 0001'a' 00 '1'");
        feed(&a, "a2 1b 0002 00 000a'$share/g/a' 000a'$share/h/#'");
        assert_out(&a, "b0 05 0002 00 00 11");
        assert_int_equal(publish("dev1/a", "1", 0), 3);
        leave(&a);
        assert_nothing_kept();
}

/* What the policy denies now ends, on disk too. */
static void review(void **state)
{
        Client c;
        open_connected(&c, KEPT5, CONNACK5);
        feed(&c, "82 18 0001 00 0001'a' 01 0001'b' 01 000a'$share/g/c' 01");
        client_close(&c);
        disk.denied = "a";
        mqtt_server_review(server);
        assert_int_equal(view("dev1").subscriptions, 2);
        disk.denied = "c";
        mqtt_server_review(server);
        assert_int_equal(view("dev1").subscriptions, 1);
        assert_int_equal(publish("dev1/a", "1", 1), 0);
        assert_int_equal(publish("dev1/c", "1", 1), 0);
        assert_int_equal(publish("dev1/b", "1", 1), 1);
        disk.gone = "dev2";
        mqtt_server_review(server);
        assert_int_equal(stats().sessions, 1);
        disk.gone = "dev1";
        mqtt_server_review(server);
        assert_nothing_kept();
}

/* A device that is no more has no will either. */
static void review_and_wills(void **state)
{
        Client c;
        connect_at(&c, WILL5("00000064", "0000000a"), CONNACK5, 0);
        client_close(&c);
        disk.gone = "dev1";
        mqtt_server_review(server);
        tick(SECONDS(1000));
        assert_published(NULL);
        assert_nothing_kept();
}

/* A message that is refused at once, or later. */
static void disk_refuses(void **state)
{
        Client c;
        disk.refuse = MQTT_QUOTA_EXCEEDED;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "82 07 0001 00 0001'a' 01");
        buf_clear(&c.out);
        feed(&c, "33 07 0001'a' 0001 00 'x' 31 05 0001'a' 00 'x'");
        assert_out(&c, "40 0e 0001 97 0a 1f 0007'refused'");
        assert_int_equal(stats().retained, 0);
        leave(&c);
        open_connected(&c, CONNECT3, CONNACK3);
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
                open_connected(&c, KEPT5, CONNACK5);
                feed(&c, "82 07 0001 00 0001'a' 02 34 07 0001'b' 0001 00 'x'");
                publish("dev1/a", "1", 2);
                buf_clear(&c.out);
                disk.slow = true;
                disk.no_barrier = i % 2;
                feed(&c, t[i / 2]);
                if (!disk.no_barrier)
                        settle(0, MQTT_UNSPECIFIED_ERROR, NULL);
                if (!mqtt_connection_has_ended(c.connection))
                        fail_msg("%s: not ended", t[i / 2]);
                assert_ended(&c, MQTT_UNSPECIFIED_ERROR);
                assert_int_equal(buf_view(&c.out).data[0], 0xe0);
                client_close(&c);
                disk.slow = disk.no_barrier = false;
                disk.n_waiting = 0;
                connect_at(&c, CONNECT5, CONNACK5, 0);
                leave(&c);
                assert_nothing_kept();
        }
}

/* Whatever ends a connection in the middle of a packet: nothing waits for ever. */
static void nothing_left_behind(void **state)
{
        char hex[4096];
        Client c;
        int at = snprintf(hex, sizeof(hex), "82 87 08 0001 00 ");
        for (unsigned i = 0; i < 257; i++)
                at += snprintf(hex + at, sizeof(hex) - (size_t)at, "0001'a' 00 ");
        config.maximum_packet_size = 2048;
        restart();
        client_open(&c);
        feed(&c, KEPT5);
        feed(&c, hex);
        assert_ended(&c, MQTT_QUOTA_EXCEEDED);
        client_close(&c);
        assert_true(list_empty(&server->pending));
        tick(SECONDS(100));
        assert_nothing_kept();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(kept_or_not),        TEST(session_expiry),
                TEST(expired_unnoticed),  TEST(too_many_sessions),
                TEST(assigned_client_id), TEST(refused_in_few_bytes),
                TEST(connack_waits),      TEST(takeover),
                TEST(will_delay),         TEST(will_and_another_connection),
                TEST(will_and_goodbye),   TEST(will_as_written),
                TEST(will_refused),       TEST(shared),
                TEST(shares_apart),       TEST(review),
                TEST(review_and_wills),   TEST(disk_refuses),
                TEST(barrier_fails),      TEST(nothing_left_behind),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
