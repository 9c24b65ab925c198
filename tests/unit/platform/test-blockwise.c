/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "platform/blockwise.h"

static const uint8_t zeroes[4096];

static void test_option(void **state)
{
        const struct {
                uint8_t value[3];
                size_t len;
                Block block;
        } table[] = {
                { { 0 }, 0, { 0, false, 0 } },
                { { 0x06 }, 1, { 0, false, 6 } },
                { { 0x0e }, 1, { 0, true, 6 } },
                { { 0xfa }, 1, { 15, true, 2 } },
                { { 0x01, 0x05 }, 2, { 16, false, 5 } },
                { { 0xff, 0xff, 0xfe }, 3, { 0xfffff, true, 6 } },
        };
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Block b;
                uint8_t value[3];
                assert_true(block_decode(BYTES(table[i].value, table[i].len), &b));
                assert_int_equal(b.num, table[i].block.num);
                assert_int_equal(b.more, table[i].block.more);
                assert_int_equal(b.szx, table[i].block.szx);
                assert_int_equal(block_encode(&b, value), table[i].len);
                assert_memory_equal(value, table[i].value, table[i].len);
        }
        Block b;
        assert_false(block_decode(BYTES_LITERAL("\x07"), &b)); /* reserved size */
        assert_false(block_decode(BYTES_LITERAL("\x00\x00\x00\x06"), &b));
}

static BlockOutcome add(BlockBody *body, uint32_t num, bool more, uint8_t szx, uint64_t key,
                        size_t len)
{
        return block_body_add(body, &(Block){ num, more, szx }, key, BYTES(zeroes, len));
}

static void test_body(void **state)
{
        BlockBody b = { .buf = BUF_INIT(100) };
        assert_int_equal(add(&b, 0, true, 1, 7, 32), BLOCK_MORE);
        assert_int_equal(add(&b, 1, true, 1, 7, 32), BLOCK_MORE);
        /* Smaller blocks from here on: 64 bytes are 4 blocks of 16. */
        assert_int_equal(add(&b, 4, true, 0, 7, 16), BLOCK_MORE);
        assert_int_equal(add(&b, 5, false, 0, 7, 3), BLOCK_COMPLETE);
        assert_int_equal(buf_len(&b.buf), 83);
        block_body_drop(&b);
        /* A body of one block, and an empty one. */
        assert_int_equal(add(&b, 0, false, 0, 7, 16), BLOCK_COMPLETE);
        assert_int_equal(add(&b, 0, false, 6, 7, 0), BLOCK_COMPLETE);
        assert_int_equal(buf_len(&b.buf), 0);
        block_body_drop(&b);
}

static void test_broken_bodies(void **state)
{
        BlockBody b = { .buf = BUF_INIT(100) };
        /* A block that nothing came before, twice the same, one left out, another's. */
        assert_int_equal(add(&b, 1, true, 0, 7, 16), BLOCK_INCOMPLETE);
        assert_int_equal(add(&b, 0, true, 0, 7, 16), BLOCK_MORE);
        assert_int_equal(add(&b, 2, true, 0, 7, 16), BLOCK_INCOMPLETE);
        assert_int_equal(add(&b, 1, true, 0, 7, 16), BLOCK_INCOMPLETE);
        assert_int_equal(add(&b, 0, true, 0, 7, 16), BLOCK_MORE);
        assert_int_equal(add(&b, 1, true, 0, 8, 16), BLOCK_INCOMPLETE);
        assert_int_equal(add(&b, 0, true, 0, 7, 16), BLOCK_MORE);
        assert_int_equal(add(&b, 1, true, 0, 7, 16), BLOCK_MORE);
        assert_int_equal(add(&b, 1, true, 0, 7, 16), BLOCK_INCOMPLETE);
        /* After the last block there is nothing to add to. */
        assert_int_equal(add(&b, 0, false, 0, 7, 16), BLOCK_COMPLETE);
        assert_int_equal(add(&b, 1, false, 0, 7, 16), BLOCK_INCOMPLETE);
        /* A number whose offset is far beyond 32 bits does not wrap round. */
        assert_int_equal(add(&b, 0, true, 0, 7, 16), BLOCK_MORE);
        assert_int_equal(add(&b, 0xfffff, true, 6, 7, 1024), BLOCK_INCOMPLETE);
        /* More to come, but the block is not full; or more than full. */
        assert_int_equal(add(&b, 0, true, 0, 7, 15), BLOCK_MALFORMED);
        assert_int_equal(add(&b, 0, true, 0, 7, 17), BLOCK_MALFORMED);
        assert_int_equal(add(&b, 0, false, 0, 7, 17), BLOCK_MALFORMED);
        /* Beyond the ceiling. */
        assert_int_equal(add(&b, 0, true, 2, 7, 64), BLOCK_MORE);
        assert_int_equal(add(&b, 1, false, 2, 7, 37), BLOCK_TOO_LARGE);
        assert_int_equal(buf_len(&b.buf), 0);
        assert_null(b.buf.data);
}

static void check_slice(size_t body, uint32_t num, uint8_t szx, size_t want, bool more)
{
        Block b = { .num = num, .szx = szx };
        Bytes part;
        assert_true(block_slice(BYTES(zeroes, body), &b, &part));
        assert_int_equal(part.len, want);
        if (want > 0)
                assert_ptr_equal(part.data, zeroes + num * block_size(szx));
        assert_int_equal(b.more, more);
}

static void test_slice(void **state)
{
        check_slice(0, 0, 6, 0, false);
        check_slice(1024, 0, 6, 1024, false);
        check_slice(1025, 0, 6, 1024, true);
        check_slice(1025, 1, 6, 1, false);
        check_slice(64, 3, 0, 16, false);
        Block b = { .num = 4 };
        Bytes part;
        assert_false(block_slice(BYTES(zeroes, 64), &b, &part));
        b.num = 0xfffff;
        assert_false(block_slice(BYTES(zeroes, 64), &b, &part));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_option),
                cmocka_unit_test(test_body),
                cmocka_unit_test(test_broken_bodies),
                cmocka_unit_test(test_slice),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
