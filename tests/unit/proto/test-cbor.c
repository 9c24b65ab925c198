/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include "base/buf.h"
#include "base/str.h"
#include "proto/cbor-writer.h"
#include "proto/cbor.h"

/* Every allocation of the code under test comes through here (the linker wraps them). */
static size_t allocations;
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
        allocations++;
        return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
        allocations++;
        return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
        allocations++;
        return __real_realloc(p, size);
}

typedef struct Hex {
        uint8_t data[512];
        size_t len;
} Hex;

static Hex hex(const char *s)
{
        Hex h = { .len = strlen(s) / 2 };
        assert_true(h.len <= sizeof(h.data));
        assert_int_equal(hex_decode(s, h.data, h.len), 0);
        return h;
}

#define VIEW(h) BYTES((h).data, (h).len)

static void well_formed(void **state)
{
        static const struct {
                const char *hex;
                bool ok;
        } t[] = {
                { "00", true },
                { "17", true },
                { "1818", true },
                { "1801", true }, /* longer than need be: allowed */
                { "1b0000000000000001", true },
                { "1bffffffffffffffff", true },
                { "3bffffffffffffffff", true },
                { "40", true },
                { "4101", true },
                { "60", true },
                { "6161", true },
                { "80", true },
                { "a0", true },
                { "a1616101", true },
                { "c100", true },
                { "f4", true },
                { "f6", true },
                { "f90000", true },
                { "fb0000000000000000", true },
                { "f820", true },
                /* Nothing, too much, cut off. */
                { "", false },
                { "0000", false },
                { "18", false },
                { "19ff", false },
                { "4201", false },
                { "61", false },
                { "81", false },
                { "a1", false },
                { "a101", false },
                { "c1", false },
                { "fb00000000000000", false },
                /* Reserved, indefinite, break. */
                { "1c", false },
                { "1d", false },
                { "1e", false },
                { "5f4101ff", false },
                { "7f6161ff", false },
                { "9f01ff", false },
                { "bf0102ff", false },
                { "ff", false },
                { "f800", false },
                { "f81f", false },
                /* Text that is none. */
                { "61ff", false },
                { "62c080", false },
                { "63eda080", false },
                { "a161ff00", false },
                { "4161", true },
                { "41ff", true },
                /* More announced than there can be. */
                { "9b0000000040000000", false },
                { "bb0000000040000000", false },
                { "5b7fffffffffffffff", false },
                { "9bffffffffffffffff", false },
                { "bb8000000000000001", false },
                { "8201", false },
                { "a20102", false },
                { "a10102", true },
                /* Equal keys, whatever their form or kind. */
                { "a201020103", false },
                { "a20102180103", false },
                { "a2012018012020", false },
                { "a24101024101", false },
                { "a26161026161", false },
                { "a2616102580161", false },
                { "a2410102610103", true },
                { "a201022003", true },
                { "a2810102810103", false },
                { "a2810102810203", true },
                { "a2a1010202a1010203", false },
                { "a2c10102c10103", false },
                { "a2f402f403", false },
                { "a2f402f503", true },
                { "81a201020103", false }, /* at any level */
                { "a100a201020103", false },
                { "a1a20102010300", false },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Hex h = hex(t[i].hex);
                if (cbor_check(VIEW(h), CBOR_DEPTH) != t[i].ok)
                        fail_msg("%s", t[i].hex);
        }
}

/* Nine bytes that announce 2^30 items: no memory, no time. */
static void bomb(void **state)
{
        static const uint8_t nine[] = { 0x9b, 0, 0, 0, 0, 0x40, 0, 0, 0 };
        static uint8_t nested[1024 * 1024];
        memset(nested, 0x81, sizeof(nested));

        allocations = 0;
        free(__wrap_malloc(1)); /* the counter counts */
        assert_int_equal(allocations, 1);
        assert_false(cbor_check(BYTES(nine, sizeof(nine)), CBOR_DEPTH));
        assert_false(cbor_check(BYTES(nested, sizeof(nested)), CBOR_DEPTH_MAX));
        Reader r = reader_new(BYTES(nine, sizeof(nine)));
        assert_int_equal(cbor_array(&r), 0);
        assert_false(reader_ok(&r));
        r = reader_new(BYTES_LITERAL("\xa2\x01\x02\x03")); /* two pairs, bytes for one and a half */
        assert_int_equal(cbor_map(&r), 0);
        r = reader_new(BYTES(nested, sizeof(nested)));
        cbor_skip(&r);
        assert_false(reader_ok(&r));
        assert_int_equal(allocations, 1);
}

