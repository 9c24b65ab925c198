/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fnmatch.h>

#include "../unit.h"
#include "base/str.h"
#include "domain/pattern.h"

static const Zone zone = { .name = (char *)"hall" };
static const Class class = { .name = (char *)"pump" };
static const Device device = { .name = (char *)"dev1", .zone = &zone, .class = &class };

static void expansion(void **state)
{
        static const struct {
                const char *pattern, *text; /* "": none */
        } t[] = {
                { "a/+/b", "a/+/b" }, { "%d", "dev1" },        { "%z/%c/%d/#", "hall/pump/dev1/#" },
                { "100%%", "100%" },  { "%%d/%d", "%d/dev1" }, { "%", "" },
                { "a%", "" },         { "%x/a", "" },          { "%D", "" },
                { "a/% /b", "" },
        };
        char buf[TOPIC_BYTES_MAX];
        for (size_t i = 0; i < ELEMENTSOF(t); i++)
                if (!bytes_equal(pattern_expand(t[i].pattern, &device, buf),
                                 bytes_from_str(t[i].text)))
                        fail_msg("%s is not %s", t[i].pattern, t[i].text);
}

/* What fits exactly, and one byte more. */
static void expansion_is_bounded(void **state)
{
        char buf[TOPIC_BYTES_MAX + 1], pattern[TOPIC_BYTES_MAX + 1];
        memset(pattern, 'a', sizeof pattern);
        buf[TOPIC_BYTES_MAX] = '?';
        strcpy(pattern + TOPIC_BYTES_MAX - 4, "%d");
        assert_int_equal(pattern_expand(pattern, &device, buf).len, TOPIC_BYTES_MAX);
        memset(pattern, 'a', sizeof pattern);
        strcpy(pattern + TOPIC_BYTES_MAX - 3, "%d");
        assert_int_equal(pattern_expand(pattern, &device, buf).len, 0);
        memset(pattern, 'a', sizeof pattern);
        strcpy(pattern + TOPIC_BYTES_MAX - 4, "%da");
        assert_int_equal(pattern_expand(pattern, &device, buf).len, 0);
        assert_int_equal(buf[TOPIC_BYTES_MAX], '?');
}

