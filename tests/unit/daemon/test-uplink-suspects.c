/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include "daemon/uplink-suspects.h"

#define S    USEC_PER_SEC
#define WAIT (10 * S)

static Suspects suspects;

static int setup(void **state)
{
        suspects_init(&suspects, WAIT);
        return 0;
}

static int teardown(void **state)
{
        suspects_done(&suspects);
        return 0;
}

static SuspectVerdict strike(uint64_t id, usec_t now)
{
        return suspects_strike(&suspects, id, "d1", true, now);
}

static void taken_between(void **state)
{
        usec_t now = 1000 * S, wait = WAIT;
        for (unsigned i = 1; i < SUSPECT_STRIKES; i++, wait *= 4) {
                assert_int_equal(strike(7, now), SUSPECT_ASIDE);
                assert_true(suspects_has(&suspects, 7));
                assert_int_equal(suspects_next(&suspects), now + wait);
                assert_int_equal(suspects_due(&suspects, now + wait - 1), 0);
                assert_int_equal(suspects_due(&suspects, now + wait), 7);
                suspects_taken(&suspects, 100 + i, now + S);
                assert_int_equal(suspects_next(&suspects), now + wait);
                now += wait;
        }
        assert_int_equal(strike(7, now), SUSPECT_GUILTY);
        assert_false(suspects_has(&suspects, 7));
        assert_int_equal(suspects_next(&suspects), USEC_INFINITY);
}

/* A broker that takes nothing at all proves nothing, however often it is tried. */
static void nothing_taken(void **state)
{
        usec_t now = 0;
        for (unsigned i = 0; i < 1000; i++) {
                assert_int_equal(strike(7, now), SUSPECT_ASIDE);
                assert_int_equal(strike(8, now), SUSPECT_ASIDE);
                assert_true(suspects_next(&suspects) <= now + SUSPECT_WAIT_MAX);
                now = suspects_next(&suspects);
        }
        /* It works again: nobody waits for what the outage made of the waits. */
        suspects_taken(&suspects, 100, now);
        assert_true(suspects_due(&suspects, now) == 7);
        for (unsigned i = 2; i < SUSPECT_STRIKES; i++) {
                assert_int_equal(strike(7, now), SUSPECT_ASIDE);
                assert_int_equal(strike(7, now), SUSPECT_ASIDE); /* in vain */
                suspects_taken(&suspects, 100, now);
        }
        assert_int_equal(strike(7, now), SUSPECT_GUILTY);
}

static void network(void **state)
{
        assert_int_equal(suspects_strike(&suspects, 7, "d1", false, 5), SUSPECT_AGAIN);
        assert_int_equal(suspects_due(&suspects, 5), 7);
        for (unsigned i = 0; i < 100; i++) {
                assert_int_equal(suspects_strike(&suspects, 7, "d1", false, 5), SUSPECT_ASIDE);
                assert_true(suspects_next(&suspects) >= 5 + WAIT);
                suspects_taken(&suspects, 100, 6);
        }
}

static void acquitted(void **state)
{
        usec_t now = 0;
        for (unsigned i = 1; i < SUSPECT_STRIKES; i++) {
                assert_int_equal(strike(7, now), SUSPECT_ASIDE);
                suspects_taken(&suspects, 100, now);
        }
        assert_int_equal(strike(8, now), SUSPECT_ASIDE);
        suspects_taken(&suspects, 8, now);
        assert_false(suspects_has(&suspects, 8));
        assert_int_equal(suspects_due(&suspects, now), 7);
        assert_int_equal(strike(7, now), SUSPECT_ASIDE);
        suspects_forget(&suspects, 7);
        assert_int_equal(suspects_due(&suspects, now), 0);
}

static void bounded(void **state)
{
        char device[] = "d0";
        uint64_t id = 1;
        for (unsigned d = 0; d < SUSPECTS_MAX / SUSPECTS_PER_DEVICE; d++, device[1]++) {
                for (unsigned i = 0; i < SUSPECTS_PER_DEVICE; i++)
                        assert_int_equal(suspects_strike(&suspects, id++, device, true, 0),
                                         SUSPECT_ASIDE);
                assert_int_equal(suspects_strike(&suspects, id, device, true, 0), SUSPECT_NO_ROOM);
        }
        assert_int_equal(suspects.n, SUSPECTS_MAX);
        assert_int_equal(suspects_strike(&suspects, id, "x", true, 0), SUSPECT_NO_ROOM);
        suspects_taken(&suspects, 1, 0);
        assert_int_equal(suspects_strike(&suspects, id, "x", true, 0), SUSPECT_ASIDE);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(taken_between), TEST(nothing_taken), TEST(network),
                TEST(acquitted),     TEST(bounded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
