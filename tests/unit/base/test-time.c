/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "base/time.h"

static void spans(void **state)
{
        static const struct {
                usec_t t;
                const char *text;
        } cases[] = {
                { 0, "0" },
                { 1, "1us" },
                { 999, "999us" },
                { 850 * USEC_PER_MSEC, "850ms" },
                { 243323, "243ms" },
                { USEC_PER_SEC + 1, "1s" },
                { 1500 * USEC_PER_MSEC, "1s 500ms" },
                { 2 * USEC_PER_HOUR + 5 * USEC_PER_MIN + 3 * USEC_PER_SEC, "2h 5min" },
                { 2 * USEC_PER_HOUR + 3 * USEC_PER_SEC, "2h" },
                { 30 * USEC_PER_DAY, "30d" },
                { USEC_INFINITY, "infinity" },
                { USEC_INFINITY - 1, "213503982d 8h" },
        };
        char text[USEC_FORMAT_MAX];
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                assert_string_equal(usec_format_span(cases[i].t, text), cases[i].text);
}

static void utc(void **state)
{
        char text[USEC_FORMAT_MAX];
        assert_string_equal(usec_format_utc(0, text), "1970-01-01T00:00:00Z");
        assert_string_equal(usec_format_utc(UINT64_C(1769860800) * USEC_PER_SEC, text),
                            "2026-01-31T12:00:00Z");
        assert_string_equal(usec_format_utc(USEC_INFINITY, text), "never");
}

static void addition_saturates(void **state)
{
        assert_true(usec_add(1, 2) == 3);
        assert_true(usec_add(USEC_INFINITY, 1) == USEC_INFINITY);
        assert_true(usec_add(1, USEC_INFINITY) == USEC_INFINITY);
        assert_true(usec_add(USEC_INFINITY - 5, 6) == USEC_INFINITY);
        assert_true(usec_add(USEC_INFINITY - 5, 4) == USEC_INFINITY - 1);
}

static void days(void **state)
{
        const usec_t now = 100 * USEC_PER_DAY;
        assert_int_equal(usec_days_left(now, now), 0);
        assert_int_equal(usec_days_left(now + USEC_PER_DAY - 1, now), 0);
        assert_int_equal(usec_days_left(now + USEC_PER_DAY, now), 1);
        assert_int_equal(usec_days_left(now - 1, now), -1); /* over, if by a moment */
        assert_int_equal(usec_days_left(now - USEC_PER_DAY, now), -2);
        assert_int_equal(usec_days_left(0, now), -101);
}

static void clocks(void **state)
{
        usec_t a = now_boottime();
        assert_true(a > 0 && a <= now_boottime());
        assert_true(now_realtime() / USEC_PER_SEC >= (usec_t)time(NULL) - 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(spans),
                cmocka_unit_test(utc),
                cmocka_unit_test(addition_saturates),
                cmocka_unit_test(days),
                cmocka_unit_test(clocks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
