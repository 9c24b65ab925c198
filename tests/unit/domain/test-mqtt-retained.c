/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Retained messages: set, replaced, cleared, expired, refused, delivered, restored. */

#include "mqtt-bench.h"

#include <stdio.h>

#include "domain/mqtt-journal.h"

/* What a new subscription to everything brings, while the disk does nothing. */
static void assert_brings(const char *out)
{
        Client c;
        char expected[512];
        client_open(&c);
        feed(&c, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/s' 82 07 0009 00 0001'#' 01");
        snprintf(expected, sizeof(expected), CONNACK5 "90 04 0009 00 01 %s", out);
        assert_out(&c, expected);
        assert_int_equal(view("dev1/s").dropped, 0);
        client_close(&c);
}

static void assert_nothing_retained(void)
{
        assert_int_equal(stats().retained, 0);
        assert_int_equal(stats().kept_bytes, 0);
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_RETAINED), 0);
}

static void set_replaced_cleared(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, "33 07 0001'a' 0001 00 '1'", "40 02 0001"); /* [MQTT-3.3.1-5] */
        assert_brings("33 07 0001'a' 0001 00 '1'");              /* -8: as published */
        exchange(&c, "31 05 0001'a' 00 '2' 31 05 0001'b' 00 '3' 30 05 0001'a' 00 '4'", "");
        assert_brings("31 05 0001'a' 00 '2' 31 05 0001'b' 00 '3'");
        crash();
        assert_brings("31 05 0001'a' 00 '2' 31 05 0001'b' 00 '3'");
        client_close(&c);
        client_connect(&c, CONNECT3, CONNACK3);
        exchange(&c, "31 03 0001'a'", ""); /* [MQTT-3.3.1-6] */
        exchange(&c, "31 03 0001'q'", ""); /* -7 */
        assert_brings("31 05 0001'b' 00 '3'");
        exchange(&c, "31 03 0001'b'", "");
        assert_brings("");
        assert_nothing_retained();
        client_close(&c);
        assert_records("dev1:a=1,dev1:a=2,dev1:b=3,dev1:a=4,dev1:a=,dev1:q=,dev1:b=");
}

/* Filters with wildcards find it by the index as well as outside of it. */
static void found_by_wildcards(void **state)
{
        Client c;
        world.publish = world.subscribe = "all/#";
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, "31 05 0001't' 00 '1' 31 07 0003'a/b' 00 '2' 31 09 0005'all/x' 00 '3'", "");
        exchange(&c, "82 07 0001 00 0001'+' 00", "90 04 0001 00 00 31 05 0001't' 00 '1'");
        exchange(&c, "82 07 0001 00 0001'#' 00",
                 "90 04 0001 00 00 31 05 0001't' 00 '1' 31 07 0003'a/b' 00 '2'");
        exchange(&c, "82 0b 0001 00 0005'all/+' 00", "90 04 0001 00 00 31 09 0005'all/x' 00 '3'");
        world.subscribe = "+/x"; /* of all devices */
        exchange(&c, "82 09 0001 00 0003'+/x' 00", "90 04 0001 00 00 31 09 0005'all/x' 00 '3'");
        client_close(&c);
        mqtt_world_pass(&world, 60);
        assert_int_equal(stats().retained, 3);
}

/* Sections 3.8.3.1, 3.3.1.3. */
static void options(void **state)
{
        Client c, other;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, "33 07 0001'a' 0001 00 '1'", "40 02 0001");
        /* retain handling 0, 1, 2: always, if it is new, never */
        exchange(&c, "82 07 0001 00 0001'a' 00", "90 04 0001 00 00 31 05 0001'a' 00 '1'");
        exchange(&c, "82 07 0001 00 0001'a' 00", "90 04 0001 00 00 31 05 0001'a' 00 '1'");
        exchange(&c, "82 07 0001 00 0001'a' 10", "90 04 0001 00 00");
        exchange(&c, "a2 06 0001 00 0001'a'", "b0 04 0001 00 00");
        exchange(&c, "82 07 0001 00 0001'a' 10", "90 04 0001 00 00 31 05 0001'a' 00 '1'");
        exchange(&c, "a2 06 0001 00 0001'a'", "b0 04 0001 00 00");
        exchange(&c, "82 07 0001 00 0001'a' 20", "90 04 0001 00 00");
        /* without and with retain as published */
        client_connect(&other, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ", CONNACK5);
        exchange(&other, "31 05 0001'a' 00 '2'", "");
        assert_out(&c, "30 05 0001'a' 00 '2'");
        exchange(&c, "82 07 0001 00 0001'a' 28", "90 04 0001 00 00");
        exchange(&other, "31 05 0001'a' 00 '3' 30 05 0001'a' 00 '4'", "");
        assert_out(&c, "31 05 0001'a' 00 '3' 30 05 0001'a' 00 '4'");
        /* none for a shared subscription: section 4.8.2 */
        exchange(&c, "82 10 0001 00 000a'$share/g/a' 00", "90 04 0001 00 00");
        client_close(&c);
        client_close(&other);
}

