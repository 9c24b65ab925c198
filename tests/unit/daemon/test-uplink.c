/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "../broker.h"
#include "daemon/uplink.h"

#define WINDOW 20

typedef struct Fixture {
        char directory[64];
        Loop *loop;
        Store *store;
        Credential *credential;
        UplinkConfig config;
        Uplink *uplink;
        size_t appended;
        unsigned commands;
        char command[128];
} Fixture;

static Broker broker;

static int group_setup(void **state)
{
        broker_prepare(&broker);
        return 0;
}

static int group_teardown(void **state)
{
        broker_done(&broker);
        return 0;
}

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        strcpy(f->directory, "/tmp/test-uplink.XXXXXX");
        assert_non_null(mkdtemp(f->directory));
        assert_int_equal(loop_new(&f->loop), 0);
        assert_int_equal(store_open(f->loop, f->directory, (uint64_t)64 << 20, &f->store), 0);
        f->credential = broker_credential(&broker, false);
        f->config = (UplinkConfig){
                .client = {
                        .host = "127.0.0.1",
                        .port = broker.port,
                        .server_name = "broker.test",
                        .ca = broker.ca,
                        .client_id = "gw-1",
                        .keep_alive = 30,
                        .window = WINDOW,
                        .backoff_min = 50 * USEC_PER_MSEC,
                        .backoff_max = 200 * USEC_PER_MSEC,
                },
                .topic_prefix = "site/a",
                .gateway = "gw",
        };
        remove(broker.log);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;
        char command[128];
        uplink_free(f->uplink);
        store_free(f->store);
        credential_unref(f->credential);
        broker_kill(&broker);
        loop_free(f->loop);
        snprintf(command, sizeof(command), "rm -rf -- '%s'", f->directory);
        assert_int_equal(system(command), 0);
        free(f);
        return 0;
}

static void start(Fixture *f)
{
        assert_int_equal(uplink_new(f->loop, f->store, &f->config, f->credential, &f->uplink), 0);
}

static void turn(Fixture *f)
{
        assert_true(sd_event_run(loop_sd_event(f->loop), 50 * USEC_PER_MSEC) >= 0);
}

static UplinkStats stats_of(Fixture *f)
{
        UplinkStats s;
        uplink_stats(f->uplink, &s);
        return s;
}

static uint64_t waiting(Fixture *f)
{
        StoreStats s;
        store_stats(f->store, &s);
        return s.records;
}

#define PUMP_UNTIL(f, condition)                                                                   \
        do {                                                                                       \
                usec_t _deadline = now_boottime() + 30 * USEC_PER_SEC;                             \
                while (!(condition)) {                                                             \
                        turn(f);                                                                   \
                        if (now_boottime() > _deadline)                                            \
                                fail_msg("%s never came; %s", #condition, stats_of(f).last_error); \
                }                                                                                  \
        } while (0)

static void on_appended(int error, uint64_t id, void *userdata)
{
        Fixture *f = userdata;
        assert_int_equal(error, 0);
        f->appended++;
}

static void append(Fixture *f, StoreKind kind, const char *device, const char *topic, Bytes payload)
{
        const StoreRecord r = {
                .kind = (uint8_t)kind,
                .device = device,
                .topic = topic,
                .content_type = "text/plain",
                .posture = "affirming",
                .received = 1767225600 * USEC_PER_SEC + 42 * USEC_PER_MSEC,
                .payload = payload,
        };
        assert_int_equal(store_append(f->store, &r, on_appended, f, NULL), 0);
}

/* Records n/<first> ... n/<last - 1>. */
static void append_range(Fixture *f, const char *device, unsigned first, unsigned last)
{
        size_t target = f->appended;
        for (unsigned i = first; i < last; i++, target++) {
                char topic[32];
                snprintf(topic, sizeof(topic), "n/%u", i);
                append(f, STORE_TELEMETRY, device, topic, bytes_from_str(topic));
        }
        while (f->appended < target)
                turn(f);
}

/* How often each number of the device arrived, from the broker's own log; checks that the first
 * arrivals are in order. */
static void count_arrivals(const char *device, unsigned *counts, unsigned n)
{
        char pattern[64], line[1024];
        unsigned highest = 0;
        snprintf(pattern, sizeof(pattern), "'site/a/gw/%s/n/", device);
        FILE *log = fopen(broker.log, "re");
        assert_non_null(log);
        while (fgets(line, sizeof(line), log)) {
                const char *p = strstr(line, pattern);
                if (!p || !strstr(line, "Received PUBLISH from gw-1"))
                        continue;
                unsigned i = (unsigned)atoi(p + strlen(pattern));
                assert_true(i < n);
                if (counts[i]++ == 0) {
                        assert_true(i >= highest);
                        highest = i;
                }
        }
        fclose(log);
}

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

static void write_acl(const char *text)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/acl", broker.directory);
        FILE *file = fopen(path, "we");
        fputs(text, file);
        fclose(file);
}

/* What the broker refuses to one device stays, in order, and holds up nobody else. */
static void refused_by_acl(void **state)
{
        Fixture *f = *state;
        char extra[160];
        unsigned counts[50] = { 0 };
        snprintf(extra, sizeof(extra), "acl_file %s/acl", broker.directory);
        write_acl("user gw-1\ntopic write site/a/gw/d1/#\n");
        append_range(f, "d2", 0, 50);
        append_range(f, "d1", 0, 50);
        broker_start(&broker, extra);
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
        write_acl("user gw-1\ntopic write site/#\n");
        broker_start(&broker, extra);
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
        char extra[160];
        unsigned counts[50] = { 0 };
        snprintf(extra, sizeof(extra), "acl_file %s/acl", broker.directory);
        write_acl("user gw-1\ntopic write site/a/gw/d1/#\n");
        append_range(f, "d1", 0, 200);
        append_range(f, "d2", 0, 50);
        append(f, STORE_REPORT, "d2", "report", BYTES_LITERAL("x"));
        broker_start(&broker, extra);
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

/* The same, but the broker says it only when it has the message. */
static void too_large_for_puback(void **state)
{
        Fixture *f = *state;
        static uint8_t large[5000];
        append(f, STORE_TELEMETRY, "d1", "large", BYTES(large, sizeof(large)));
        append_range(f, "d1", 0, 5);
        broker_start(&broker, "message_size_limit 2000");
        start(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_int_equal(stats_of(f).dropped, 1);
        assert_int_equal(stats_of(f).delivered, 5);
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
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
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
