/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>

#include "../hex.h"
#include "base/util.h"
#include "proto/problem.h"

static void written(void **state)
{
        static const struct {
                Problem problem;
                const char *bytes;
        } t[] = {
                { { .title = "no" }, "a1 20 62 'no'" },
                { { .title = "no", .detail = "why" }, "a2 20 62 'no' 21 63 'why'" },
                { { .title = "no", .code = 0x89 }, "a2 20 62 'no' 23 1889" },
                { { .title = "no", .detail = "", .code = 0x80 }, "a3 20 62 'no' 21 60 23 1880" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                uint8_t expected[64];
                size_t n = unhex(t[i].bytes, expected, sizeof(expected));
                _cleanup_buf_ Buf buf = BUF_INIT(PROBLEM_MAX);
                assert_int_equal(problem_write(&t[i].problem, &buf), 0);
                assert_true(bytes_equal(buf_view(&buf), BYTES(expected, n)));
        }
}

static void too_long(void **state)
{
        char detail[PROBLEM_MAX + 1];
        _cleanup_buf_ Buf buf = BUF_INIT(PROBLEM_MAX);
        memset(detail, 'x', PROBLEM_MAX);
        detail[PROBLEM_MAX] = '\0';
        const Problem p = { .title = "no", .detail = detail };
        assert_int_equal(problem_write(&p, &buf), -ENOBUFS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(written),
                cmocka_unit_test(too_long),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
