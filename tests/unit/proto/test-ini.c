/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "../unit.h"
#include "base/str.h"
#include "proto/ini.h"

/* The items of `text` in one line each. */
static void assert_items(Bytes text, const char *expected)
{
        static IniReader r;
        char got[16384] = "";
        size_t n = 0;
        ini_start(&r, text);
        for (IniItem i = ini_next(&r); i.kind != INI_END; i = ini_next(&r))
                n += (size_t)snprintf(got + n, sizeof got - n, "%u%s%s%s%s\n", i.line,
                                      i.kind == INI_WRONG ? "!" : " ", i.key ? i.key : "",
                                      i.kind == INI_SECTION ? "["
                                      : i.key               ? "="
                                                            : "",
                                      i.kind == INI_WRONG ? "" : i.text);
        assert_string_equal(got, expected);
}

static void lines(void **state)
{
        assert_items(BYTES_LITERAL("# comment\n\n ; another\n[One]\nA=1\n B = two words \t\r\n"
                                   "[Zone x]\nC=\nD=a=b"),
                     "4 [One\n5 A=1\n6 B=two words\n7 [Zone x\n8 C=\n9 D=a=b\n");
        assert_items(BYTES_LITERAL(""), "");
        assert_items(BYTES_LITERAL("\n\n"), "");
}

static void comment_characters_in_values_stay(void **state)
{
        assert_items(BYTES_LITERAL("A=x ; y # z\nB=\"q\"\nC=a:b\n"), "1 A=x ; y # z\n2 B=\"q\"\n"
                                                                     "3 C=a:b\n");
}

static void continuation(void **state)
{
        assert_items(BYTES_LITERAL("A=one \\\n   two\\\n# a comment\n three\nB=4\n"),
                     "1 A=one two three\n5 B=4\n");
        assert_items(BYTES_LITERAL("A=one\\\n\nB=2\n"), "1 A=one\n3 B=2\n");
        assert_items(BYTES_LITERAL("B=2\nA=one \\\n"), "1 B=2\n2!\n");
        assert_items(BYTES_LITERAL("# comments do not continue \\\nA=1\n"), "2 A=1\n");
}

static void wrong_lines(void **state)
{
        assert_items(BYTES_LITERAL("nothing\n=value\n[open\n[x] y\nA=1\n"),
                     "1!\n2!\n3!\n4!\n5 A=1\n");
        assert_items(BYTES_LITERAL("A=x\0y\nB=\x1b[m\nC=\xff\nD=1\n"), "1!\n2!\n3!\n4 D=1\n");
        assert_items(BYTES_LITERAL("[\n"), "1!\n");
        assert_items(BYTES_LITERAL("\\\nA=1"), "1 A=1\n");
}

static void long_lines(void **state)
{
        static char text[2 * INI_LINE_MAX + 16];
        memset(text, 'a', sizeof text);
        memcpy(text, "K=", 2);
        text[INI_LINE_MAX] = '\n';
        memcpy(text + INI_LINE_MAX + 1, "B=1", 4);
        static IniReader r;
        ini_start(&r, bytes_from_str(text));
        IniItem i = ini_next(&r);
        assert_int_equal(i.kind, INI_ASSIGNMENT);
        assert_int_equal(strlen(i.text), INI_LINE_MAX - 2);
        assert_int_equal(ini_next(&r).kind, INI_ASSIGNMENT);

        /* One more is too many; the rest of it is not a line. */
        text[INI_LINE_MAX] = 'a';
        text[INI_LINE_MAX + 1] = '\n';
        memcpy(text + INI_LINE_MAX + 2, "B=1", 4);
        assert_items(bytes_from_str(text), "1!\n2 B=1\n");
        /* The same by joining; what was joined is not a line either. */
        memcpy(text + INI_LINE_MAX - 8, "\\\naaaaaaaaaaaa\nB=1", 19);
        assert_items(bytes_from_str(text), "1!\n3 B=1\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines),        cmocka_unit_test(comment_characters_in_values_stay),
                cmocka_unit_test(continuation), cmocka_unit_test(wrong_lines),
                cmocka_unit_test(long_lines),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
