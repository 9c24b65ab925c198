/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Configuration text in systemd's dialect, line by line:
 *
 *     # comment, also with ';': a line whose first character that is not blank is one of them
 *     [Section]
 *     Key=value        blanks around '=' and at the ends do not count
 *     Key=one \        a backslash at the end joins the next line with a blank; comment lines
 *         two          in between are skipped
 *
 * '#', ';' and quotes within a value are part of the value. Text is UTF-8 without control
 * characters. A line that is wrong is an item of its own; reading goes on behind it. */

#include "base/bytes.h"

#define INI_LINE_MAX 4096 /* bytes, with what is joined to it */

typedef enum IniKind {
        INI_SECTION,    /* `text` is its name */
        INI_ASSIGNMENT, /* `key` and `text`, the value */
        INI_WRONG,      /* `text` says what is wrong, a constant */
        INI_END,
} IniKind;

typedef struct IniItem {
        IniKind kind;
        unsigned line;          /* its first, from 1 */
        bool heading;           /* of what is wrong: it was to begin a section */
        const char *key, *text; /* valid until the next call */
} IniItem;

typedef struct IniReader {
        Bytes rest;
        unsigned line;
        char text[INI_LINE_MAX + 1];
} IniReader;

/* Borrows `content`. */
void ini_start(IniReader *r, Bytes content);
IniItem ini_next(IniReader *r);
