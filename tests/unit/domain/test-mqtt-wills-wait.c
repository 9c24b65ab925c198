/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Wills whose time has come while there is no room, or whose write fails: they wait. */

#include "mqtt-bench.h"

#include <stdio.h>

#include "domain/mqtt-journal.h"

/* "w" = "p" or "q": without a session that outlives the connection; with one, resumed; of 30 s. */
#define WILL5   "10 18 0004'MQTT'05 06 003c 00 0004'dev1' 00 0001'w'0001'p' "
#define WILL5_Q "10 18 0004'MQTT'05 06 003c 00 0004'dev1' 00 0001'w'0001'q' "
#define AT_ONCE                                                                                    \
        "10 22 0004'MQTT'05 04 003c 05 11 00000064 0004'dev1' 05 18 00000000 0001'w'0001'p' "
#define AT_ONCE_Q                                                                                  \
        "10 22 0004'MQTT'05 04 003c 05 11 00000064 0004'dev1' 05 18 00000000 0001'w'0001'q' "
#define WILL5_30_S "10 1d 0004'MQTT'05 06 003c 00 0004'dev1' 05 02 0000001e 0001'w'0001'p' "

static void come_and_go(const char *connect)
{
        Client c;
        client_connect(&c, connect, CONNACK5);
        client_close(&c);
}

static void pass_and_settle(unsigned seconds)
{
        mqtt_world_pass(&world, seconds);
        settle();
}

#define LISTENER "10 13 0004'MQTT'05 02 003c 00 0006'dev1/x' "

static void listen_to_wills(Client *listener)
{
        client_connect(listener, LISTENER, CONNACK5);
        exchange(listener, "82 07 0001 00 0001'w' 00", "90 04 0001 00 00");
}

/* Nobody else would try again: it waits for room, over a restart too, and comes once. */
static void no_room(void **state)
{
        for (unsigned restart = 0; restart <= 1; restart++) {
                Client c, listener;
                client_connect(&c, WILL5, CONNACK5);
                world.refuse = MQTT_QUOTA_EXCEEDED;
                client_close(&c);
                pass_and_settle(60);
                assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_WILL), 1);
                if (restart)
                        crash();
                listen_to_wills(&listener);
                pass_and_settle(1);
                assert_out(&listener, "");
                world.refuse = MQTT_SUCCESS;
                pass_and_settle(1);
                assert_out(&listener, "30 05 0001'w' 00 'p'");
                assert_records(restart ? "dev1:w=p,dev1:w=p" : "dev1:w=p");
                client_close(&listener);
                assert_nothing_kept();
        }
}

/* The disk takes neither the message nor, in one group with it, that the will is gone. */
static void failed(void **state)
{
        Client c, listener;
        client_connect(&c, WILL5, CONNACK5);
        listen_to_wills(&listener);
        client_close(&c);
        for (unsigned i = 0; i < 3; i++) {
                settle_failed(MQTT_UNSPECIFIED_ERROR, NULL);
                settle();
                assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_WILL), 1);
                assert_out(&listener, ""); /* who takes QoS 0 would get it each time */
                mqtt_world_pass(&world, 5);
        }
        settle();
        assert_out(&listener, "30 05 0001'w' 00 'p'");
        assert_records("dev1:w=p");
        client_close(&listener);
        assert_nothing_kept();
}

/* Its session goes on meanwhile, and has another one. */
static void with_another_behind(void **state)
{
        Client c;
        come_and_go(AT_ONCE);
        client_open(&c);
        feed(&c, AT_ONCE);
        settle_failed(MQTT_UNSPECIFIED_ERROR, NULL);
        world.refuse = MQTT_QUOTA_EXCEEDED;
        settle();
        assert_out(&c, PRESENT5);
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_WILL), 2);
        crash();
        mqtt_world_pass(&world, 1);
        world.refuse = MQTT_SUCCESS;
        pass_and_settle(60);
        pass_and_settle(60);
        assert_records("dev1:w=p,dev1:w=p");
        mqtt_world_pass(&world, 100);
        assert_nothing_kept();
}

/* What the device says when it is back comes after it. */
static void before_what_follows(void **state)
{
        Client c;
        client_connect(&c, AT_ONCE, CONNACK5);
        world.refuse = MQTT_QUOTA_EXCEEDED;
        client_close(&c);
        client_connect(&c, RESUME5, PRESENT5);
        world.refuse = MQTT_SUCCESS;
        exchange(&c, "32 07 0001'w' 0001 00'b'", "40 02 0001");
        assert_records("dev1:w=p,dev1:w=b");
        client_leave_for_good(&c);
        assert_nothing_kept();
}

