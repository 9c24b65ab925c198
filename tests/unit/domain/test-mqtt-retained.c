/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Retained messages: what a new subscriber gets, for how long, whose account they are in, and what
 * is left of one that the disk did not take. */

#include "../unit.h"

#include "mqtt-fixture.h"

#define SUBSCRIBE "82 07 0009 00 0001't' 01 "
#define SUBACK    "90 04 0009 00 01 "

/* What one who subscribes to it now gets. */
static void assert_retained(const char *hex)
{
        char expected[256];
        Client c;
        snprintf(expected, sizeof(expected), SUBACK "%s", hex);
        open_connected(&c, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/r'", CONNACK5);
        feed(&c, SUBSCRIBE);
        assert_out(&c, expected);
        leave(&c);
}

static void set_replace_clear(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1'");
        assert_retained("31 05 0001't' 00 '1'"); /* [MQTT-3.3.1-8] */
        feed(&c, "33 07 0001't' 0001 00 '2'");   /* [MQTT-3.3.1-5] */
        assert_retained("33 07 0001't' 0001 00 '2'");
        feed(&c, "30 05 0001't' 00 '3'"); /* [MQTT-3.3.1-8]: does not replace it */
        assert_retained("33 07 0001't' 0001 00 '2'");
        assert_int_equal(stats().retained, 1);
        feed(&c, "31 04 0001't' 00"); /* [MQTT-3.3.1-6] */
        assert_retained("");
        feed(&c, "31 04 0001't' 00"); /* [MQTT-3.3.1-7] */
        assert_int_equal(stats().retained, 0);
        assert_int_equal(stats().kept_bytes, 0);
        assert_int_equal(disk.n_values, 0);
        leave(&c);
}

/* Filters with wildcards find it by the index as well as outside of it. */
static void found_by_wildcards(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1' 31 07 0003'a/b' 00 '2' 31 09 0005'all/x' 00 '3'");
        buf_clear(&c.out);
        feed(&c, "82 07 0001 00 0001'+' 00");
        assert_out(&c, "90 04 0001 00 00 31 05 0001't' 00 '1'");
        feed(&c, "82 07 0001 00 0001'#' 00");
        assert_out(&c, "90 04 0001 00 00 31 05 0001't' 00 '1' 31 07 0003'a/b' 00 '2'");
        feed(&c, "82 0b 0001 00 0005'all/+' 00");
        assert_out(&c, "90 04 0001 00 00 31 09 0005'all/x' 00 '3'");
        leave(&c);
        tick(USEC_PER_MIN);
        assert_int_equal(stats().retained, 3);
}

/* [MQTT-3.3.2-6]: what is left of it. */
static void expiry(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 0a 0001't' 05 02 00000064 '1'");
        feed_at(&c, SUBSCRIBE, 40 * USEC_PER_SEC);
        assert_out(&c, SUBACK "31 0a 0001't' 05 02 0000003c '1'");
        feed_at(&c, SUBSCRIBE, 100 * USEC_PER_SEC); /* [MQTT-3.3.2-5] */
        assert_out(&c, SUBACK);
        tick(99 * USEC_PER_SEC);
        assert_int_equal(stats().retained, 1);
        tick(200 * USEC_PER_SEC);
        assert_int_equal(stats().retained, 0);
        assert_int_equal(disk.n_values, 0);
        leave(&c);
}

/* Section 3.8.3.1. */
static void retain_handling(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1'");
        feed(&c, "82 07 0001 00 0001't' 20"); /* never */
        assert_out(&c, "90 04 0001 00 00");
        feed(&c, "82 07 0001 00 0001't' 10"); /* when it is new */
        assert_out(&c, "90 04 0001 00 00");
        feed(&c, "a2 06 0002 00 0001't' 82 07 0001 00 0001't' 10");
        assert_out(&c, "b0 04 0002 00 00 90 04 0001 00 00 31 05 0001't' 00 '1'");
        feed(&c, "82 07 0001 00 0001't' 00"); /* always: [MQTT-3.8.4-3] */
        assert_out(&c, "90 04 0001 00 00 31 05 0001't' 00 '1'");
        feed(&c, "82 10 0001 00 000a'$share/g/t' 00"); /* section 4.8.2 */
        assert_out(&c, "90 04 0001 00 00");
        leave(&c);
}

/* [MQTT-3.3.1-12], -13: to those who had subscribed before. */
static void retain_as_published(void **state)
{
        Client c, d;
        open_connected(&c, CONNECT5, CONNACK5);
        open_connected(&d, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/d'", CONNACK5);
        feed(&c, "82 07 0001 00 0001't' 00");
        feed(&d, "82 07 0001 00 0001't' 08");
        buf_clear(&c.out);
        buf_clear(&d.out);
        feed(&c, "31 05 0001't' 00 '1' 30 05 0001't' 00 '2'");
        assert_out(&c, "30 05 0001't' 00 '1' 30 05 0001't' 00 '2'");
        assert_out(&d, "31 05 0001't' 00 '1' 30 05 0001't' 00 '2'");
        leave(&c);
        leave(&d);
}

/* A new subscriber sees what is being written, and the one before when that fails. */
static void write_that_fails(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1'");
        uint64_t kept = stats().kept_bytes;
        disk.slow = true;
        feed(&c, "33 08 0001't' 0001 00 '22'");
        assert_retained("33 08 0001't' 0001 00 '22'");
        settle(0, MQTT_QUOTA_EXCEEDED, "full");
        assert_out(&c, "40 0b 0001 97 07 1f 0004'full'");
        assert_retained("31 05 0001't' 00 '1'");
        assert_int_equal(stats().kept_bytes, kept);

        feed(&c, "33 06 0001't' 0001 00"); /* cleared */
        assert_retained("");
        settle(1, MQTT_QUOTA_EXCEEDED, "full");
        assert_retained("31 05 0001't' 00 '1'");
        assert_int_equal(stats().kept_bytes, kept);
        leave(&c);
}

/* Two writes of one topic: whichever lasts. */
static void writes_that_overlap(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1' 31 05 0001't' 00 '2'");
        durable(0);
        assert_retained("31 05 0001't' 00 '2'");
        settle(1, MQTT_UNSPECIFIED_ERROR, NULL);
        assert_retained("31 05 0001't' 00 '1'");
        feed(&c, "31 04 0001't' 00 31 05 0001't' 00 '3'");
        settle(2, MQTT_UNSPECIFIED_ERROR, NULL);
        assert_retained("31 05 0001't' 00 '3'");
        durable(3);
        assert_retained("31 05 0001't' 00 '3'");
        leave(&c);
}

/* One that never got to disk leaves nothing. */
static void first_write_that_fails(void **state)
{
        Client c;
        disk.slow = true;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1'");
        leave(&c);
        settle(0, MQTT_UNSPECIFIED_ERROR, NULL);
        assert_int_equal(stats().retained, 0);
        assert_int_equal(stats().kept_bytes, 0);
}

/* Whoever clears it is gone before the disk has answered. */
static void cleared_by_one_who_leaves(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1'");
        disk.slow = true;
        feed(&c, "31 04 0001't' 00");
        leave(&c);
        durable(0);
        assert_int_equal(stats().retained, 0);
        assert_int_equal(stats().kept_bytes, 0);
}

/* The device's own limit. What a message replaces does not count. */
static void quota(void **state)
{
        Client c;
        disk.limits.retained_bytes = 512;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "33 07 0001't' 0001 00 '1' 33 07 0001'u' 0002 00 '2'");
        assert_out(&c, "40 02 0001 40 22 0002 97 1e 1f 001b'the device retains too much'");
        assert_int_equal(disk.n_submitted, 1);
        feed(&c, "33 07 0001't' 0001 00 '3' 33 06 0001'u' 0002 00");
        assert_out(&c, "40 02 0001 40 02 0002");
        assert_retained("33 07 0001't' 0001 00 '3'");
        feed(&c, "33 06 0001't' 0001 00 33 07 0001'u' 0002 00 '2'");
        assert_out(&c, "40 02 0001 40 02 0002");
        leave(&c);
}

/* The same when all devices together have used up the store. */
static void quota_of_all(void **state)
{
        Client c;
        config.kept_bytes = 512;
        restart();
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1' 31 05 0001'u' 00 '2'");
        assert_int_equal(stats().retained, 1);
        feed(&c, "31 05 0001't' 00 '3'");
        assert_retained("31 05 0001't' 00 '3'");
        leave(&c);
}

static void will_is_retained(void **state)
{
        Client c;
        open_connected(&c, "10 18 0004'MQTT'05 26 003c 00 0004'dev1' 00 0001't'0001'1'", CONNACK5);
        client_close(&c);
        assert_retained("31 05 0001't' 00 '1'");
}

/* It is published, but takes the place of nothing. */
static void will_beyond_quota(void **state)
{
        Client c;
        open_connected(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001't' 00 '1'");
        leave(&c);
        disk.limits.retained_bytes = 0;
        open_connected(&c, "10 18 0004'MQTT'05 26 003c 00 0004'dev1' 00 0001't'0001'2'", CONNACK5);
        client_close(&c);
        assert_string_equal(disk.topics[1], "dev1:t=2");
        assert_retained("31 05 0001't' 00 '1'");
}

/* To a topic that several devices may use: the account is that of the last. */
static void owner_changes(void **state)
{
        Client c, d;
        disk.limits.retained_bytes = 512;
        open_connected(&c, CONNECT5, CONNACK5);
        connect_as(&d, "dev2", "10 11 0004'MQTT'05 02 003c 00 0004'dev2'", CONNACK5);
        feed(&c, "33 0b 0005'all/x' 0001 00 '1'");
        feed(&d, "33 0b 0005'all/x' 0001 00 '2'");
        feed(&c, "33 0b 0005'all/y' 0001 00 '1'");
        assert_out(&c, "40 02 0001 40 02 0001");
        assert_out(&d, "40 02 0001");
        leave(&c);
        leave(&d);
        disk.gone = "dev2";
        mqtt_server_review(server);
        assert_int_equal(stats().retained, 1);
        assert_int_equal(disk.n_values, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(set_replace_clear),
                TEST(found_by_wildcards),
                TEST(expiry),
                TEST(retain_handling),
                TEST(retain_as_published),
                TEST(write_that_fails),
                TEST(writes_that_overlap),
                TEST(first_write_that_fails),
                TEST(cleared_by_one_who_leaves),
                TEST(quota),
                TEST(quota_of_all),
                TEST(will_is_retained),
                TEST(will_beyond_quota),
                TEST(owner_changes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
