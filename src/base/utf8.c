/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/utf8.h"

/* The length that the first byte promises, with its value bits; 0 when it cannot be first. */
static size_t lead(uint8_t b, uint32_t *ret)
{
        if (b < 0x80) {
                *ret = b;
                return 1;
        }
        if (b >= 0xc2 && b <= 0xdf) {
                *ret = b & 0x1f;
                return 2;
        }
        if ((b & 0xf0) == 0xe0) {
                *ret = b & 0x0f;
                return 3;
        }
        if (b >= 0xf0 && b <= 0xf4) {
                *ret = b & 0x07;
                return 4;
        }
        return 0;
}

size_t utf8_next(Bytes s, uint32_t *ret)
{
        /* The smallest code point of each length: shorter forms exist for what is below. */
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        uint32_t c;
        if (s.len == 0)
                return 0;
        size_t n = lead(s.data[0], &c);
        if (n == 0 || n > s.len)
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((s.data[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s.data[i] & 0x3f);
        }
        if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return 0;
        *ret = c;
        return n;
}
