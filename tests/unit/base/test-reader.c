/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "base/reader.h"

static const uint8_t data[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

static void integers(void **state)
{
        Reader r = reader_new(BYTES(data, sizeof data));
        assert_int_equal(reader_u8(&r), 1);
        assert_int_equal(reader_u16(&r), 0x0203);
        assert_int_equal(reader_u32(&r), 0x04050607);
        assert_false(reader_done(&r));
        assert_true(reader_u64(&r) == 0x08090a0b0c0d0e0f);
        assert_true(reader_done(&r));
}

static void failure_sticks(void **state)
{
        Reader r = reader_new(BYTES(data, 3));
        assert_int_equal(reader_u8(&r), 1);
        assert_int_equal(reader_u32(&r), 0);
        assert_false(reader_ok(&r));
        assert_int_equal(reader_u8(&r), 0); /* though a byte was there */
        assert_int_equal(reader_left(&r), 0);
        assert_false(reader_done(&r));
        assert_int_equal(reader_bytes(&r, 0).len, 0);
        assert_false(reader_ok(&r));
}

static void views(void **state)
{
        Reader r = reader_new(BYTES(data, 6));
        Bytes b = reader_bytes(&r, 2);
        assert_ptr_equal(b.data, data);
        assert_int_equal(b.len, 2);
        reader_skip(&r, 1);
        b = reader_rest(&r);
        assert_ptr_equal(b.data, data + 3);
        assert_int_equal(b.len, 3);
        assert_true(reader_done(&r));
        b = reader_bytes(&r, 1);
        assert_null(b.data);
        assert_int_equal(b.len, 0);
        assert_false(reader_ok(&r));
}

static void sub_readers(void **state)
{
        Reader r = reader_new(BYTES(data, 6));
        Reader sub = reader_sub(&r, 2);
        assert_int_equal(reader_u16(&sub), 0x0102);
        assert_true(reader_done(&sub));
        reader_u8(&sub);
        assert_false(reader_ok(&sub));
        assert_true(reader_ok(&r)); /* the outer one goes on */
        assert_int_equal(reader_u8(&r), 3);
        sub = reader_sub(&r, 4);
        assert_false(reader_ok(&sub));
        assert_false(reader_ok(&r));
}

static void nothing_to_read(void **state)
{
        Reader r = reader_new(BYTES(NULL, 0));
        assert_true(reader_done(&r));
        reader_skip(&r, 0);
        assert_true(reader_done(&r));
        reader_u8(&r);
        assert_false(reader_ok(&r));
        r = reader_new(BYTES(data, 1));
        reader_skip(&r, SIZE_MAX);
        assert_false(reader_ok(&r));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(integers),        cmocka_unit_test(failure_sticks),
                cmocka_unit_test(views),           cmocka_unit_test(sub_readers),
                cmocka_unit_test(nothing_to_read),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
