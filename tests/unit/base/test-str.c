/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>

#include "../unit.h"
#include "base/str.h"

static void small_helpers(void **state)
{
        assert_string_equal(startswith("devices.d", "devices"), ".d");
        assert_null(startswith("dev", "devices"));
        assert_true(isempty(NULL) && isempty("") && !isempty("x"));
        assert_string_equal(strempty(NULL), "");
}

static void utf8(void **state)
{
        static const char *const good[] = { "",
                                            "abc",
                                            "caf\xc3\xa9",
                                            "\xe2\x82\xac",
                                            "\xf0\x9f\x94\x92",
                                            "\xf4\x8f\xbf\xbf",
                                            "\xed\x9f\xbf",
                                            "\xee\x80\x80" };
        static const char *const bad[] = {
                "\x80",             /* continuation first */
                "\xc3",             /* cut off */
                "\xc3(",            /* no continuation */
                "\xc0\x80",         /* overlong NUL */
                "\xc1\xbf",         /* overlong */
                "\xe0\x9f\xbf",     /* overlong */
                "\xf0\x8f\xbf\xbf", /* overlong */
                "\xed\xa0\x80",     /* surrogate */
                "\xf4\x90\x80\x80", /* beyond U+10FFFF */
                "\xf5\x80\x80\x80",
                "\xff",
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_true(utf8_valid(bytes_from_str(good[i])));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(utf8_valid(bytes_from_str(bad[i])));
        assert_true(utf8_valid(BYTES("a\0b", 3)));
}

static void assert_escaped(Bytes in, size_t max, const char *expected)
{
        _cleanup_free_ char *s = str_escape(in, max);
        assert_string_equal(s, expected);
}

static void escape(void **state)
{
        assert_escaped(BYTES_LITERAL("plain caf\xc3\xa9"), 100, "plain caf\xc3\xa9");
        assert_escaped(BYTES("a\0\n\x1b\x7f", 5), 100, "a\\x00\\x0a\\x1b\\x7f");
        assert_escaped(BYTES_LITERAL("\xff\xc3"), 100, "\\xff\\xc3");
        assert_escaped(BYTES_LITERAL("\xc2\x9b"), 100, "\\xc2\\x9b");          /* C1: CSI */
        assert_escaped(BYTES_LITERAL("\xe2\x80\xae"), 100, "\\xe2\\x80\\xae"); /* RLO */
        assert_escaped(BYTES_LITERAL("abcdef"), 3, "abc...");
        assert_escaped(BYTES_LITERAL("abc"), 3, "abc");
        assert_escaped(BYTES_LITERAL("a\xc3\xa9"), 2, "a\\xc3..."); /* cut inside */
        assert_escaped(BYTES(NULL, 0), 3, "");
}

static void hex(void **state)
{
        uint8_t out[3] = { 9, 9, 9 };
        char text[7];
        assert_int_equal(hex_decode("00aBff", out, 3), 0);
        assert_memory_equal(out, "\x00\xab\xff", 3);
        hex_encode(BYTES(out, 3), text);
        assert_string_equal(text, "00abff");
        assert_int_equal(hex_decode("02:00:5e", out, 3), 0);
        assert_memory_equal(out, "\x02\x00\x5e", 3);

        static const char *const bad[] = { "",         "0",       "0011",    "00112",
                                           "001122ff", "00112g",  ":001122", "001122:",
                                           "00::1122", "0:01122", " 001122", "00 11 22" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(hex_decode(bad[i], out, 3), -EINVAL);
        assert_memory_equal(out, "\x02\x00\x5e", 3);

        _cleanup_free_ uint8_t *any = NULL, *none = NULL;
        size_t len;
        assert_int_equal(hex_decode_new("0102", &any, &len), 0);
        assert_int_equal(len, 2);
        assert_int_equal(hex_decode_new("", &none, &len), 0);
        assert_int_equal(len, 0);
        assert_int_equal(hex_decode_new("010", &any, &len), -EINVAL);
}

/* RFC 4648 section 10, in the URL-safe alphabet and without padding. */
static void base64url(void **state)
{
        static const char *const pairs[][2] = { { "", "" },
                                                { "f", "Zg" },
                                                { "fo", "Zm8" },
                                                { "foo", "Zm9v" },
                                                { "foob", "Zm9vYg" },
                                                { "fooba", "Zm9vYmE" },
                                                { "foobar", "Zm9vYmFy" },
                                                { "\xfb\xff", "-_8" } };
        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                _cleanup_free_ char *text = base64url_encode_new(bytes_from_str(pairs[i][0]));
                _cleanup_free_ uint8_t *bytes = NULL;
                size_t len;
                assert_string_equal(text, pairs[i][1]);
                assert_int_equal(base64url_decode_new(bytes_from_str(text), &bytes, &len), 0);
                assert_true(bytes_equal(BYTES(bytes, len), bytes_from_str(pairs[i][0])));
        }
}

static void base64url_refuses(void **state)
{
        static const char *const bad[] = { "Z",      "Zg=",  "Zg===", "Zm9v=",   "Zm 9v",
                                           "Zm9v\n", "Zh==", "Zh",    "Zm9",     "+/8",
                                           "====",   "=",    "Z===",  "Zg==Zg==" };
        uint8_t *bytes = NULL;
        size_t len = 77;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(base64url_decode_new(bytes_from_str(bad[i]), &bytes, &len),
                                 -EINVAL);
        assert_null(bytes);
        assert_int_equal(len, 77);
        assert_int_equal(base64url_decode_new(BYTES_LITERAL("Zg=="), &bytes, &len), 0);
        assert_int_equal(len, 1);
        free(bytes);
}

static void numbers(void **state)
{
        uint64_t v = 77;
        uint32_t w = 77;
        assert_int_equal(parse_u64("18446744073709551615", 0, UINT64_MAX, &v), 0);
        assert_true(v == UINT64_MAX);
        assert_int_equal(parse_u64("0", 0, 5, &v), 0);
        assert_int_equal(v, 0);
        assert_int_equal(parse_u64("18446744073709551616", 0, UINT64_MAX, &v), -ERANGE);
        assert_int_equal(parse_u64("6", 0, 5, &v), -ERANGE);
        assert_int_equal(parse_u64("1", 2, 5, &v), -ERANGE);
        static const char *const bad[] = { "", " 1", "1 ", "+1", "-1", "0x10", "010", "1a", "a" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(parse_u64(bad[i], 0, UINT64_MAX, &v), -EINVAL);
        assert_int_equal(v, 0);
        assert_int_equal(parse_u32("4294967295", 0, UINT32_MAX, &w), 0);
        assert_int_equal(parse_u32("4294967296", 0, UINT32_MAX, &w), -ERANGE);
        assert_true(w == UINT32_MAX);
}

static void booleans(void **state)
{
        bool b = false;
        assert_int_equal(parse_bool("yes", &b), 0);
        assert_true(b);
        assert_int_equal(parse_bool("Off", &b), 0);
        assert_false(b);
        assert_int_equal(parse_bool("1", &b), 0);
        assert_true(b);
        assert_int_equal(parse_bool("maybe", &b), -EINVAL);
        assert_int_equal(parse_bool("", &b), -EINVAL);
        assert_true(b);
}

static void spans(void **state)
{
        static const struct {
                const char *text;
                usec_t t;
        } good[] = {
                { "5", 5 * USEC_PER_SEC },
                { "90s", 90 * USEC_PER_SEC },
                { "15min", 15 * USEC_PER_MIN },
                { "6h", 6 * USEC_PER_HOUR },
                { "30d", 30 * USEC_PER_DAY },
                { "250ms", 250 * USEC_PER_MSEC },
                { "1h 30min", 90 * USEC_PER_MIN },
                { "1h30min", 90 * USEC_PER_MIN },
                { "0", 0 },
                { "2w", 14 * USEC_PER_DAY },
                { "7us", 7 },
                { "3m", 3 * USEC_PER_MIN },
        };
        static const char *const bad[] = { "",    "min", "1.5h",  "-1s",      " 1s",
                                           "1 s", "1M",  "1hour", "infinity", "1h,30min" };
        usec_t t = 77;
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(parse_usec(good[i].text, &t), 0);
                assert_true(t == good[i].t);
        }
        t = 77;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(parse_usec(bad[i], &t), -EINVAL);
        assert_int_equal(parse_usec("999999999999999999d", &t), -ERANGE);
        assert_int_equal(parse_usec("18446744073709551615us", &t), -ERANGE);
        assert_int_equal(parse_usec("18446744073709551614us 2us", &t), -ERANGE);
        assert_true(t == 77);
}

static void sizes(void **state)
{
        uint64_t v = 77;
        assert_int_equal(parse_size("4096", &v), 0);
        assert_int_equal(v, 4096);
        assert_int_equal(parse_size("64K", &v), 0);
        assert_int_equal(v, 65536);
        assert_int_equal(parse_size("1G", &v), 0);
        assert_int_equal(v, 1u << 30);
        static const char *const bad[] = { "", "K", "1k", "1KB", "1.5M", "-1", "1 K", "1KK" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(parse_size(bad[i], &v), -EINVAL);
        assert_int_equal(parse_size("99999999999T", &v), -ERANGE);
        assert_int_equal(v, 1u << 30);
}

static void words(void **state)
{
        const char *s = "  one\ttwo  \n three ";
        static const char *const expected[] = { "one", "two", "three" };
        for (size_t i = 0; i < 3; i++) {
                _cleanup_free_ char *w = NULL;
                assert_int_equal(next_word(&s, &w), 1);
                assert_string_equal(w, expected[i]);
        }
        char *none = NULL;
        assert_int_equal(next_word(&s, &none), 0);
        assert_null(none);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(small_helpers), cmocka_unit_test(utf8),
                cmocka_unit_test(escape),        cmocka_unit_test(hex),
                cmocka_unit_test(base64url),     cmocka_unit_test(base64url_refuses),
                cmocka_unit_test(numbers),       cmocka_unit_test(booleans),
                cmocka_unit_test(spans),         cmocka_unit_test(sizes),
                cmocka_unit_test(words),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