/* To a session that is kept they go when its queue is on disk. */
static void to_a_kept_session(void **state)
{
        Client c;
        client_connect(&c, RESUME5, CONNACK5);
        exchange(&c, "33 07 0001'a' 0001 00 '1'", "40 02 0001");
        feed(&c, "82 07 0001 00 0001'a' 01");
        assert_out(&c, "");
        settle();
        assert_out(&c, "90 04 0001 00 01 33 07 0001'a' 0001 00 '1'");
        crash();
        client_connect(&c, RESUME5, PRESENT5 "3b 07 0001'a' 0001 00 '1'");
        exchange(&c, "40 02 0001", "");
        client_close(&c);
}

static void expired(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, "31 0a 0001'a' 05 02 0000000a '1'", "");
        client_close(&c);
        mqtt_world_pass(&world, 3);
        assert_brings("31 0a 0001'a' 05 02 00000007 '1'");
        crash_for(2);
        assert_brings("31 0a 0001'a' 05 02 00000005 '1'");
        reboot(1);
        assert_brings("31 0a 0001'a' 05 02 00000004 '1'");
        mqtt_world_pass(&world, 4);
        assert_brings("");
        assert_int_equal(stats().retained, 1);
        mqtt_world_pass(&world, 60);
        assert_nothing_kept();
}

/* A new subscriber sees what is being written, and the one before when the disk does not take it.
 */
static void failed(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, "31 05 0001'a' 00 '1'", "");
        uint64_t kept = stats().kept_bytes;
        feed(&c, "33 08 0001'a' 0001 00 '22'");
        assert_brings("33 08 0001'a' 0001 00 '22'");
        settle_failed(MQTT_QUOTA_EXCEEDED, "full");
        assert_out(&c, "40 0b 0001 97 07 1f 0004'full'");
        assert_brings("31 05 0001'a' 00 '1'");
        assert_int_equal(stats().kept_bytes, kept);
        feed(&c, "33 06 0001'a' 0001 00");
        assert_brings("");
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_out(&c, "40 03 0001 97");
        feed(&c, "33 07 0001'b' 0001 00 '3'");
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_out(&c, "40 03 0001 97");
        assert_brings("31 05 0001'a' 00 '1'");
        assert_int_equal(stats().kept_bytes, kept);
        feed(&c, "33 07 0001'a' 0001 00 '4' 33 07 0001'b' 0002 00 '5'");
        crash(); /* before the disk has answered */
        assert_brings("31 05 0001'a' 00 '1'");
}

/* Two writes of one topic on their way: whichever lasts. */
static void one_of_two_failed(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, "31 05 0001'a' 00 '1'", "");
        feed(&c, "33 07 0001'a' 0001 00 '4' 33 07 0001'a' 0002 00 '5'");
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_brings("33 07 0001'a' 0001 00 '5'");
        settle();
        assert_out(&c, "40 03 0001 97 40 02 0002");
        assert_brings("33 07 0001'a' 0001 00 '5'");
        feed(&c, "33 07 0001'a' 0001 00 '6' 33 06 0001'a' 0002 00");
        mqtt_disk_settle(&world.disk);
        assert_brings("");
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_out(&c, "40 02 0001 40 03 0002 97");
        assert_brings("33 07 0001'a' 0001 00 '6'");
        feed(&c, "31 04 0001'a' 00 31 05 0001'a' 00 '7'"); /* cleared, and another */
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_brings("31 05 0001'a' 00 '7'");
        settle();
        client_close(&c);
        crash();
        assert_brings("31 05 0001'a' 00 '7'");
}

/* Who sets its first one or clears its last one and goes: the device itself is known until the disk
 * has answered. */
