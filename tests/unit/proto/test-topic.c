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

static void covering(void **state)
{
        static const struct {
                const char *outer, *inner;
                bool covers;
        } t[] = {
                { "a/b", "a/b", true },   { "a/b", "a/c", false },    { "a/b", "a/+", false },
                { "a/+", "a/b", true },   { "a/+", "a/#", false },    { "a/#", "a/+/b", true },
                { "a/#", "a", true },     { "a/#", "a/#", true },     { "a/+/#", "a/#", false },
                { "a/+/#", "a/+", true }, { "a/#", "+/b", false },    { "#", "#", true },
                { "+/#", "#", true },     { "#", "+/#", true },       { "+/+/#", "#", false },
                { "#", "$SYS/#", false }, { "+/x", "$SYS/x", false }, { "$SYS/#", "$SYS/+", true },
                { "a/+", "a/$b", true },  { "a/+", "a/", true },      { "a/+", "a", false },
                { "+/+", "/", true },     { "+", "/", false },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++)
                if (topic_filter_covers(bytes_from_str(t[i].outer), bytes_from_str(t[i].inner)) !=
                    t[i].covers)
                        fail_msg("%s over %s", t[i].outer, t[i].inner);
}

typedef char Text[16];

/* Every sequence of up to `depth` of the words that `valid` takes; returns how many. */
static size_t all_of(const char *const *words, size_t n_words, unsigned depth, bool (*valid)(Bytes),
                     Text *ret, size_t max)
{
        size_t n = 0, total = 1;
        for (unsigned levels = 1; levels <= depth; levels++) {
                total *= n_words;
                for (size_t which = 0; which < total; which++) {
                        Text text = "";
                        size_t rest = which;
                        for (unsigned l = 0; l < levels; l++, rest /= n_words) {
                                strcat(text, l > 0 ? "/" : "");
                                strcat(text, words[rest % n_words]);
                        }
                        assert_true(n < max);
                        if (valid(bytes_from_str(text)))
                                memcpy(ret[n++], text, sizeof(text));
                }
        }
        return n;
}

static bool covers_all(const char *outer, const char *inner, const Text *names, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (topic_matches(bytes_from_str(inner), bytes_from_str(names[i])) &&
                    !topic_matches(bytes_from_str(outer), bytes_from_str(names[i])))
                        return false;
        return true;
}

/* Against every name there is of a small world: all filters of up to three levels, and names one
 * level deeper with a word ("z") that stands in no filter. */
static void covering_is_what_the_names_say(void **state)
{
        static const char *const filter_words[] = { "", "a", "b", "$", "+", "#" };
        static const char *const name_words[] = { "", "a", "b", "$", "z" };
        static Text filters[300], names[800];
        size_t n = all_of(filter_words, 6, 3, topic_filter_valid, filters, ELEMENTSOF(filters));
        size_t n_names = all_of(name_words, 5, 4, topic_name_valid, names, ELEMENTSOF(names));
        size_t covered = 0;
        for (size_t o = 0; o < n; o++) {
                for (size_t i = 0; i < n; i++) {
                        bool expected = covers_all(filters[o], filters[i], names, n_names);
                        if (topic_filter_covers(bytes_from_str(filters[o]),
                                                bytes_from_str(filters[i])) != expected)
                                fail_msg("%s over %s: is %d", filters[o], filters[i], expected);
                        covered += expected;
                }
        }
        assert_in_range(covered, n + 1, n * n / 2); /* both answers were asked for */
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
                cmocka_unit_test(strings),
                cmocka_unit_test(names_and_filters),
                cmocka_unit_test(matching),
                cmocka_unit_test(covering),
                cmocka_unit_test(covering_is_what_the_names_say),
                cmocka_unit_test(bounds),
                cmocka_unit_test(levels),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
