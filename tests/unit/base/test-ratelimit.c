/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "base/ratelimit.h"

static unsigned take_all(RateLimit *r, usec_t now)
{
        unsigned n = 0;
        while (n < 10000 && ratelimit_take(r, now))
                n++;
        return n;
}

static void burst_then_refill(void **state)
{
        RateLimit r = RATELIMIT_INIT(10 * USEC_PER_SEC, 5);
        usec_t t = 1000;
        assert_int_equal(take_all(&r, t), 5);
        assert_int_equal(take_all(&r, t + 2 * USEC_PER_SEC - 1), 0);
        assert_int_equal(take_all(&r, t + 2 * USEC_PER_SEC), 1);
        assert_int_equal(take_all(&r, t + 6 * USEC_PER_SEC), 2);
        assert_int_equal(take_all(&r, t + USEC_PER_DAY), 5);
}

/* Many looks at the clock must not round tokens away. */
static void refill_is_exact(void **state)
{
        RateLimit r = RATELIMIT_INIT(USEC_PER_SEC, 3);
        usec_t t = 1;
        unsigned granted = take_all(&r, t) - 3;
        for (; t <= 10 * USEC_PER_SEC; t += 7)
                granted += ratelimit_take(&r, t);
        assert_in_range(granted, 29, 30);
}

static void suppressed_are_counted(void **state)
{
        RateLimit r = RATELIMIT_INIT(USEC_PER_SEC, 1);
        assert_true(ratelimit_take(&r, 1));
        for (unsigned i = 0; i < 4; i++)
                assert_false(ratelimit_take(&r, 1));
        assert_int_equal(ratelimit_suppressed(&r), 4);
        assert_int_equal(ratelimit_suppressed(&r), 0);
}

static void corners(void **state)
{
        RateLimit none = RATELIMIT_INIT(0, 0), shut = RATELIMIT_INIT(USEC_PER_SEC, 0);
        assert_int_equal(take_all(&none, 1), 10000);
        assert_int_equal(take_all(&shut, 1), 0);
        assert_int_equal(take_all(&shut, USEC_PER_DAY), 0);

        /* A clock that goes back gives nothing. */
        RateLimit r = RATELIMIT_INIT(USEC_PER_SEC, 2);
        assert_int_equal(take_all(&r, USEC_PER_DAY), 2);
        assert_int_equal(take_all(&r, 5), 0);
        assert_int_equal(take_all(&r, USEC_PER_DAY + USEC_PER_SEC / 2), 1);

        /* Products beyond 64 bits. */
        RateLimit wide = RATELIMIT_INIT(UINT64_MAX / 2, UINT32_MAX);
        assert_int_equal(take_all(&wide, 1), 2);
        assert_true(ratelimit_take(&wide, UINT64_MAX));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(burst_then_refill),
                cmocka_unit_test(refill_is_exact),
                cmocka_unit_test(suppressed_are_counted),
                cmocka_unit_test(corners),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
