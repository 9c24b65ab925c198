/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/util.h"
#include "proto/topic.h"

static void strings(void **state)
{
        static const struct {
                Bytes s;
                bool valid;
        } t[] = {
                { BYTES_LITERAL(""), true },
                { BYTES_LITERAL("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\xa5"), true },
                { BYTES_LITERAL("\xef\xbb\xbfx"), true }, /* [MQTT-1.5.4-3]: U+FEFF stays */
                { BYTES_LITERAL("a\0b"), false },         /* [MQTT-1.5.4-2] */
                { BYTES_LITERAL("\xed\xa0\x80"), false }, /* [MQTT-1.5.4-1]: a surrogate */
                { BYTES_LITERAL("\xed\xbf\xbf"), false },
                { BYTES_LITERAL("\xc0\x80"), false }, /* overlong */
                { BYTES_LITERAL("\xf4\x90\x80\x80"), false },
                { BYTES_LITERAL("\xe2\x82"), false },
                { BYTES_LITERAL("a\nb"), false },
                { BYTES_LITERAL("a\x7f"), false },
                { BYTES_LITERAL("\xc2\x9f"), false },
                { BYTES_LITERAL("\xc2\xa0"), true },
                { BYTES_LITERAL("\xef\xb7\x90"), false },
                { BYTES_LITERAL("\xef\xbf\xbe"), false },
                { BYTES_LITERAL("\xf0\x9f\xbf\xbf"), false },
                { BYTES_LITERAL("\xef\xbf\xbd"), true },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++)
                if (mqtt_string_valid(t[i].s) != t[i].valid)
                        fail_msg("string %zu", i);
}

static void names_and_filters(void **state)
{
        static const struct {
                Bytes s;
                bool name, filter;
        } t[] = {
                { BYTES_LITERAL(""), false, false }, /* [MQTT-4.7.3-1] */
                { BYTES_LITERAL("a"), true, true },
                { BYTES_LITERAL("/"), true, true },
                { BYTES_LITERAL("a//b/"), true, true },
                { BYTES_LITERAL("a b"), true, true },
                { BYTES_LITERAL("+"), false, true },
                { BYTES_LITERAL("#"), false, true },
                { BYTES_LITERAL("a/+/b"), false, true },
                { BYTES_LITERAL("a/#"), false, true },
                { BYTES_LITERAL("/#"), false, true },
                { BYTES_LITERAL("a#"), false, false }, /* [MQTT-4.7.1-1] */
                { BYTES_LITERAL("a/#/b"), false, false },
                { BYTES_LITERAL("##"), false, false },
                { BYTES_LITERAL("a+"), false, false }, /* [MQTT-4.7.1-2] */
                { BYTES_LITERAL("a/+b"), false, false },
                { BYTES_LITERAL("a\0"), false, false }, /* [MQTT-4.7.3-2] */
                { BYTES_LITERAL("$share/g/a/+"), false, true },
                { BYTES_LITERAL("$share/g/"), true, false },
                { BYTES_LITERAL("$share/g"), true, false },
                { BYTES_LITERAL("$share//a"), true, false },   /* [MQTT-4.8.2-1] */
                { BYTES_LITERAL("$share/+/a"), false, false }, /* [MQTT-4.8.2-2] */
                { BYTES_LITERAL("$share/g#/a"), false, false },
                { BYTES_LITERAL("$shared/x"), true, true },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                if (topic_name_valid(t[i].s) != t[i].name)
                        fail_msg("name %zu", i);
                if (topic_filter_valid(t[i].s) != t[i].filter)
                        fail_msg("filter %zu", i);
        }
}

static void matching(void **state)
{
        static const struct {
                const char *filter, *name;
                bool match;
        } t[] = {
                { "a/b", "a/b", true },       { "a/b", "a/B", false },
                { "a/b", "a/b/", false },     { "a/b/", "a/b", false },
                { "#", "a/b/c", true },       { "#", "/", true },
                { "a/#", "a", true }, /* section 4.7.1.2 */
                { "a/#", "a/b/c", true },     { "a/#", "ab", false },
                { "+", "a", true },           { "+", "/a", false }, /* section 4.7.1.3 */
                { "+/+", "/a", true },        { "/+", "/a", true },
                { "a/+", "a", false },        { "a/+", "a/", true },
                { "a/+/c", "a/b/c", true },   { "a/+/c", "a/b/d", false },
                { "+/b/#", "a/b", true },     { "#", "$SYS/x", false }, /* [MQTT-4.7.2-1] */
                { "+/x", "$SYS/x", false },   { "$SYS/#", "$SYS/x", true },
                { "$SYS/+", "$SYS/x", true }, { "a/$b/+", "a/$b/c", true },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++)
                if (topic_matches(bytes_from_str(t[i].filter), bytes_from_str(t[i].name)) !=
                    t[i].match)
                        fail_msg("%s against %s", t[i].filter, t[i].name);
}

static void bounds(void **state)
{
        char many[2 * TOPIC_LEVELS_MAX], lengthy[TOPIC_BYTES_MAX + 1];
        for (size_t i = 0; i < sizeof(many); i++)
                many[i] = i % 2 ? '/' : 'a';
        memset(lengthy, 'a', sizeof(lengthy));
        assert_true(topic_within_bounds(BYTES(many, sizeof(many) - 1)));
        assert_false(topic_within_bounds(BYTES(many, sizeof(many))));
        assert_true(topic_within_bounds(BYTES(lengthy, sizeof(lengthy) - 1)));
        assert_false(topic_within_bounds(BYTES(lengthy, sizeof(lengthy))));
}

static void levels(void **state)
{
        Bytes rest;
        assert_true(topic_strip_level(BYTES_LITERAL("dev1/x/y"), BYTES_LITERAL("dev1"), &rest));
        assert_true(bytes_equal(rest, BYTES_LITERAL("x/y")));
        assert_true(topic_strip_level(BYTES_LITERAL("dev1/"), BYTES_LITERAL("dev1"), &rest));
        assert_int_equal(rest.len, 0);
        assert_false(topic_strip_level(BYTES_LITERAL("dev1"), BYTES_LITERAL("dev1"), &rest));
        assert_false(topic_strip_level(BYTES_LITERAL("dev12/x"), BYTES_LITERAL("dev1"), &rest));
        assert_true(topic_filter_is_shared(BYTES_LITERAL("$share/g/a/#"), &rest));
        assert_true(bytes_equal(rest, BYTES_LITERAL("a/#")));
        assert_false(topic_filter_is_shared(BYTES_LITERAL("share/g/a"), &rest));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(strings),  cmocka_unit_test(names_and_filters),
                cmocka_unit_test(matching), cmocka_unit_test(bounds),
                cmocka_unit_test(levels),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