/* Of a device that comes and goes meanwhile there are no more than it may have sessions. */
static void bounded(void **state)
{
        world.refuse = MQTT_QUOTA_EXCEEDED;
        for (unsigned i = 0; i < 20; i++)
                come_and_go(WILL5);
        settle();
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_WILL), world.limits.sessions);
        assert_int_equal(world.n_wills_lost, 20 - world.limits.sessions);
        world.gone = "dev1";
        mqtt_server_review(world.server);
        assert_nothing_kept();
        assert_int_equal(world.n_wills_lost, 20);
}

/* Section 3.1.3.2.4: its expiry goes on while it waits. */
static void expires(void **state)
{
        Client c;
        client_connect(&c,
                       "10 1d 0004'MQTT'05 06 003c 00 0004'dev1' 05 02 0000001e 0001'w'0001'p' ",
                       CONNACK5);
        world.refuse = MQTT_QUOTA_EXCEEDED;
        client_close(&c);
        mqtt_world_pass(&world, 29);
        assert_int_equal(world.n_wills_lost, 0);
        mqtt_world_pass(&world, 60);
        assert_int_equal(world.n_wills_lost, 1);
        assert_nothing_kept();
}

/* Section 3.8.3.1: its client by its name, whatever became of the session. */
static void not_to_itself(void **state)
{
        Client c;
        client_connect(&c, WILL5, CONNACK5);
        world.refuse = MQTT_QUOTA_EXCEEDED;
        client_close(&c);
        client_connect(&c, BEGIN5, CONNACK5);
        exchange(&c, "82 07 0001 00 0001'w' 05", "90 04 0001 00 01");
        world.refuse = MQTT_SUCCESS;
        pass_and_settle(1);
        assert_records("dev1:w=p");
        assert_out(&c, "");
        client_leave_for_good(&c);
}

/* The disk has refused one and taken the next of the same session: both are there. */
static void killed_in_between(void **state)
{
        Client c;
        come_and_go(AT_ONCE);
        client_open(&c);
        feed(&c, AT_ONCE_Q);
        settle_failed(MQTT_UNSPECIFIED_ERROR, NULL);
        mqtt_disk_settle(&world.disk);
        crash();
        pass_and_settle(1);
        pass_and_settle(60);
        assert_records("dev1:w=p,dev1:w=q");
}

/* One goes while another is on its way, and fails: that it went is not part of the other's group.
 */
static void gone_whatever_fails(void **state)
{
        Client c;
        world.refuse = MQTT_QUOTA_EXCEEDED;
        come_and_go(WILL5);
        client_connect_as(&c, "dev2",
                          "10 1d 0004'MQTT'05 06 003c 00 0004'dev2' 05 02 0000001e 0001'w'0001'x' ",
                          CONNACK5);
        client_close(&c);
        settle();
        world.refuse = MQTT_SUCCESS;
        mqtt_world_pass(&world, 60);
        assert_int_equal(world.n_wills_lost, 1);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        settle();
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_WILL), 1);
        pass_and_settle(60);
        assert_records("dev1:w=p");
}

static void in_their_order(void **state)
{
        Client c;
        world.refuse = MQTT_QUOTA_EXCEEDED;
        come_and_go(WILL5);
        client_connect(&c, WILL5_Q, CONNACK5);
        world.refuse = MQTT_SUCCESS;
        client_close(&c);
        settle();
        pass_and_settle(60);
        assert_records("dev1:w=p,dev1:w=q");
        /* Behind one that fails nothing else goes. */
        come_and_go(WILL5);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        come_and_go(WILL5_Q);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        settle();
        pass_and_settle(60);
        pass_and_settle(60);
        assert_records("dev1:w=p,dev1:w=q,dev1:w=p,dev1:w=q");
        assert_nothing_kept();
}

/* What the device retains with the message that comes behind it is asked afterwards. */
static void within_what_is_retained(void **state)
{
        Client c;
        world.limits.retained_bytes = 450;
        world.refuse = MQTT_QUOTA_EXCEEDED;
        come_and_go("10 18 0004'MQTT'05 26 003c 00 0004'dev1' 00 0001'w'0001'p' ");
        client_connect(&c, CONNECT5, CONNACK5);
        world.refuse = MQTT_SUCCESS;
        exchange(&c, "33 07 0001'v' 0001 00'b'", NULL);
        assert_in_range(stats().kept_bytes, 1, 450);
        client_close(&c);
}

