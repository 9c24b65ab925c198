/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "domain/quota.h"

#define MIB ((size_t)1024 * 1024)

static const QuotaLimits limits = { .messages_per_second = 200,
                                    .messages_burst = 2000,
                                    .bytes_per_second = MIB,
                                    .bytes_burst = 8 * MIB };

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
        quota_init(&q, &limits);
        usec_t t = USEC_PER_HOUR;
        assert_int_equal(charge_all(&q, 0, t), limits.messages_burst);
        assert_int_equal(charge_all(&q, 0, t + USEC_PER_SEC), limits.messages_per_second);
        assert_int_equal(charge_all(&q, 0, t + USEC_PER_DAY), limits.messages_burst);
        assert_int_equal(charge_all(&q, 0, t), 0); /* time that goes back gives nothing */
}

static void bytes_a_second(void **state)
{
        Quota q;
        quota_init(&q, &limits);
        usec_t t = USEC_PER_HOUR;
        assert_int_equal(charge_all(&q, MIB, t), 8);
        assert_int_equal(charge_all(&q, MIB, t + USEC_PER_SEC), 1);
}

/* What is refused costs nothing. */
static void refused_is_free(void **state)
{
        Quota q;
        quota_init(&q, &limits);
        usec_t t = USEC_PER_HOUR;
        assert_true(quota_charge(&q, 1, t));
        for (unsigned i = 0; i < 3 * limits.messages_burst; i++)
                assert_false(quota_charge(&q, limits.bytes_burst, t));
        assert_int_equal(charge_all(&q, 1, t), limits.messages_burst - 1);
}

static void small_steps_add_up(void **state)
{
        Quota q;
        quota_init(&q, &limits);
        usec_t t = 1;
        charge_all(&q, 0, t);
        unsigned granted = 0;
        for (; t < 10 * USEC_PER_SEC; t += 33)
                granted += quota_charge(&q, 0, t);
        assert_in_range(granted, 10 * limits.messages_per_second - 1,
                        10 * limits.messages_per_second);
}

/* It has to go at some time, or its sender waits for ever; and it costs all that it has. */
static void larger_than_the_burst(void **state)
{
        Quota q;
        usec_t t = USEC_PER_HOUR;
        quota_init(&q, &limits);
        assert_true(quota_charge(&q, 20 * MIB, t)); /* 12 MiB are owed now, and 8 are the burst */
        assert_false(quota_charge(&q, 0, t + 12 * USEC_PER_SEC - 1));
        assert_int_equal(quota_delay(&q, 20 * MIB, t + 12 * USEC_PER_SEC), 8 * USEC_PER_SEC);
        assert_false(quota_charge(&q, 20 * MIB, t + 20 * USEC_PER_SEC - 1));
        assert_true(quota_charge(&q, 20 * MIB, t + 20 * USEC_PER_SEC));
        t += 100 * USEC_PER_SEC;
        assert_true(quota_charge(&q, SIZE_MAX, t));
        assert_in_range(quota_delay(&q, 1, t), 4000 * USEC_PER_SEC, 5000 * USEC_PER_SEC);
}

/* Whoever waits as long as told is served, and not a microsecond sooner. */
static void delay_is_exact(void **state)
{
        static const QuotaLimits odd = { .messages_per_second = 7,
                                         .messages_burst = 70,
                                         .bytes_per_second = 1031,
                                         .bytes_burst = 8 * 1031 };
        Quota q;
        usec_t t = USEC_PER_HOUR, longest = 0;
        quota_init(&q, &odd);
        for (uint32_t i = 0, x = 1; i < 20000; i++) {
                x = x * 1664525 + 1013904223;
                size_t len = (x >> 8) % (i % 10 ? 400 : 20000);
                usec_t wait = quota_delay(&q, len, t);
                if (wait > 0)
                        assert_false(quota_charge(&q, len, t + wait - 1));
                t += wait;
                assert_int_equal(quota_delay(&q, len, t), 0);
                assert_true(quota_charge(&q, len, t));
                longest = MAX(longest, wait);
        }
        assert_in_range(longest, 8 * USEC_PER_SEC, 30 * USEC_PER_SEC);
}

static void delay_takes_nothing(void **state)
{
        Quota q;
        quota_init(&q, &limits);
        usec_t t = USEC_PER_HOUR;
        for (unsigned i = 0; i < 10000; i++)
                assert_int_equal(quota_delay(&q, MIB, t), 0);
        assert_int_equal(charge_all(&q, 0, t), limits.messages_burst);
        assert_int_equal(quota_delay(&q, 0, t), 5 * USEC_PER_MSEC);
        assert_int_equal(quota_delay(&q, 0, t + USEC_PER_MSEC), 4 * USEC_PER_MSEC);
}

/* A reload neither gives back what was used nor takes what is left, beyond the new burst. */
static void other_limits(void **state)
{
        QuotaLimits less = limits, more = limits;
        less.messages_burst = 10;
        less.messages_per_second = 1;
        more.messages_burst = 5000;
        Quota q;
        usec_t t = USEC_PER_HOUR;
        quota_init(&q, &limits);
        for (unsigned i = 0; i < 500; i++)
                assert_true(quota_charge(&q, 0, t));
        quota_set_limits(&q, &more);
        assert_int_equal(charge_all(&q, 0, t), 1500);
        assert_int_equal(charge_all(&q, 0, t + USEC_PER_DAY), 5000);
        quota_init(&q, &limits);
        quota_charge(&q, 0, t);
        quota_set_limits(&q, &less);
        assert_int_equal(charge_all(&q, 0, t), 10);
        assert_int_equal(charge_all(&q, 0, t + 3 * USEC_PER_SEC), 3);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(messages_a_second),     cmocka_unit_test(bytes_a_second),
                cmocka_unit_test(refused_is_free),       cmocka_unit_test(small_steps_add_up),
                cmocka_unit_test(larger_than_the_burst), cmocka_unit_test(delay_is_exact),
                cmocka_unit_test(delay_takes_nothing),   cmocka_unit_test(other_limits),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
