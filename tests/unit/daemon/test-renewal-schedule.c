/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include "daemon/renewal-schedule.h"

#define BEGIN (1767225600 * USEC_PER_SEC) /* 2026-01-01 */
#define YEAR  (365 * USEC_PER_DAY)

static const Lifetime year = { BEGIN, BEGIN + YEAR };
static const Lifetime minute = { BEGIN, BEGIN + USEC_PER_MIN };
static const Lifetime none = { BEGIN, BEGIN };

static void validity(void **state)
{
        assert_int_equal(lifetime_validity(&year, 0), VALIDITY_NOT_YET);
        assert_int_equal(lifetime_validity(&year, BEGIN - 1), VALIDITY_NOT_YET);
        assert_int_equal(lifetime_validity(&year, BEGIN), VALIDITY_OK);
        assert_int_equal(lifetime_validity(&year, BEGIN + YEAR - 1), VALIDITY_OK);
        assert_int_equal(lifetime_validity(&year, BEGIN + YEAR), VALIDITY_EXPIRED);
}

static void due(void **state)
{
        usec_t early = renewal_due(&year, 66, 0), late = renewal_due(&year, 66, UINT32_MAX);
        assert_true(early == BEGIN + YEAR / 100 * 66);
        assert_true(late > early + YEAR / 100 && late <= early + YEAR / 50);
        assert_true(renewal_due(&year, 95, UINT32_MAX) < BEGIN + YEAR);
        assert_true(renewal_due(&none, 66, UINT32_MAX) == BEGIN);
        const Lifetime endless = { BEGIN, USEC_INFINITY };
        assert_true(renewal_due(&endless, 95, UINT32_MAX) > BEGIN);
}

static void between(usec_t pause, usec_t from, usec_t to)
{
        if (pause < from || pause > to)
                fail_msg("%llu", (unsigned long long)pause);
}

static void pauses(void **state)
{
        usec_t now = BEGIN + YEAR / 100 * 66, longest = 0;
        between(renewal_pause(&year, now, 1, 0), 30 * USEC_PER_SEC, 30 * USEC_PER_SEC);
        between(renewal_pause(&year, now, 1, UINT32_MAX), 89 * USEC_PER_SEC, 90 * USEC_PER_SEC);
        between(renewal_pause(&year, now, 2, UINT32_MAX / 2), 119 * USEC_PER_SEC,
                121 * USEC_PER_SEC);
        for (unsigned n = 1; n < 100; n++) {
                usec_t pause = renewal_pause(&year, now, n, UINT32_MAX / 2);
                assert_true(pause >= longest);
                longest = pause;
        }
        between(longest, 5 * USEC_PER_HOUR, 6 * USEC_PER_HOUR + USEC_PER_MIN);
        /* A day before the end, an hour before it, after it. */
        now = year.not_after - USEC_PER_DAY;
        between(renewal_pause(&year, now, 50, UINT32_MAX / 2), 2 * USEC_PER_HOUR,
                3 * USEC_PER_HOUR + USEC_PER_SEC);
        now = year.not_after - USEC_PER_HOUR;
        between(renewal_pause(&year, now, 50, UINT32_MAX / 2), 7 * USEC_PER_MIN, 8 * USEC_PER_MIN);
        between(renewal_pause(&year, year.not_after, 50, UINT32_MAX), 80 * USEC_PER_MIN,
                90 * USEC_PER_MIN);
        between(renewal_pause(&minute, BEGIN, 1, 0), USEC_PER_SEC / 2, USEC_PER_SEC);
        between(renewal_pause(&none, BEGIN, 1, UINT32_MAX), USEC_PER_SEC, 2 * USEC_PER_SEC);
        between(renewal_pause(&year, 0, 0, 0), USEC_PER_SEC, USEC_PER_MIN);
}

static void ticks(void **state)
{
        assert_true(renewal_tick(&year) == USEC_PER_MIN);
        assert_true(renewal_tick(&minute) == 600 * USEC_PER_MSEC);
        assert_true(renewal_tick(&none) == 200 * USEC_PER_MSEC);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(validity),
                cmocka_unit_test(due),
                cmocka_unit_test(pauses),
                cmocka_unit_test(ticks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
