/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "uplink-bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void delivery(void **state)
{
        Fixture *f = *state;
        char output[128];
        append_range(f, "d1", 0, 2 * WINDOW);
        append(f, STORE_REPORT, "", "report", BYTES("\x01", 1));
        append(f, STORE_TELEMETRY, "d2", "temperature", BYTES_LITERAL("21.5"));
        while (f->appended < 2 * WINDOW + 2)
                turn(f);
        broker_start(&broker, NULL);
        snprintf(output, sizeof(output), "%s/sub", f->directory);
        pid_t sub = broker_subscriber(&broker, "site/#", "%t|%x|%C|%P|%q", output);
        start(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        UplinkStats s = stats_of(f);
        assert_true(s.connected);
        assert_int_equal(s.sent, 2 * WINDOW + 2);
        assert_int_equal(s.delivered, 2 * WINDOW + 2);
        assert_int_equal(s.in_flight, 0);

        char expected[256], line[512];
        snprintf(expected, sizeof(expected),
                 "site/a/gw/d2/temperature|32312e35|text/plain|device:d2 posture:affirming "
                 "received-at:2026-01-01T00:00:00.042Z sequence:1 epoch:%llu|1\n",
                 (unsigned long long)store_epoch(f->store));
        file_wait(output, expected);
        /* The report was stored last but one, and arrives first. */
        FILE *file = fopen(output, "re");
        assert_non_null(fgets(line, sizeof(line), file));
        fclose(file);
        assert_non_null(strstr(line, "site/a/gw/gateway/report|01|"));
        unsigned counts[2 * WINDOW] = { 0 };
        count_arrivals("d1", counts, 2 * WINDOW);
        for (unsigned i = 0; i < 2 * WINDOW; i++)
                assert_int_equal(counts[i], 1);

        /* What comes in now leaves at once. */
        append(f, STORE_REPORT, "d2", "later", BYTES_LITERAL("x"));
        PUMP_UNTIL(f, stats_of(f).delivered == s.delivered + 1);
        snprintf(expected, sizeof(expected),
                 "site/a/gw/d2/later|78|text/plain|device:d2 posture:affirming "
                 "received-at:2026-01-01T00:00:00.042Z sequence:2 epoch:%llu|1\n",
                 (unsigned long long)store_epoch(f->store));
        file_wait(output, expected);
        process_end(sub);
}

/* The broker allows less than our window. */
static void receive_maximum(void **state)
{
        Fixture *f = *state;
        broker_start(&broker, "max_inflight_messages 3");
        append_range(f, "d1", 0, 100);
        start(f);
        size_t most = 0;
        PUMP_UNTIL(f, (most = MAX(most, stats_of(f).in_flight), waiting(f) == 0));
        assert_true(most <= 3);
        assert_int_equal(stats_of(f).sent, 100);
}

#define MANY   4000
#define ROUNDS 5

static void broker_killed(void **state)
{
        Fixture *f = *state;
        static unsigned counts[MANY];
        memset(counts, 0, sizeof(counts));
        broker_start(&broker, NULL);
        start(f);
        PUMP_UNTIL(f, stats_of(f).connected);
        for (unsigned round = 0; round < ROUNDS; round++) {
                append_range(f, "d1", round * MANY / ROUNDS, (round + 1) * MANY / ROUNDS);
                uint64_t before = stats_of(f).delivered;
                PUMP_UNTIL(f, stats_of(f).delivered >= before + 100 + 37 * round);
                broker_kill(&broker);
                PUMP_UNTIL(f, !stats_of(f).connected);
                assert_int_equal(stats_of(f).in_flight, 0);
                broker_start(&broker, NULL);
        }
        PUMP_UNTIL(f, waiting(f) == 0);
        count_arrivals("d1", counts, MANY);
        unsigned again = 0;
        for (unsigned i = 0; i < MANY; i++) {
                if (counts[i] == 0)
                        fail_msg("record %u never arrived", i);
                again += counts[i] - 1;
        }
        assert_true(again <= ROUNDS * WINDOW);
}

/* What the broker refuses to one device stays, in order, and holds up nobody else. */
static void refused_by_acl(void **state)
{
        Fixture *f = *state;
        unsigned counts[50] = { 0 };
        append_range(f, "d2", 0, 50);
        append_range(f, "d1", 0, 50);
        broker_start_with_acl("user gw-1\ntopic write site/a/gw/d1/#\n");
        start(f);
        PUMP_UNTIL(f, stats_of(f).delivered == 50);
        UplinkStats s = stats_of(f);
        assert_int_equal(s.held, 1);
        assert_true(s.refused > 0 && s.refused <= WINDOW);
        assert_int_equal(s.dropped, 0);
        assert_non_null(strstr(s.last_error, "The broker refuses records of d2: Not authorized."));
        PUMP_UNTIL(f, waiting(f) == 50);

        broker_kill(&broker);
        remove(broker.log);
        broker_start_with_acl("user gw-1\ntopic write site/#\n");
        PUMP_UNTIL(f, waiting(f) == 0);
        count_arrivals("d2", counts, 50);
        for (unsigned i = 0; i < 50; i++)
                assert_int_equal(counts[i], 1);
        assert_int_equal(stats_of(f).held, 0);
}

/* A report overtakes telemetry, so that the first record refused is not the one with the lowest id:
 * when the hold ends all of them go, without a new connection. */
static void refused_out_of_order(void **state)
{
        Fixture *f = *state;
        unsigned counts[50] = { 0 };
        append_range(f, "d1", 0, 200);
        append_range(f, "d2", 0, 50);
        append(f, STORE_REPORT, "d2", "report", BYTES_LITERAL("x"));
        broker_start_with_acl("user gw-1\ntopic write site/a/gw/d1/#\n");
        start(f);
        PUMP_UNTIL(f, stats_of(f).delivered == 200);
        assert_int_equal(stats_of(f).refused, 1);
        PUMP_UNTIL(f, waiting(f) == 51);
        write_acl("user gw-1\ntopic write site/#\n");
        assert_int_equal(kill(broker.pid, SIGHUP), 0);
        PUMP_UNTIL(f, waiting(f) == 0);
        count_arrivals("d2", counts, 50);
        for (unsigned i = 0; i < 50; i++)
                assert_int_equal(counts[i], 1);
        assert_int_equal(stats_of(f).attempts, 1);
}

static void too_large(void **state)
{
        Fixture *f = *state;
        static uint8_t large[5000];
        append(f, STORE_TELEMETRY, "d1", "large", BYTES(large, sizeof(large)));
        append_range(f, "d1", 0, 5);
        broker_start(&broker, "max_packet_size 2000");
        start(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        UplinkStats s = stats_of(f);
        assert_int_equal(s.dropped, 1);
        assert_int_equal(s.delivered, 5);
        assert_string_equal(s.last_error, "Dropped a record of d1: larger than the broker takes.");
}

/* The same, but the broker says it only when it has the message. libmosquitto 2.0.21 takes that
 * answer for a protocol error and ends the connection: what the uplink makes of it takes others
 * that get through in between. */
static void too_large_for_puback(void **state)
{
        Fixture *f = *state;
        static uint8_t large[5000];
        append(f, STORE_TELEMETRY, "d1", "large", BYTES(large, sizeof(large)));
        append_range(f, "d1", 0, 5);
        broker_start(&broker, "message_size_limit 2000");
        start(f);
        PUMP_UNTIL(f, stats_of(f).delivered == 5);
        PUMP_WITH_OTHERS(f, stats_of(f).dropped == 1);
        assert_non_null(strstr(stats_of(f).last_error, "Dropped a record of d1: "));
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_int_equal(stats_of(f).held, 0);
        assert_int_equal(stats_of(f).set_aside, 0);
}

static void on_command(const char *topic, const MqttClientMessage *message, void *userdata)
{
        Fixture *f = userdata;
        f->commands++;
        snprintf(f->command, sizeof(f->command), "%s=%.*s", topic, (int)message->payload.len,
                 (const char *)message->payload.data);
}

static void commands_down(void **state)
{
        Fixture *f = *state;
        broker_start(&broker, NULL);
        start(f);
        assert_int_equal(uplink_subscribe(f->uplink, "bad/#/filter", on_command, f), -EINVAL);
        assert_int_equal(uplink_subscribe(f->uplink, "+/cmd/#", on_command, f), 0);
        for (unsigned round = 1; round <= 2; round++) {
                PUMP_UNTIL(f, file_count(broker.log, "Sending SUBACK to gw-1") == round);
                broker_publish(&broker, "site/a/gw/gateway/cmd/nonce", "abc", "-d");
                broker_publish(&broker, "site/a/gw/elsewhere", "abc", "-d");
                PUMP_UNTIL(f, f->commands == round);
                assert_string_equal(f->command, "gateway/cmd/nonce=abc");
                /* It subscribes again by itself. */
                broker_kill(&broker);
                PUMP_UNTIL(f, !stats_of(f).connected);
                broker_start(&broker, NULL);
        }
}

static void freed_in_full_swing(void **state)
{
        Fixture *f = *state;
        broker_start(&broker, NULL);
        append_range(f, "d1", 0, 500);
        start(f);
        PUMP_UNTIL(f, stats_of(f).delivered >= 50);
        f->uplink = uplink_free(f->uplink);
        usec_t deadline = now_boottime() + 5 * USEC_PER_SEC;
        while (waiting(f) > 450 && now_boottime() < deadline)
                turn(f);
        assert_true(waiting(f) <= 450);
        start(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        static unsigned counts[500];
        count_arrivals("d1", counts, 500);
        unsigned again = 0;
        for (unsigned i = 0; i < 500; i++) {
                assert_true(counts[i] > 0);
                again += counts[i] - 1;
        }
        assert_true(again <= WINDOW);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(delivery),
                TEST(receive_maximum),
                TEST(broker_killed),
                TEST(refused_by_acl),
                TEST(refused_out_of_order),
                TEST(too_large),
                TEST(too_large_for_puback),
                TEST(commands_down),
                TEST(freed_in_full_swing),
        };
        return cmocka_run_group_tests_name("uplink", tests, group_setup, group_teardown);
}
