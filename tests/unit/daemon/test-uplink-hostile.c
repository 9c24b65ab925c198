/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The uplink with a broker that ends connections (tests/tools/hostile-broker). */
#include "uplink-bench.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define N 60

static void all_arrived(const char *device, unsigned n, unsigned most)
{
        unsigned counts[N] = { 0 };
        count_arrivals(device, counts, n);
        for (unsigned i = 0; i < n; i++)
                if (counts[i] == 0 || counts[i] > most)
                        fail_msg("n/%u of %s arrived %u times", i, device, counts[i]);
}

/* Between the records of its own device and those of another. */
static void append_poison(Fixture *f)
{
        append_range(f, "d1", 0, N / 2);
        append(f, STORE_TELEMETRY, "d1", "poison", BYTES_LITERAL("x"));
        append_range(f, "d2", 0, N);
        append_range(f, "d1", N / 2, N);
}

static void poison_is_dropped(Fixture *f, const char *behaviour)
{
        usec_t wait = f->config.suspect_wait;
        append_poison(f);
        broker_start_hostile(&broker, behaviour, "poison");
        f->config.suspect_wait = USEC_PER_HOUR;
        start(f);
        /* The others do not have to wait until it is dropped. */
        PUMP_UNTIL(f, stats_of(f).delivered == 2 * N);
        assert_int_equal(stats_of(f).set_aside, 1);
        assert_int_equal(stats_of(f).dropped, 0);
        PUMP_UNTIL(f, waiting(f) == 1);
        all_arrived("d1", N, 2);
        all_arrived("d2", N, 2);

        f->uplink = uplink_free(f->uplink);
        f->config.suspect_wait = wait;
        start(f);
        PUMP_WITH_OTHERS(f, stats_of(f).dropped == 1);
        assert_string_equal(stats_of(f).last_error,
                            "Dropped a record of d1: the connection ended each time it was sent.");
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_int_equal(stats_of(f).set_aside, 0);
        assert_int_equal(stats_of(f).held, 0);
}

static void closes_on_poison(void **state)
{
        poison_is_dropped(*state, "close");
}

static void answers_poison_with_garbage(void **state)
{
        poison_is_dropped(*state, "garbage");
}

/* Nothing else is there to prove that the broker works. */
static void kept_without_proof(void **state)
{
        Fixture *f = *state;
        append(f, STORE_TELEMETRY, "d1", "poison", BYTES_LITERAL("x"));
        broker_start_hostile(&broker, "close", "poison");
        f->config.suspect_wait = 1;
        start(f);
        /* Twice as often as it would take. */
        PUMP_UNTIL(f, stats_of(f).attempts > 2 * SUSPECT_STRIKES);
        assert_int_equal(stats_of(f).dropped, 0);
        assert_int_equal(waiting(f), 1);
        assert_int_equal(stats_of(f).set_aside, 1);

        /* It survives the daemon, and a broker that takes it gets it. */
        f->uplink = uplink_free(f->uplink);
        broker_kill(&broker);
        broker_start(&broker, NULL);
        start(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_int_equal(stats_of(f).delivered, 1);
        assert_int_equal(stats_of(f).set_aside, 0);
}

/* A device of which the broker takes nothing: what is not set aside waits, the others go on. */
static void nothing_but_poison(void **state)
{
        Fixture *f = *state;
        for (unsigned i = 0; i < 10; i++)
                append(f, STORE_TELEMETRY, "d1", "poison", BYTES_LITERAL("x"));
        append_range(f, "d2", 0, N);
        broker_start_hostile(&broker, "close", "poison");
        f->config.suspect_wait = USEC_PER_HOUR;
        start(f);
        PUMP_UNTIL(f, stats_of(f).delivered == N);
        assert_int_equal(stats_of(f).dropped, 0);
        assert_int_equal(stats_of(f).set_aside, SUSPECTS_PER_DEVICE);
        assert_int_equal(stats_of(f).held, 1);
        PUMP_UNTIL(f, waiting(f) == 10);
        all_arrived("d2", N, 2);
}

static void ends_each_connection(Fixture *f, const char *behaviour)
{
        append_range(f, "d1", 0, N);
        append_range(f, "d2", 0, 3);
        broker_start_hostile(&broker, behaviour, "12");
        start(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_true(stats_of(f).attempts > 12);
        assert_int_equal(stats_of(f).delivered, N + 3);
        assert_int_equal(stats_of(f).dropped, 0);
        assert_int_equal(stats_of(f).set_aside, 0);
}

/* The broker, not a record, is the cause. */
static void ends_after_first(void **state)
{
        ends_each_connection(*state, "first");
}

static void ends_after_second(void **state)
{
        ends_each_connection(*state, "second");
}

static void reset_in_full_window(void **state)
{
        Fixture *f = *state;
        append_range(f, "d1", 0, N);
        broker_start_hostile(&broker, "reset", "20");
        start(f);
        PUMP_UNTIL(f, waiting(f) == 0);
        UplinkStats s = stats_of(f);
        assert_int_equal(s.attempts, 2);
        assert_int_equal(s.delivered, N);
        assert_int_equal(s.sent, N + WINDOW);
        assert_int_equal(s.dropped, 0);
        assert_int_equal(file_count(broker.log, "Refused PUBLISH on connection 1"), WINDOW - 1);
        all_arrived("d1", N, 1);
}

/* No right is for the operator to mend: nothing is dropped. */
static void disconnect_not_authorized(void **state)
{
        Fixture *f = *state;
        append_poison(f);
        broker_start_hostile(&broker, "reason", "0x87");
        start(f);
        PUMP_UNTIL(f, stats_of(f).held == 1 && stats_of(f).delivered == N / 2 + N);
        all_arrived("d2", N, UINT_MAX);
        assert_int_equal(stats_of(f).dropped, 0);
        assert_int_equal(stats_of(f).set_aside, 0);
        assert_non_null(strstr(stats_of(f).last_error, "The broker refuses records of d1: "));
}

static void never_acknowledged(void **state)
{
        Fixture *f = *state;
        append_poison(f);
        broker_start_hostile(&broker, "mute", "poison");
        f->config.patience = USEC_PER_SEC;
        start(f);
        PUMP_UNTIL(f, stats_of(f).delivered == 2 * N);
        PUMP_UNTIL(f, stats_of(f).set_aside == 1);
        PUMP_WITH_OTHERS(f, stats_of(f).attempts > 5);
        assert_int_equal(stats_of(f).dropped, 0);
        all_arrived("d1", N, UINT_MAX);
        all_arrived("d2", N, UINT_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(closes_on_poison),     TEST(answers_poison_with_garbage),
                TEST(kept_without_proof),   TEST(nothing_but_poison),
                TEST(ends_after_first),     TEST(ends_after_second),
                TEST(reset_in_full_window), TEST(disconnect_not_authorized),
                TEST(never_acknowledged),
        };
        return cmocka_run_group_tests_name("uplink-hostile", tests, group_setup, group_teardown);
}