static void filters(void **state)
{
        static const char *const good[] = {
                "a",          "a/b",     "#",        "+/temp",     "%d/x",     "%z/+/%c/#",
                "dev2/cmd/#", "100%%/a", "gateways", "ratsnest/#", "cmdline",  "a/rats",
                "a/gateway",  "/a",      "+",        "a/$b",       "+/rats/#", "sensor-%d",
        };
        static const char *const bad[] = {
                "",   "a/#/b", "a+",     "%d+",    "a#",      "$SYS/#",  "$share/g/a",
                "$a", "rats",  "rats/#", "cmd",    "cmd/#",   "gateway", "gateway/a",
                "%x", "%",     "a/%",    "%dd/%D", "a\x01/b", "a/\xff",  "$share",
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                if (!pattern_filter_valid(good[i]))
                        fail_msg("%s", good[i]);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (pattern_filter_valid(bad[i]))
                        fail_msg("%s", bad[i]);
}

/* However long the names are that come to stand in it. */
static void filters_are_bounded(void **state)
{
        char pattern[TOPIC_BYTES_MAX + 2];
        memset(pattern, 'a', sizeof pattern);
        pattern[TOPIC_BYTES_MAX] = '\0';
        assert_true(pattern_filter_valid(pattern));
        strcpy(pattern + TOPIC_BYTES_MAX - DEVICE_NAME_MAX, "%d");
        assert_true(pattern_filter_valid(pattern));
        memset(pattern, 'a', sizeof pattern);
        strcpy(pattern + TOPIC_BYTES_MAX - DEVICE_NAME_MAX + 1, "%d");
        assert_false(pattern_filter_valid(pattern));
        assert_false(pattern_client_id_valid(pattern));
        memset(pattern, 'a', sizeof pattern);
        pattern[TOPIC_BYTES_MAX + 1] = '\0';
        assert_false(pattern_filter_valid(pattern));
        assert_false(pattern_client_id_valid(pattern));
        memset(pattern, '/', sizeof pattern);
        pattern[TOPIC_LEVELS_MAX - 1] = '\0';
        assert_true(pattern_filter_valid(pattern));
        memset(pattern, '/', sizeof pattern);
        pattern[TOPIC_LEVELS_MAX] = '\0';
        assert_false(pattern_filter_valid(pattern));
}

static void client_ids(void **state)
{
        static const char *const good[] = { "%d", "*", "%d-?", "%z:%c", "a[b]", "\xc3\xa4*" };
        static const char *const bad[] = { "", "%i", "%", "a\x7f", "\xc3", "%d\n" };
        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                if (!pattern_client_id_valid(good[i]))
                        fail_msg("%s", good[i]);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (pattern_client_id_valid(bad[i]))
                        fail_msg("%s", bad[i]);
}

static void globs(void **state)
{
        static const struct {
                const char *glob, *text;
                bool matches;
        } t[] = {
                { "", "", true },
                { "", "a", false },
                { "*", "", true },
                { "?", "", false },
                { "dev1", "dev1", true },
                { "dev1", "dev10", false },
                { "dev1", "dev", false },
                { "dev1-*", "dev1-", true },
                { "*-x", "a-x-x", true },
                { "*-x", "a-x-y", false },
                { "a*b*c", "aXbYbZc", true },
                { "a?c", "abc", true },
                { "?", "\xc3\xa4", true },
                { "??", "\xc3\xa4", false },
                { "*??", "\xc3\xa4", false },
                { "*?", "\xc3\xa4", true },
                { "[a]", "a", false },
                { "[a]", "[a]", true },
                { "\\*", "*", false },
                { "\\*", "\\x", true },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++)
                if (pattern_matches(bytes_from_str(t[i].glob), bytes_from_str(t[i].text)) !=
                    t[i].matches)
                        fail_msg("%s against %s", t[i].glob, t[i].text);
}

/* Word `which` of all that are made of `letters`, at most `max` long. */
static void nth_word(size_t which, const char *letters, char *ret)
{
        size_t n = strlen(letters);
        for (; which > 0; which = (which - 1) / n)
                *ret++ = letters[(which - 1) % n];
        *ret = '\0';
}

/* The same as libc's matcher, for all short globs and texts. */
static void globs_are_what_libc_says(void **state)
{
        char glob[8], text[8];
        size_t matched = 0, asked = 0;
        for (size_t g = 0; g < 1365; g++) { /* up to 5 of 4 letters */
                nth_word(g, "ab*?", glob);
                for (size_t i = 0; i < 127; i++) { /* up to 6 of 2 */
                        nth_word(i, "ab", text);
                        bool expected = fnmatch(glob, text, 0) == 0;
                        if (pattern_matches(bytes_from_str(glob), bytes_from_str(text)) != expected)
                                fail_msg("%s against %s", glob, text);
                        matched += expected;
                        asked++;
                }
        }
        assert_in_range(matched, asked / 20, asked / 2);
}

/* No time without end, whatever the glob is: this one takes a matcher that recurses 2^60 steps. */
static void globs_take_their_time(void **state)
{
        char glob[TOPIC_BYTES_MAX], text[128];
        for (size_t i = 0; i < sizeof glob; i++)
                glob[i] = i % 2 ? 'a' : '*';
        memset(text, 'a', sizeof text);
        glob[121] = 'b';
        assert_false(pattern_matches(BYTES(glob, 122), BYTES(text, sizeof text)));
        assert_false(pattern_matches(BYTES(glob, sizeof glob), BYTES(text, sizeof text)));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(expansion),
                cmocka_unit_test(expansion_is_bounded),
                cmocka_unit_test(filters),
                cmocka_unit_test(filters_are_bounded),
                cmocka_unit_test(client_ids),
                cmocka_unit_test(globs),
                cmocka_unit_test(globs_are_what_libc_says),
                cmocka_unit_test(globs_take_their_time),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
