/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A second connection beside the one in use. */
#include "uplink-bench.h"

#include <errno.h>
#include <string.h>

#define MANY 2000

typedef struct Told {
        unsigned n;
        UplinkVerdict verdict;
        char reason[512];
} Told;

static void on_tried(UplinkVerdict verdict, const char *reason, void *userdata)
{
        Told *t = userdata;
        t->n++;
        t->verdict = verdict;
        strncpy(t->reason, reason, sizeof(t->reason) - 1);
}

static void try(Fixture *f, bool foreign, Told *told)
{
        Credential *c = broker_credential(&broker, foreign);
        *told = (Told){ 0 };
        assert_int_equal(uplink_try_credential(f->uplink, c, on_tried, told), 0);
        assert_int_equal(uplink_try_credential(f->uplink, c, on_tried, told), -EBUSY);
        credential_unref(c);
}

static void connected(Fixture *f)
{
        broker_start(&broker, NULL);
        start(f);
        PUMP_UNTIL(f, stats_of(f).connected);
}

/* Under load: everything arrives, at most a window of it twice. */
static void accepted(void **state)
{
        Fixture *f = *state;
        static unsigned counts[MANY];
        Told told;
        memset(counts, 0, sizeof(counts));
        connected(f);
        append_range(f, "d1", 0, MANY);
        PUMP_UNTIL(f, stats_of(f).delivered >= MANY / 10);
        try(f, false, &told);
        PUMP_UNTIL(f, told.n == 1);
        assert_int_equal(told.verdict, UPLINK_ACCEPTED);
        assert_true(waiting(f) > 0);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_true(stats_of(f).connected);
        assert_int_equal(stats_of(f).attempts, 2);
        assert_int_equal(told.n, 1);
        count_arrivals("d1", counts, MANY);
        unsigned again = 0;
        for (unsigned i = 0; i < MANY; i++) {
                if (counts[i] == 0)
                        fail_msg("record %u never arrived", i);
                again += counts[i] - 1;
        }
        assert_true(again <= WINDOW);
        /* And it goes on by itself. */
        broker_kill(&broker);
        PUMP_UNTIL(f, !stats_of(f).connected);
        broker_start(&broker, NULL);
        PUMP_UNTIL(f, stats_of(f).connected);
}

static void refused(void **state)
{
        Fixture *f = *state;
        Told told;
        connected(f);
        for (unsigned i = 0; i < 5; i++) {
                try(f, true, &told);
                while (told.n == 0) {
                        turn(f);
                        assert_true(stats_of(f).connected);
                }
                assert_int_equal(told.verdict,
                                 strstr(told.reason, "may have") ? UPLINK_DOUBTED : UPLINK_REFUSED);
                append_range(f, "d1", i, i + 1);
                PUMP_UNTIL(f, waiting(f) == 0);
        }
        assert_int_equal(file_count(broker.log, " as gw-1 ("), 1);
        assert_int_equal(stats_of(f).attempts, 1);
}

static void unreachable(void **state)
{
        Fixture *f = *state;
        Told told;
        connected(f);
        broker_kill(&broker);
        PUMP_UNTIL(f, !stats_of(f).connected);
        try(f, false, &told);
        PUMP_UNTIL(f, told.n == 1);
        assert_int_equal(told.verdict, UPLINK_UNREACHABLE);
        assert_non_null(strstr(told.reason, "Connection refused"));
        broker_start(&broker, NULL);
        PUMP_UNTIL(f, stats_of(f).connected);
}

/* Nobody was in before: an old certificate that has expired, for one. */
static void accepted_in_place_of_a_refused_one(void **state)
{
        Fixture *f = *state;
        Told told;
        credential_unref(f->credential);
        f->credential = broker_credential(&broker, true);
        broker_start(&broker, NULL);
        start(f);
        append_range(f, "d1", 0, 10);
        PUMP_UNTIL(f, stats_of(f).attempts > 1);
        try(f, false, &told);
        PUMP_UNTIL(f, told.n == 1 && waiting(f) == 0);
        assert_int_equal(told.verdict, UPLINK_ACCEPTED);
}

static void ended_at_any_time(void **state)
{
        Fixture *f = *state;
        Told told;
        connected(f);
        for (unsigned turns = 0; turns < 10; turns++) {
                try(f, turns % 2 == 0, &told);
                for (unsigned i = 0; i < turns && told.n == 0; i++)
                        turn(f);
                uplink_stop_trial(f->uplink);
                unsigned n = told.n;
                for (unsigned i = 0; i < 3; i++)
                        turn(f);
                assert_int_equal(told.n, n);
        }
        PUMP_UNTIL(f, stats_of(f).connected);
        try(f, false, &told); /* the uplink is freed with it */
        turn(f);
}

/* The same broker by another name: the connection in use lasts until the new one stands. */
static void changed(void **state)
{
        Fixture *f = *state;
        connected(f);
        MqttClientConfig c = f->config.client;
        c.server_name = NULL; /* its address */
        c.keep_alive = 33;
        assert_int_equal(uplink_change(f->uplink, &c), 0);
        PUMP_UNTIL(f, file_count(broker.log, "k33") == 1);
        append_range(f, "d1", 0, 10);
        PUMP_UNTIL(f, waiting(f) == 0);
        assert_true(stats_of(f).connected);
        assert_string_equal(stats_of(f).last_error, "");
        assert_int_equal(file_count(broker.log, " as gw-1 ("), 2);
}

/* Its trust went away: so does the connection. */
static void changed_to_what_it_is_not(void **state)
{
        Fixture *f = *state;
        connected(f);
        MqttClientConfig c = f->config.client;
        c.ca = broker.other_ca;
        assert_int_equal(uplink_change(f->uplink, &c), 0);
        PUMP_UNTIL(f, !stats_of(f).connected);
        assert_non_null(strstr(stats_of(f).last_error, "the server's certificate is refused"));
        append_range(f, "d1", 0, 10);
        for (unsigned i = 0; i < 20; i++)
                turn(f);
        assert_int_equal(waiting(f), 10);
        assert_int_equal(uplink_change(f->uplink, &f->config.client), 0);
        PUMP_UNTIL(f, waiting(f) == 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(accepted),
                TEST(refused),
                TEST(unreachable),
                TEST(accepted_in_place_of_a_refused_one),
                TEST(ended_at_any_time),
                TEST(changed),
                TEST(changed_to_what_it_is_not),
        };
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