static void gone_meanwhile(void **state)
{
        Client c;
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, "31 05 0001'a' 00 '1'");
        client_close(&c);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_nothing_kept();
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c, "31 05 0001'a' 00 '1'", "");
        feed(&c, "31 04 0001'a' 00");
        client_close(&c);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_brings("31 05 0001'a' 00 '1'");
        client_connect(&c, CONNECT5, CONNACK5);
        feed(&c, "31 04 0001'a' 00");
        client_close(&c);
        settle();
        assert_brings("");
        assert_nothing_kept();
}

static void quota(void **state)
{
        Client c;
        world.limits.retained_bytes = 800;
        client_connect(&c, CONNECT5, CONNACK5);
        exchange(&c,
                 "33 07 0001'a' 0001 00 '1' 33 07 0001'b' 0002 00 '1' 33 07 0001'c' 0003 00 '1'",
                 "40 02 0001 40 02 0002 40 22 0003 97 1e 1f 001b'the device retains too much'");
        exchange(&c, "33 06 0001'c' 0001 00", "40 02 0001"); /* which would not be kept */
        assert_records("dev1:a=1,dev1:b=1,dev1:c=");
        exchange(&c, "33 07 0001'a' 0001 00 '2'", "40 02 0001"); /* in place of the one before */
        exchange(&c, "33 06 0001'b' 0001 00", "40 02 0001");
        exchange(&c, "33 07 0001'c' 0001 00 '1'", "40 02 0001");
        client_close(&c);
        world.limits.retained_bytes = 4096;
        world.config.kept_bytes = 900; /* of all devices together */
        crash();
        client_connect_as(&c, "dev2", "10 11 0004'MQTT'05 02 003c 00 0004'dev2' ", CONNACK5);
        feed(&c, "33 07 0001'c' 0001 00 '1'");
        assert_int_equal(buf_view(&c.out).data[4], MQTT_QUOTA_EXCEEDED);
        assert_int_equal(stats().retained, 2);
        client_close(&c);
        client_connect(&c, CONNECT5, CONNACK5); /* what is replaced makes room here as well */
        exchange(&c, "33 07 0001'c' 0001 00 '4'", "40 02 0001");
        client_close(&c);
}

/* What has expired takes no room any more. */
static void quota_of_the_expired(void **state)
{
        Client c;
        world.limits.retained_bytes = 512;
        client_connect(&c, "10 10 0004'MQTT'04 00 0000 0004'dev1'", CONNACK3);
        client_close(&c); /* the device stays known */
        client_connect(&c, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ", CONNACK5);
        exchange(&c, "33 0c 0001'a' 0001 05 02 0000000a '1'", "40 02 0001");
        client_close(&c);
        mqtt_world_pass(&world, 70);
        client_connect(&c, "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' ", CONNACK5);
        exchange(&c, "33 07 0001'b' 0001 00 '1'", "40 02 0001");
        client_close(&c);
}

/* A topic that two devices may publish to: the account follows the message. */
static void of_another_owner(void **state)
{
        Client a, b;
        world.publish = "all/#";
        world.limits.retained_bytes = 512; /* one each */
        client_connect(&a, CONNECT5, CONNACK5);
        client_connect_as(&b, "dev2", "10 11 0004'MQTT'05 02 003c 00 0004'dev2' ", CONNACK5);
        exchange(&a, "33 0b 0005'all/x' 0001 00 '1'", "40 02 0001");
        exchange(&b, "33 0b 0005'all/x' 0001 00 '2'", "40 02 0001");
        exchange(&a, "33 0b 0005'all/y' 0001 00 '1'", "40 02 0001");
        feed(&b, "33 0b 0005'all/z' 0001 00 '1'");
        assert_int_equal(buf_view(&b.out).data[4], MQTT_QUOTA_EXCEEDED);
        client_close(&a);
        client_close(&b);
        world.gone = "dev1";
        mqtt_server_review(world.server);
        settle();
        assert_int_equal(stats().retained, 1);
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_RETAINED), 1);
        world.gone = "dev2";
        mqtt_server_review(world.server);
        assert_nothing_kept();
}

