/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Packets as text: hex digits stand for bytes, a run in '...' for itself, blanks for nothing.
 * To be included after cmocka.h. */

#include <stdio.h>

static inline size_t unhex(const char *s, uint8_t *ret, size_t max)
{
        size_t n = 0;
        while (*s) {
                unsigned v;
                assert_true(n < max);
                if (*s == ' ') {
                        s++;
                } else if (*s == '\'') {
                        for (s++; *s != '\''; s++)
                                ret[n++] = (uint8_t)*s;
                        s++;
                } else {
                        assert_int_equal(sscanf(s, "%2x", &v), 1);
                        ret[n++] = (uint8_t)v;
                        s += 2;
                }
        }
        return n;
}
