/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Builds CBOR for tests out of hex with room for changes: "a1" "0a" and so on. */

#include "base/buf.h"
#include "base/str.h"

/* Appends hex digits (spaces allowed between items) to a buffer; fails the test otherwise. */
static inline void put_hex(Buf *b, const char *hex)
{
        uint8_t *data = NULL;
        size_t len = 0;
        char digits[8192];
        size_t n = 0;

        for (const char *p = hex; *p; p++)
                if (*p != ' ')
                        digits[n++] = *p;
        digits[n] = '\0';
        assert_int_equal(hex_decode_new(digits, &data, &len), 0);
        assert_int_equal(buf_append(b, BYTES(data, len)), 0);
        free(data);
}
