/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What is in memory, what is on its way and what is in the store are told apart: nothing goes twice
 * on one connection, nothing is left, and nothing is forgotten in place of another. */

#include "uplink-bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void stop_broker(Fixture *f)
{
        assert_int_equal(kill(broker.pid, SIGSTOP), 0);
}

static void continue_broker(Fixture *f)
{
        assert_int_equal(kill(broker.pid, SIGCONT), 0);
}

static void turn_for(Fixture *f, usec_t span)
{
        for (usec_t until = now_boottime() + span; now_boottime() < until;)
                turn(f);
}

static void assert_each_once(const char *device, unsigned n)
{
        unsigned *counts = calloc(n, sizeof(*counts));
        assert_non_null(counts);
        count_arrivals(device, counts, n);
        for (unsigned i = 0; i < n; i++)
                if (counts[i] != 1)
                        fail_msg("record %u of %s arrived %u times", i, device, counts[i]);
        free(counts);
}

/* The first wait of a refused device's records is 5 s. */
#define HOLD (6 * USEC_PER_SEC)

/* A device's wait is over while the window is full of others' records. */
static void hold_ends_in_full_window(void **state)
{
        Fixture *f = *state;
        append_range(f, "d2", 0, 1);
        broker_start_with_acl("user gw-1\ntopic write site/a/gw/d1/#\n");
        start(f);
        PUMP_UNTIL(f, stats_of(f).held == 1 && stats_of(f).in_flight == 0);
        stop_broker(f);
        append_range(f, "d1", 0, 400);
        PUMP_UNTIL(f, stats_of(f).in_flight == WINDOW);
        turn_for(f, HOLD);
        continue_broker(f);
        PUMP_UNTIL(f, waiting(f) == 1);
        assert_each_once("d1", 400);
}

/* More than a page and more than what goes in a turn wait with a device, among those of another. */
static void many_held(void **state)
{
        Fixture *f = *state;
        const unsigned many = 1500;
        for (unsigned i = 0; i < many; i += 100) {
                append_range(f, "d2", i, i + 100);
                append_range(f, "d1", i, i + 100);
        }
        f->config.client.window = 300;
        broker_start_with_acl("user gw-1\ntopic write site/a/gw/d1/#\n");
        start(f);
        PUMP_UNTIL(f, waiting(f) == many);
        assert_each_once("d1", many);
        write_acl("user gw-1\ntopic write site/#\n");
        assert_int_equal(kill(broker.pid, SIGHUP), 0);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_each_once("d2", many);
        assert_int_equal(stats_of(f).attempts, 1);
}

/* More than what goes in a turn wait with a device, and nothing else happens. */
static void held_in_front(void **state)
{
        Fixture *f = *state;
        broker_start_with_acl("user gw-1\ntopic write site/a/gw/d1/#\n");
        append_range(f, "d2", 0, 1);
        start(f);
        PUMP_UNTIL(f, stats_of(f).held == 1 && stats_of(f).in_flight == 0);
        f->uplink = uplink_free(f->uplink);
        append_range(f, "d2", 1, 3000);
        append_range(f, "d1", 0, 1);
        start(f);
        PUMP_UNTIL(f, stats_of(f).delivered == 1);
        PUMP_UNTIL(f, waiting(f) == 3000);
}

/* All are read before what comes in meanwhile goes from memory, and each once. */
static void backlog_while_more_comes(void **state)
{
        Fixture *f = *state;
        const unsigned many = 3000;
        append_range(f, "d1", 0, many / 2);
        f->config.client.window = 500;
        broker_start(&broker, "max_inflight_messages 1000");
        start(f);
        PUMP_UNTIL(f, stats_of(f).in_flight > 0);
        for (unsigned i = many / 2; i < many; i += 50)
                append_range(f, "d1", i, i + 50);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_each_once("d1", many);
        assert_int_equal(stats_of(f).sent, many);
}

/* However many the broker takes. */
static void bytes_on_their_way(void **state)
{
        Fixture *f = *state;
        static uint8_t large[250000];
        for (unsigned i = 0; i < 40; i++) {
                append(f, STORE_TELEMETRY, "d0", "large", BYTES(large, sizeof(large)));
                while (f->appended <= i)
                        turn(f);
        }
        f->config.client.window = 500;
        broker_start(&broker, "max_inflight_messages 1000");
        start(f);
        PUMP_UNTIL(f, stats_of(f).connected);
        stop_broker(f);
        turn_for(f, USEC_PER_SEC);
        assert_in_range(stats_of(f).in_flight, 1, (4 << 20) / sizeof(large) + 1);
        continue_broker(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_int_equal(stats_of(f).sent, 40);
}

static void overwrite_store(Fixture *f, const char *suffix)
{
        static uint8_t junk[1 << 16];
        char path[128];
        memset(junk, 0xa5, sizeof(junk));
        snprintf(path, sizeof(path), "%s/store.db%s", f->directory, suffix);
        FILE *file = fopen(path, "r+e");
        if (!file)
                return;
        fseek(file, 0, SEEK_END);
        long size = ftell(file);
        fseek(file, 0, SEEK_SET);
        for (long at = 0; at < size; at += (long)sizeof(junk))
                fwrite(junk, 1, MIN((size_t)(size - at), sizeof(junk)), file);
        fclose(file);
}

static void on_damage(int error, StoreRecord *records, size_t n, void *userdata)
{
        *(int *)userdata = error;
}

/* The store is damaged beyond any salvage and begun anew while records are on their way: what comes
 * then has other ids, and the answers to those of before forget none of it. */
static void replaced_store(void **state)
{
        Fixture *f = *state;
        static uint8_t large[30000];
        int error = 0;
        for (unsigned i = 0; i < 1000; i++)
                append(f, STORE_TELEMETRY, "d0", "large", BYTES(large, sizeof(large)));
        while (f->appended < 1000)
                turn(f);
        reopen_store(f); /* the pages are no longer in memory, the log is empty */
        broker_start(&broker, NULL);
        start(f);
        PUMP_UNTIL(f, stats_of(f).delivered >= 30);
        stop_broker(f);
        turn_for(f, USEC_PER_SEC);
        assert_true(stats_of(f).in_flight > 0);
        overwrite_store(f, "");
        overwrite_store(f, "-wal");
        assert_int_equal(store_read(f->store, 0, 900, 100, SIZE_MAX, on_damage, &error, NULL), 0);
        PUMP_UNTIL(f, error < 0);
        append_range(f, "d3", 0, 100);
        continue_broker(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_each_once("d3", 100);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(hold_ends_in_full_window), TEST(many_held),          TEST(held_in_front),
                TEST(backlog_while_more_comes), TEST(bytes_on_their_way), TEST(replaced_store),
        };
        return cmocka_run_group_tests_name("uplink-again", tests, group_setup, group_teardown);
}