/* What failed never changed hands. */
static void of_another_owner_failed(void **state)
{
        static const char of_dev2[] = "10 11 0004'MQTT'05 02 003c 00 0004'dev2' ";
        Client a, b;
        world.publish = world.subscribe = "all/#";
        world.limits.retained_bytes = 512; /* one each */
        client_connect(&a, CONNECT5, CONNACK5);
        exchange(&a, "33 0b 0005'all/x' 0001 00 '1'", "40 02 0001");
        client_connect_as(&b, "dev2", of_dev2, CONNACK5);
        feed(&b, "33 0b 0005'all/x' 0001 00 '2'");
        client_close(&b);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        client_connect_as(&b, "dev2", of_dev2, CONNACK5);
        feed(&a, "33 0b 0005'all/x' 0001 00 '3'");
        feed(&b, "33 0a 0005'all/x' 0001 00"); /* cleared */
        mqtt_disk_settle(&world.disk);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        assert_out(&a, "40 02 0001");
        assert_out(&b, "40 03 0001 97");
        exchange(&b, "33 0b 0005'all/y' 0001 00 '1'", "40 02 0001");
        feed(&a, "33 0b 0005'all/z' 0001 00 '1'");
        assert_int_equal(buf_view(&a.out).data[4], MQTT_QUOTA_EXCEEDED);
        client_close(&b);
        world.gone = "dev2";
        mqtt_server_review(world.server);
        buf_clear(&a.out);
        exchange(&a, "82 0b 0009 00 0005'all/#' 00", "90 04 0009 00 00 31 09 0005'all/x' 00 '3'");
        client_close(&a);
}

static void from_a_will(void **state)
{
        Client c;
        client_connect(&c, "10 18 0004'MQTT'05 26 003c 00 0004'dev1' 00 0001'w'0001'1' ", CONNACK5);
        client_close(&c);
        settle();
        assert_brings("31 05 0001'w' 00 '1'");
        /* without room it is published, but not retained, not even until the next restart */
        world.limits.retained_bytes = 300;
        client_connect(&c, "10 1f 0004'MQTT'05 26 003c 00 0004'dev1' 00 0001'w'0008'12345678' ",
                       CONNACK5);
        world.limits.retained_bytes = 0;
        client_close(&c);
        settle();
        assert_records("dev1:w=1,dev1:w=12345678");
        assert_brings("31 05 0001'w' 00 '1'");
        crash();
        assert_brings("31 05 0001'w' 00 '1'");
}

static double cpu_seconds(void)
{
        return (double)clock() / CLOCKS_PER_SEC;
}

/* 200 times "#", each for a message that is retained already six hundred times: none of what finds
 * no room is worth another look through all that waits. */
static void asked_for_again_and_again(void **state)
{
        char retain[32], subscribe[2048] = "82 a3 06 0001 00";
        Client c;
        world.limits.retained_bytes = 256 * 1024;
        world.limits.queue_bytes = 1024 * 1024;
        client_connect(&c, CONNECT5, CONNACK5);
        for (unsigned i = 0; i < 600; i++) {
                snprintf(retain, sizeof(retain), "31 08 0004'%04u' 00 'x'", i);
                exchange(&c, retain, "");
        }
        for (size_t i = 0; i < 200; i++)
                strcat(subscribe, "0001'#'01");
        double begin = cpu_seconds();
        feed(&c, subscribe);
        assert_true(cpu_seconds() - begin < 1);
        assert_in_range(view("dev1").waiting_bytes, 1000 * 1000, 1024 * 1024);
        client_close(&c);
}

/* All at once, after a long absence: not in one turn of the loop. */
static void many_expire(void **state)
{
        char publish[64];
        Client c;
        world.limits.retained_bytes = 8 << 20;
        client_connect(&c, CONNECT5, CONNACK5);
        for (unsigned i = 0; i < 3000; i++) {
                snprintf(publish, sizeof(publish), "31 0d 0004'%04u' 05 02 0000000a '1'", i);
                exchange(&c, publish, "");
        }
        client_leave(&c);
        mqtt_world_pass(&world, 60);
        assert_in_range(stats().retained, 1, 2999);
        mqtt_world_pass(&world, 1);
        assert_nothing_kept();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(set_replaced_cleared),
                TEST(found_by_wildcards),
                TEST(options),
                TEST(to_a_kept_session),
                TEST(expired),
                TEST(failed),
                TEST(one_of_two_failed),
                TEST(gone_meanwhile),
                TEST(quota),
                TEST(quota_of_the_expired),
                TEST(of_another_owner),
                TEST(of_another_owner_failed),
                TEST(from_a_will),
                TEST(asked_for_again_and_again),
                TEST(many_expire),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