static void depth(void **state)
{
        for (unsigned limit = 1; limit <= CBOR_DEPTH_MAX; limit++)
                for (unsigned n = 1; n <= CBOR_DEPTH_MAX + 2; n++) {
                        uint8_t arrays[CBOR_DEPTH_MAX + 3], maps[2 * (CBOR_DEPTH_MAX + 3)];
                        memset(arrays, 0x81, n);
                        arrays[n] = 0;
                        assert_int_equal(cbor_check(BYTES(arrays, n + 1), limit), n <= limit);
                        memset(arrays, 0xc1, n);
                        assert_int_equal(cbor_check(BYTES(arrays, n + 1), limit), n <= limit);
                        for (unsigned k = 0; k < n; k++) {
                                maps[2 * k] = 0xa1;
                                maps[2 * k + 1] = 0;
                        }
                        maps[2 * n] = 0;
                        assert_int_equal(cbor_check(BYTES(maps, 2 * n + 1), limit), n <= limit);
                }
        uint8_t deep[CBOR_DEPTH_MAX + 2];
        memset(deep, 0x81, sizeof(deep));
        deep[CBOR_DEPTH_MAX + 1] = 0;
        assert_false(cbor_check(BYTES(deep, sizeof(deep)), 1000));
}

static void large_maps(void **state)
{
        for (unsigned n = CBOR_MAP_MAX; n <= CBOR_MAP_MAX + 1; n++) {
                _cleanup_buf_ Buf b = BUF_INIT(1024);
                CborWriter w = cbor_writer(&b);
                cbor_put_map(&w, n);
                for (unsigned i = 0; i < n; i++) {
                        cbor_put_uint(&w, i);
                        cbor_put_uint(&w, 0);
                }
                assert_int_equal(w.error, 0);
                assert_int_equal(cbor_check(buf_view(&b), CBOR_DEPTH), n <= CBOR_MAP_MAX);
        }
}

static void pull(void **state)
{
        Hex h = hex("a4"
                    "0a43010203"
                    "206161"
                    "038201a1046178"
                    "05c11b000000000000002a");
        Reader r = cbor_open(VIEW(h), CBOR_DEPTH);

        assert_int_equal(cbor_map(&r), 4);
        assert_int_equal(cbor_uint(&r), 10);
        assert_int_equal(cbor_bytes(&r).len, 3);
        assert_int_equal(cbor_int(&r), -1);
        assert_true(bytes_equal(cbor_text(&r), BYTES_LITERAL("a")));
        assert_int_equal(cbor_int(&r), 3);
        assert_int_equal(cbor_peek(&r), CBOR_ARRAY);
        Bytes item = cbor_item(&r);
        assert_int_equal(item.len, 6);
        assert_int_equal(cbor_int(&r), 5);
        assert_int_equal(cbor_tag(&r), 1);
        assert_false(cbor_done(&r));
        assert_int_equal(cbor_uint(&r), 42);
        assert_true(cbor_done(&r));
        assert_int_equal(cbor_peek(&r), CBOR_END);
}

/* Asking for another kind than there is fails the reader for good. */
static void wrong_kind(void **state)
{
        static const char *const items[] = { "01",     "20",   "4101", "6161",   "8101",
                                             "a10101", "c101", "f6",   "f93c00", "c24101" };
        for (size_t i = 0; i < ELEMENTSOF(items); i++) {
                Hex h = hex(items[i]);
                CborType type = (CborType)(h.data[0] >> 5);
                for (CborType asked = CBOR_UINT; asked <= CBOR_TAG; asked++) {
                        Reader r = cbor_open(VIEW(h), CBOR_DEPTH);
                        switch (asked) {
                        case CBOR_UINT:
                                cbor_uint(&r);
                                break;
                        case CBOR_NINT:
                                cbor_int(&r);
                                break;
                        case CBOR_BYTES:
                                cbor_bytes(&r);
                                break;
                        case CBOR_TEXT:
                                cbor_text(&r);
                                break;
                        case CBOR_ARRAY:
                                cbor_array(&r);
                                break;
                        case CBOR_MAP:
                                cbor_map(&r);
                                break;
                        case CBOR_TAG:
                                cbor_tag(&r);
                                break;
                        case CBOR_SIMPLE:
                        case CBOR_END:
                                break;
                        }
                        bool right = asked == type || (asked == CBOR_NINT && type == CBOR_UINT);
                        assert_int_equal(reader_ok(&r), right);
                        if (!right) {
                                assert_int_equal(cbor_uint(&r), 0);
                                assert_int_equal(cbor_bytes(&r).len, 0);
                        }
                }
        }
}

