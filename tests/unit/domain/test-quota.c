/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "domain/quota.h"

static unsigned charge_all(Quota *q, size_t len, usec_t now)
{
        unsigned n = 0;
        while (n < 100000 && quota_charge(q, len, now))
                n++;
        return n;
}

static void messages_a_second(void **state)
{
        Quota q;
        quota_init(&q);
        usec_t t = USEC_PER_HOUR;
        assert_int_equal(charge_all(&q, 0, t), QUOTA_MESSAGES_BURST);
        assert_int_equal(charge_all(&q, 0, t + USEC_PER_SEC), QUOTA_MESSAGES_PER_SECOND);
        assert_int_equal(charge_all(&q, 0, t + USEC_PER_DAY), QUOTA_MESSAGES_BURST);
        assert_int_equal(charge_all(&q, 0, t), 0); /* time that goes back gives nothing */
}

static void bytes_a_second(void **state)
{
        Quota q;
        quota_init(&q);
        usec_t t = USEC_PER_HOUR;
        size_t mib = 1024 * 1024;
        assert_int_equal(charge_all(&q, mib, t), QUOTA_BYTES_BURST / mib);
        assert_int_equal(charge_all(&q, mib, t + USEC_PER_SEC), 1);
        assert_false(quota_charge(&q, SIZE_MAX, t + USEC_PER_DAY));
}

/* What is refused costs nothing. */
static void refused_is_free(void **state)
{
        Quota q;
        quota_init(&q);
        usec_t t = USEC_PER_HOUR;
        for (unsigned i = 0; i < 3 * QUOTA_MESSAGES_BURST; i++)
                assert_false(quota_charge(&q, QUOTA_BYTES_BURST + 1, t));
        assert_int_equal(charge_all(&q, 1, t), QUOTA_MESSAGES_BURST);
}

static void small_steps_add_up(void **state)
{
        Quota q;
        quota_init(&q);
        usec_t t = 1;
        charge_all(&q, 0, t);
        unsigned granted = 0;
        for (; t < 10 * USEC_PER_SEC; t += 33)
                granted += quota_charge(&q, 0, t);
        assert_in_range(granted, 10 * QUOTA_MESSAGES_PER_SECOND - 1,
                        10 * QUOTA_MESSAGES_PER_SECOND);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(messages_a_second),
                cmocka_unit_test(bytes_a_second),
                cmocka_unit_test(refused_is_free),
                cmocka_unit_test(small_steps_add_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