/* Those on their way do not count, and starts that follow one another bring no more of them. */
static void bounded_however(void **state)
{
        Client c;
        world.limits.sessions = 1;
        for (unsigned i = 0; i < 2; i++) {
                client_open(&c);
                feed(&c, WILL5);
                client_close(&c);
        }
        mqtt_disk_settle(&world.disk); /* the first CONNECT */
        settle_failed(MQTT_UNSPECIFIED_ERROR, NULL);
        settle();
        assert_int_equal(world.n_wills_lost, 0);
        world.refuse = MQTT_QUOTA_EXCEEDED;
        for (unsigned i = 0; i < 5; i++) {
                client_connect(&c, WILL5, CONNACK5);
                crash();
                pass_and_settle(1);
        }
        assert_int_equal(mqtt_disk_n_values(&world.disk, MQTT_KIND_WILL), 1);
}

/* After a restart all that there were may be due. */
static void many_after_a_restart(void **state)
{
        enum { N = 1000 };
        world.limits.sessions = N;
        world.refuse = MQTT_QUOTA_EXCEEDED;
        for (unsigned i = 0; i < N; i++)
                come_and_go(WILL5);
        settle();
        crash();
        world.refuse = MQTT_SUCCESS;
        mqtt_world_pass(&world, 1);
        assert_in_range(world.n_submitted, 1, N / 2);
        for (unsigned i = 0; i < 10; i++) {
                settle();
                mqtt_world_pass(&world, 1);
        }
        assert_int_equal(world.n_submitted, N);
        assert_nothing_kept();
}

/* While it waits its device's posture runs out, or is not known any more: it was allowed when its
 * time came. One that had no time before the gateway went waits for its device to be allowed, with
 * or without its session. */
static void whatever_the_posture_is_now(void **state)
{
        static const char *const wills[] = { WILL5, AT_ONCE };
        for (unsigned i = 0; i < 4; i++) {
                bool judged = i & 1;
                Client c;
                client_connect(&c, wills[i / 2], CONNACK5);
                world.refuse = judged ? MQTT_QUOTA_EXCEEDED : MQTT_SUCCESS;
                if (judged)
                        client_close(&c);
                settle();
                world.mute = "dev1";
                crash();
                world.refuse = MQTT_SUCCESS;
                size_t before = mqtt_disk_n_records(&world.disk);
                pass_and_settle(1);
                assert_int_equal(mqtt_disk_n_records(&world.disk), before + judged);
                world.mute = NULL;
                pass_and_settle(60);
                assert_int_equal(mqtt_disk_n_records(&world.disk), before + 1);
                mqtt_world_pass(&world, 100);
                assert_nothing_kept();
        }
}

/* One that waits for a posture, perhaps for ever, holds up no other; on disk they stand in the
 * order in which their time came. */
static void past_one_that_is_closed(void **state)
{
        Client a, b, c;
        client_connect(&a, "10 1a 0004'MQTT'05 06 003c 00 0006'dev1/a' 00 0001'w'0001'a' ",
                       CONNACK5);
        client_connect(&b, "10 1a 0004'MQTT'05 06 003c 00 0006'dev1/b' 00 0001'w'0001'b' ",
                       CONNACK5);
        client_connect(&c, "10 1a 0004'MQTT'05 06 003c 00 0006'dev1/c' 00 0001'w'0001'c' ",
                       CONNACK5);
        world.refuse = MQTT_QUOTA_EXCEEDED;
        client_close(&c);
        client_close(&b);
        settle();
        world.mute = "dev1";
        crash();
        world.refuse = MQTT_SUCCESS;
        pass_and_settle(1);
        pass_and_settle(60);
        assert_records("dev1:w=c,dev1:w=b");
        world.mute = NULL;
        pass_and_settle(60);
        assert_records("dev1:w=c,dev1:w=b,dev1:w=a");
        assert_nothing_kept();
}

/* It is killed before it heard that the disk had refused. */
static void judged_and_killed(void **state)
{
        come_and_go(WILL5);
        assert_true(mqtt_disk_write(&world.disk)); /* that it waits */
        settle_failed(MQTT_UNSPECIFIED_ERROR, NULL);
        world.mute = "dev1";
        crash();
        pass_and_settle(1);
        assert_records("dev1:w=p");
        assert_nothing_kept();
}