static void integers(void **state)
{
        static const struct {
                const char *hex;
                bool ok;
                int64_t v;
        } t[] = {
                { "1b7fffffffffffffff", true, INT64_MAX },
                { "3b7fffffffffffffff", true, INT64_MIN },
                { "1b8000000000000000", false, 0 },
                { "3b8000000000000000", false, 0 },
                { "3a000124f7", true, -75000 },
                { "c249010000000000000000", false, 0 },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Hex h = hex(t[i].hex);
                Reader r = cbor_open(VIEW(h), CBOR_DEPTH);
                assert_int_equal(cbor_int(&r), t[i].v);
                assert_int_equal(reader_ok(&r), t[i].ok);
        }
}

static void null_value(void **state)
{
        Hex h = hex("82f6f4");
        Reader r = cbor_open(VIEW(h), CBOR_DEPTH);
        assert_int_equal(cbor_array(&r), 2);
        assert_true(cbor_null(&r));
        assert_false(cbor_null(&r));
        assert_true(reader_ok(&r));
}

static void find(void **state)
{
        Hex h = hex("a36178010a0218636179");
        Reader r = cbor_map_find(VIEW(h), 10);
        assert_int_equal(cbor_uint(&r), 2);
        r = cbor_map_find(VIEW(h), 99);
        assert_true(bytes_equal(cbor_text(&r), BYTES_LITERAL("y")));
        r = cbor_map_find(VIEW(h), 1); /* a value is not a key */
        assert_false(reader_ok(&r));
        r = cbor_map_find(BYTES(NULL, 0), 1);
        assert_false(reader_ok(&r));
        h = hex("820102");
        r = cbor_map_find(VIEW(h), 1);
        assert_false(reader_ok(&r));
}

static void write_heads(void **state)
{
        static const struct {
                uint64_t v;
                const char *hex;
        } t[] = {
                { 0, "00" },
                { 23, "17" },
                { 24, "1818" },
                { 255, "18ff" },
                { 256, "190100" },
                { 65535, "19ffff" },
                { 65536, "1a00010000" },
                { UINT32_MAX, "1affffffff" },
                { UINT64_C(1) << 32, "1b0000000100000000" },
                { UINT64_MAX, "1bffffffffffffffff" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_buf_ Buf b = BUF_INIT(16);
                CborWriter w = cbor_writer(&b);
                cbor_put_uint(&w, t[i].v);
                Hex h = hex(t[i].hex);
                assert_true(bytes_equal(buf_view(&b), VIEW(h)));
        }
}

static void write_items(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(64);
        CborWriter w = cbor_writer(&b);
        cbor_put_tag(&w, 18);
        cbor_put_array(&w, 5);
        cbor_put_int(&w, -75000);
        cbor_put_int(&w, INT64_MIN);
        cbor_put_bytes(&w, BYTES_LITERAL("\1\2"));
        cbor_put_map(&w, 1);
        cbor_put_str(&w, "a");
        cbor_put_text(&w, BYTES(NULL, 0));
        cbor_put_encoded(&w, BYTES_LITERAL("\xf6"));
        Hex h = hex("d2853a000124f73b7fffffffffffffff420102a1616160f6");
        assert_int_equal(w.error, 0);
        assert_true(bytes_equal(buf_view(&b), VIEW(h)));
        assert_true(cbor_check(buf_view(&b), CBOR_DEPTH));
}

static void write_error_sticks(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(4);
        CborWriter w = cbor_writer(&b);
        cbor_put_bytes(&w, BYTES_LITERAL("12345"));
        assert_true(w.error < 0);
        int error = w.error;
        cbor_put_uint(&w, 1);
        assert_int_equal(w.error, error);
        assert_true(buf_len(&b) <= 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(well_formed), cmocka_unit_test(bomb),
                cmocka_unit_test(depth),       cmocka_unit_test(large_maps),
                cmocka_unit_test(pull),        cmocka_unit_test(wrong_kind),
                cmocka_unit_test(integers),    cmocka_unit_test(null_value),
                cmocka_unit_test(find),        cmocka_unit_test(write_heads),
                cmocka_unit_test(write_items), cmocka_unit_test(write_error_sticks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
