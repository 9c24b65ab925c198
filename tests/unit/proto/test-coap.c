/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/util.h"
#include "proto/coap.h"

static CoapTopicOutcome topic(char ret[static TOPIC_BYTES_MAX + 1], size_t n, const Bytes *path)
{
        snprintf(ret, TOPIC_BYTES_MAX + 1, "untouched");
        return coap_topic_from_path(path, n, ret);
}
#define TOPIC(ret, ...)                                                                            \
        topic(ret, sizeof((Bytes[]){ __VA_ARGS__ }) / sizeof(Bytes), (Bytes[]){ __VA_ARGS__ })
#define S(s) BYTES_LITERAL(s)

static void test_good(void **state)
{
        char t[TOPIC_BYTES_MAX + 1];
        assert_int_equal(TOPIC(t, S("temperature")), COAP_TOPIC_OK);
        assert_string_equal(t, "temperature");
        assert_int_equal(TOPIC(t, S("room 1"), S("\xc3\xa4"), S("...")), COAP_TOPIC_OK);
        assert_string_equal(t, "room 1/\xc3\xa4/...");
        /* Only the first level is reserved, and only the whole word. */
        assert_int_equal(TOPIC(t, S("a"), S("rats")), COAP_TOPIC_OK);
        assert_int_equal(TOPIC(t, S("ratsa")), COAP_TOPIC_OK);
}

static void test_bad(void **state)
{
        char t[TOPIC_BYTES_MAX + 1];
        assert_int_equal(topic(t, 0, NULL), COAP_TOPIC_EMPTY);
        assert_int_equal(TOPIC(t, S("")), COAP_TOPIC_EMPTY);
        assert_int_equal(TOPIC(t, S("a"), S(""), S("b")), COAP_TOPIC_EMPTY);
        assert_int_equal(TOPIC(t, S("a"), S("")), COAP_TOPIC_EMPTY);
        assert_int_equal(TOPIC(t, S("rats"), S("x")), COAP_TOPIC_RESERVED);
        assert_int_equal(TOPIC(t, S("cmd")), COAP_TOPIC_RESERVED);
        const Bytes invalid[] = { S("+"),    S("#"),    S("a+"),   S("a/b"),      S("a\0b"),
                                  S("\n"),   S("\x7f"), S("\xff"), S("\xc0\x80"), S("\xed\xa0\x80"),
                                  S("\xc3"), S("."),    S("..") };
        for (size_t i = 0; i < ELEMENTSOF(invalid); i++) {
                assert_int_equal(TOPIC(t, S("a"), invalid[i]), COAP_TOPIC_INVALID);
                assert_string_equal(t, "untouched");
        }
}

static void test_bounds(void **state)
{
        static uint8_t long_segment[TOPIC_BYTES_MAX];
        for (size_t i = 0; i < sizeof(long_segment); i++)
                long_segment[i] = 'x';
        char t[TOPIC_BYTES_MAX + 1];
        /* 4 * 255 and three slashes fit. */
        Bytes s = BYTES(long_segment, 255);
        assert_int_equal(TOPIC(t, s, s, s, s), COAP_TOPIC_OK);
        assert_int_equal(strlen(t), 1023);
        assert_int_equal(TOPIC(t, s, s, s, s, S("y")), COAP_TOPIC_TOO_LONG);
        assert_int_equal(TOPIC(t, BYTES(long_segment, TOPIC_BYTES_MAX), S("y")),
                         COAP_TOPIC_TOO_LONG);
        Bytes deep[TOPIC_LEVELS_MAX + 1];
        for (size_t i = 0; i < ELEMENTSOF(deep); i++)
                deep[i] = S("y");
        assert_int_equal(topic(t, TOPIC_LEVELS_MAX, deep), COAP_TOPIC_OK);
        assert_int_equal(topic(t, TOPIC_LEVELS_MAX + 1, deep), COAP_TOPIC_TOO_LONG);
}

static void test_media_types(void **state)
{
        assert_string_equal(coap_media_type(0), "text/plain;charset=utf-8");
        assert_string_equal(coap_media_type(112), "application/senml+cbor");
        assert_null(coap_media_type(-1));
        assert_null(coap_media_type(65535));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_bad),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_media_types),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
