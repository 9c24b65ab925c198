/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>

#include "../unit.h"
#include "base/buf.h"

static void assert_content(const Buf *b, const char *expected)
{
        assert_true(bytes_equal(buf_view(b), bytes_from_str(expected)));
}

static void append_and_consume(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(100);
        assert_int_equal(buf_append_str(&b, "hello "), 0);
        assert_int_equal(buf_printf(&b, "%s-%d", "world", 7), 0);
        assert_content(&b, "hello world-7");
        buf_consume(&b, 6);
        assert_content(&b, "world-7");
        buf_consume(&b, 1000);
        assert_int_equal(buf_len(&b), 0);
        assert_int_equal(buf_append_str(&b, "again"), 0);
        assert_content(&b, "again");
}

static void integers_in_network_order(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(100);
        static const uint8_t expected[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
        assert_int_equal(buf_append_u8(&b, 1), 0);
        assert_int_equal(buf_append_u16(&b, 0x0203), 0);
        assert_int_equal(buf_append_u32(&b, 0x04050607), 0);
        assert_int_equal(buf_append_u64(&b, 0x08090a0b0c0d0e0f), 0);
        assert_true(bytes_equal(buf_view(&b), BYTES(expected, sizeof expected)));
}

static void ceiling(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(10);
        uint8_t *p;
        assert_int_equal(buf_append_str(&b, "12345678"), 0);
        assert_int_equal(buf_append_str(&b, "abc"), -ENOBUFS);
        assert_int_equal(buf_printf(&b, "%d", 123), -ENOBUFS);
        assert_int_equal(buf_append_u32(&b, 1), -ENOBUFS);
        assert_int_equal(buf_reserve(&b, SIZE_MAX, &p), -ENOBUFS);
        assert_content(&b, "12345678");
        assert_int_equal(buf_append_str(&b, "ab"), 0);
        assert_int_equal(buf_append_u8(&b, 0), -ENOBUFS);
        buf_consume(&b, 3);
        assert_int_equal(buf_append_str(&b, "xyz"), 0);
        assert_content(&b, "45678abxyz");
        assert_true(b.cap <= 10);
}

static void no_room_at_all(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(0);
        uint8_t *p = NULL;
        assert_int_equal(buf_append_u8(&b, 0), -ENOBUFS);
        assert_int_equal(buf_reserve(&b, 0, &p), 0);
        assert_int_equal(buf_append(&b, BYTES(NULL, 0)), 0);
        assert_int_equal(buf_len(&b), 0);
}

/* As a queue it runs for ever within its ceiling, and nothing is lost or reordered. */
static void queue(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(300);
        uint8_t in = 0, out = 0;
        for (unsigned round = 0; round < 5000; round++) {
                for (unsigned i = 0; i < round % 97; i++)
                        if (buf_append_u8(&b, in) == 0)
                                in++;
                size_t n = MIN(buf_len(&b), (size_t)(round % 89));
                for (size_t i = 0; i < n; i++)
                        assert_int_equal(buf_view(&b).data[i], out++);
                buf_consume(&b, n);
                assert_true(b.cap <= 300);
                assert_int_equal((uint8_t)(in - out), (uint8_t)buf_len(&b));
        }
}

static void reserve_commit(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(4096);
        uint8_t *p;
        assert_int_equal(buf_append_str(&b, "ab"), 0);
        assert_int_equal(buf_reserve(&b, 1000, &p), 0);
        memcpy(p, "cd", 2);
        buf_commit(&b, 2);
        assert_content(&b, "abcd");
        buf_commit(&b, SIZE_MAX); /* never beyond the storage */
        assert_true(b.end <= b.cap);
}

static void trim_and_clear(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(10000);
        for (unsigned i = 0; i < 9000; i++)
                assert_int_equal(buf_append_u8(&b, (uint8_t)i), 0);
        buf_consume(&b, 8995);
        buf_trim(&b);
        assert_int_equal(b.cap, 5);
        assert_int_equal(buf_len(&b), 5);
        assert_int_equal(buf_view(&b).data[0], (uint8_t)8995);
        buf_clear(&b);
        assert_non_null(b.data);
        buf_trim(&b);
        assert_null(b.data);
        assert_int_equal(buf_append_str(&b, "x"), 0);
        assert_int_equal(b.max, 10000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(append_and_consume),
                cmocka_unit_test(integers_in_network_order),
                cmocka_unit_test(ceiling),
                cmocka_unit_test(no_room_at_all),
                cmocka_unit_test(queue),
                cmocka_unit_test(reserve_commit),
                cmocka_unit_test(trim_and_clear),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
