/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Hex and base64url of base/str.h. */
#include <errno.h>

#include "base/str.h"

void hex_encode(Bytes b, char *ret)
{
        static const char digits[] = "0123456789abcdef";
        for (size_t i = 0; i < b.len; i++) {
                *ret++ = digits[b.data[i] >> 4];
                *ret++ = digits[b.data[i] & 0xf];
        }
        *ret = '\0';
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

/* The next byte of `*s`, after a colon unless it is the first; -1 when there is none. */
static int hex_byte(const char **s, bool first)
{
        const char *p = *s;
        if (!first && *p == ':')
                p++;
        int high = hex_digit(p[0]);
        int low = high < 0 ? -1 : hex_digit(p[1]);
        if (low < 0)
                return -1;
        *s = p + 2;
        return high << 4 | low;
}

static size_t hex_count(const char *s)
{
        size_t n = 0;
        while (hex_byte(&s, n == 0) >= 0)
                n++;
        return *s == '\0' ? n : SIZE_MAX;
}

int hex_decode(const char *s, uint8_t *ret, size_t len)
{
        if (hex_count(s) != len)
                return -EINVAL;
        for (size_t i = 0; i < len; i++)
                ret[i] = (uint8_t)hex_byte(&s, i == 0);
        return 0;
}

int hex_decode_new(const char *s, uint8_t **ret, size_t *ret_len)
{
        size_t len = hex_count(s);
        if (len == SIZE_MAX)
                return -EINVAL;
        uint8_t *p = malloc(MAX(len, (size_t)1));
        if (!p)
                return -ENOMEM;
        hex_decode(s, p, len);
        *ret = p;
        *ret_len = len;
        return 0;
}

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *base64url_encode_new(Bytes b)
{
        if (b.len > SIZE_MAX / 2)
                return NULL;
        char *s = malloc((b.len + 2) / 3 * 4 + 1), *out = s;
        if (!s)
                return NULL;
        uint32_t bits = 0;
        unsigned n_bits = 0;
        for (size_t i = 0; i < b.len; i++) {
                bits = (bits << 8 | b.data[i]) & 0xffffff;
                for (n_bits += 8; n_bits >= 6; n_bits -= 6)
                        *out++ = base64url[bits >> (n_bits - 6) & 0x3f];
        }
        if (n_bits > 0)
                *out++ = base64url[bits << (6 - n_bits) & 0x3f];
        *out = '\0';
        return s;
}

static int base64url_digit(uint8_t c)
{
        const char *p = c ? strchr(base64url, c) : NULL;
        return p ? (int)(p - base64url) : -1;
}

/* Padding may only fill the last group of four up. */
static Bytes without_padding(Bytes s)
{
        if (s.len % 4 != 0)
                return s;
        for (unsigned i = 0; i < 2 && s.len > 0 && s.data[s.len - 1] == '='; i++)
                s.len--;
        return s;
}

int base64url_decode_new(Bytes s, uint8_t **ret, size_t *ret_len)
{
        s = without_padding(s);
        if (s.len % 4 == 1)
                return -EINVAL;
        _cleanup_free_ uint8_t *out = malloc(s.len / 4 * 3 + 3);
        if (!out)
                return -ENOMEM;
        size_t len = 0;
        uint32_t bits = 0;
        unsigned n_bits = 0;
        for (size_t i = 0; i < s.len; i++) {
                int d = base64url_digit(s.data[i]);
                if (d < 0)
                        return -EINVAL;
                bits = (bits << 6 | (uint32_t)d) & 0xffff;
                n_bits += 6;
                if (n_bits >= 8) {
                        n_bits -= 8;
                        out[len++] = (uint8_t)(bits >> n_bits);
                }
        }
        /* Bits that encode nothing must be zero: one text for one content. */
        if (bits & ((1u << n_bits) - 1))
                return -EINVAL;
        *ret = TAKE_PTR(out);
        *ret_len = len;
        return 0;
}
