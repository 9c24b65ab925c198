/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-count.h"
#include "unit.h"

#define RUN 7

static CountOutcome take(Count *c, unsigned connection, uint64_t sequence, usec_t sent, usec_t now)
{
        uint8_t p[64];
        count_stamp(&(CountStamp){ RUN, connection, sequence, sent }, p, sizeof(p));
        return count_take(c, BYTES(p, sizeof(p)), now, NULL);
}

static CountSummary summary(const Count *c, uint64_t sent0, uint64_t sent1)
{
        CountSummary s;
        count_summarize(c, (uint64_t[]){ sent0, sent1 }, &s);
        return s;
}

static void test_all_came(void **state)
{
        Count *c = count_new(2, RUN);
        for (uint64_t i = 0; i < 1000; i++) {
                assert_int_equal(take(c, 0, i, 100, 200), COUNT_FIRST);
                assert_int_equal(take(c, 1, i, 100, 200), COUNT_FIRST);
                count_acknowledged(c, 0, i);
        }
        CountSummary s = summary(c, 1000, 1000);
        assert_int_equal(s.received, 2000);
        assert_int_equal(s.acknowledged, 1000);
        assert_int_equal(
                s.missing + s.duplicates + s.late + s.foreign + s.damaged + s.acknowledged_lost, 0);
        assert_int_equal(count_received(c, 1), 1000);
        count_free(c);
}

static void test_one_is_lost(void **state)
{
        Count *c = count_new(2, RUN);
        for (uint64_t i = 0; i < 200; i++) {
                count_acknowledged(c, 0, i);
                if (i != 137)
                        take(c, 0, i, 0, 1);
        }
        CountSummary s = summary(c, 200, 0);
        assert_int_equal(s.missing, 1);
        assert_int_equal(s.acknowledged_lost, 1);
        assert_int_equal(s.late + s.duplicates, 0);
        /* Whoever does not know what was sent sees the gap. */
        count_summarize(c, NULL, &s);
        assert_int_equal(s.missing, 1);
        count_free(c);
}

static void test_the_last_is_lost(void **state)
{
        Count *c = count_new(2, RUN);
        for (uint64_t i = 0; i < 63; i++)
                take(c, 1, i, 0, 1);
        count_acknowledged(c, 1, 64); /* in a word of the set that nothing was seen in */
        CountSummary s = summary(c, 0, 65);
        assert_int_equal(s.missing, 2);
        assert_int_equal(s.acknowledged_lost, 1);
        count_free(c);
}

static void test_one_comes_twice(void **state)
{
        Count *c = count_new(2, RUN);
        assert_int_equal(take(c, 0, 0, 0, 1), COUNT_FIRST);
        assert_int_equal(take(c, 0, 1, 0, 1), COUNT_FIRST);
        assert_int_equal(take(c, 0, 0, 0, 9), COUNT_DUPLICATE);
        CountSummary s = summary(c, 3, 0);
        assert_int_equal(s.duplicates, 1);
        assert_int_equal(s.received, 2);
        assert_int_equal(s.missing, 1); /* a duplicate is nobody's replacement */
        assert_int_equal(s.last, 1);
        count_free(c);
}

static void test_order(void **state)
{
        Count *c = count_new(2, RUN);
        assert_int_equal(take(c, 0, 1, 0, 1), COUNT_FIRST);
        assert_int_equal(take(c, 1, 0, 0, 1), COUNT_FIRST); /* another's order is its own */
        assert_int_equal(take(c, 0, 0, 0, 1), COUNT_LATE);
        CountSummary s = summary(c, 2, 1);
        assert_int_equal(s.late, 1);
        assert_int_equal(s.missing + s.duplicates, 0);
        count_free(c);
}

static void test_what_is_not_ours(void **state)
{
        Count *c = count_new(2, RUN);
        uint8_t p[64];
        CountStamp s = { RUN + 1, 0, 0, 0 };
        count_stamp(&s, p, sizeof(p));
        assert_int_equal(count_take(c, BYTES(p, sizeof(p)), 1, NULL), COUNT_FOREIGN);
        s = (CountStamp){ RUN, 2, 0, 0 };
        count_stamp(&s, p, sizeof(p));
        assert_int_equal(count_take(c, BYTES(p, sizeof(p)), 1, NULL), COUNT_FOREIGN);
        s = (CountStamp){ RUN, 1, 5, 0 };
        count_stamp(&s, p, sizeof(p));
        assert_int_equal(count_take(c, BYTES(p, sizeof(p) - 1), 1, NULL), COUNT_DAMAGED);
        assert_int_equal(count_take(c, BYTES(p, COUNT_STAMP_SIZE - 1), 1, NULL), COUNT_FOREIGN);
        p[63] ^= 1;
        assert_int_equal(count_take(c, BYTES(p, sizeof(p)), 1, NULL), COUNT_DAMAGED);
        CountSummary sum = summary(c, 0, 0);
        assert_int_equal(sum.foreign, 3);
        assert_int_equal(sum.damaged, 2);
        assert_int_equal(sum.received, 0);
        count_free(c);
}

static void test_latency(void **state)
{
        Count *c = count_new(2, RUN);
        for (uint64_t i = 1; i <= 10000; i++)
                take(c, 0, i - 1, 1000, 1000 + i * 10);
        CountSummary s = summary(c, 10000, 0);
        assert_int_equal(s.min, 10);
        assert_int_equal(s.max, 100000);
        assert_in_range(s.p50, 50000, 50800);
        assert_in_range(s.p99, 99000, 100000);
        assert_in_range(s.mean, 50000, 50010);
        /* One that was due before anybody's clock began. */
        take(c, 1, 0, 0, UINT64_MAX);
        assert_int_equal(summary(c, 10000, 1).max, UINT64_MAX);
        count_free(c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_came),
                cmocka_unit_test(test_one_is_lost),
                cmocka_unit_test(test_the_last_is_lost),
                cmocka_unit_test(test_one_comes_twice),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_what_is_not_ours),
                cmocka_unit_test(test_latency),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