/* What is noted of one is no part of another that fails. */
static void noted_whatever_fails(void **state)
{
        Client c;
        world.refuse = MQTT_QUOTA_EXCEEDED;
        come_and_go(WILL5);
        client_connect(&c, WILL5_Q, CONNACK5);
        world.refuse = MQTT_SUCCESS;
        client_close(&c);
        settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
        settle();
        world.mute = "dev1";
        crash();
        pass_and_settle(1);
        pass_and_settle(60);
        assert_records("dev1:w=p,dev1:w=q");
        assert_nothing_kept();
}

#define RETAINED_WILL                                                                              \
        "10 22 0004'MQTT'05 24 003c 05 11 00000064 0004'dev1' 05 18 00000000 0001'w'0001'p' "

/* A retained message that came meanwhile stays, also when it clears, and over a restart. */
static void after_what_is_retained(void **state)
{
        static const struct {
                const char *publish, *brings;
        } t[] = {
                { "33 0c 0001'w' 0001 00'online'", "31 0a 0001'w' 00 'online'" },
                { "33 06 0001'w' 0001 00", "" },
        };
        for (unsigned i = 0; i < 4; i++) {
                Client c, z;
                bool restart = i & 1;
                char expected[100];
                client_connect(&c, RETAINED_WILL, i == 0 ? CONNACK5 : NULL);
                client_close(&c);
                client_open(&c);
                feed(&c, RESUME5);
                settle_failed(MQTT_QUOTA_EXCEEDED, NULL);
                settle();
                assert_out(&c, PRESENT5);
                feed(&c, t[i / 2].publish);
                settle_failed(MQTT_QUOTA_EXCEEDED, NULL); /* it needs more room than the message */
                settle();
                assert_out(&c, "40 02 0001");
                size_t before = mqtt_disk_n_records(&world.disk);
                if (restart)
                        crash();
                else
                        client_close(&c);
                pass_and_settle(10);
                assert_int_equal(mqtt_disk_n_records(&world.disk), before + 1);
                client_connect(&z, LISTENER, CONNACK5);
                snprintf(expected, sizeof(expected), "90 04 0001 00 00 %s", t[i / 2].brings);
                exchange(&z, "82 07 0001 00 0001'w' 00", expected);
                client_close(&z);
        }
}

#define DELAYED                                                                                    \
        "10 22 0004'MQTT'05 04 003c 05 11 00000064 0004'dev1' 05 18 0000000a 0001'w'0001'p' "

/* Wills have room of their own, and there is an end to it; what the client's own one has is free
 * for the next when that takes its place. */
static void room_for_wills(void **state)
{
        Client a, b;
        world.server->config.kept_bytes = 0;
        client_connect(&a, DELAYED, CONNACK5);
        world.server->config.will_bytes = world.server->will_bytes;
        client_open(&b);
        exchange(&b, "10 1a 0004'MQTT'05 06 003c 00 0006'dev1/b' 00 0001'w'0001'b' ", NULL);
        assert_ended(&b, MQTT_QUOTA_EXCEEDED);
        client_close(&b);
        client_close(&a);
        client_connect(&a, DELAYED, PRESENT5);
        client_leave_for_good(&a);
        client_connect(&b, WILL5, CONNACK5);
        client_leave(&b);
        assert_nothing_kept();
}

/* Neither a restart nor another boot begins it anew. */
static void expires_over_a_restart(void **state)
{
        for (unsigned another_boot = 0; another_boot <= 1; another_boot++) {
                Client c;
                client_connect(&c, WILL5_30_S, CONNACK5);
                world.refuse = MQTT_QUOTA_EXCEEDED;
                client_close(&c);
                pass_and_settle(29);
                if (another_boot)
                        reboot(3600);
                else
                        crash();
                world.refuse = MQTT_SUCCESS;
                pass_and_settle(1);
                assert_records("");
                assert_int_equal(world.n_wills_lost, 1 + another_boot);
                assert_nothing_kept();
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(no_room),
                TEST(failed),
                TEST(with_another_behind),
                TEST(before_what_follows),
                TEST(bounded),
                TEST(expires),
                TEST(not_to_itself),
                TEST(killed_in_between),
                TEST(gone_whatever_fails),
                TEST(in_their_order),
                TEST(within_what_is_retained),
                TEST(after_what_is_retained),
                TEST(bounded_however),
                TEST(many_after_a_restart),
                TEST(whatever_the_posture_is_now),
                TEST(past_one_that_is_closed),
                TEST(judged_and_killed),
                TEST(noted_whatever_fails),
                TEST(room_for_wills),
                TEST(expires_over_a_restart),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
