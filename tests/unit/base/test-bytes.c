/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "base/bytes.h"

static void equality(void **state)
{
        Bytes a = BYTES_LITERAL("abc"), b = bytes_from_str("abc"), c = bytes_from_str("abd");
        assert_int_equal(a.len, 3);
        assert_true(bytes_equal(a, b));
        assert_true(bytes_equal_ct(a, b));
        assert_false(bytes_equal(a, c));
        assert_false(bytes_equal_ct(a, c));
        assert_false(bytes_equal(a, BYTES(a.data, 2)));
        assert_false(bytes_equal_ct(a, BYTES(a.data, 2)));
        assert_true(bytes_equal(BYTES(NULL, 0), BYTES_LITERAL("")));
        assert_true(bytes_equal_ct(BYTES(NULL, 0), BYTES_LITERAL("")));
}

/* A difference in any single bit counts. */
static void equality_of_every_bit(void **state)
{
        uint8_t a[32] = { 0 }, b[32] = { 0 };
        for (size_t bit = 0; bit < 256; bit++) {
                b[bit / 8] = (uint8_t)(1u << bit % 8);
                assert_false(bytes_equal_ct(BYTES(a, 32), BYTES(b, 32)));
                b[bit / 8] = 0;
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equality),
                cmocka_unit_test(equality_of_every_bit),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
