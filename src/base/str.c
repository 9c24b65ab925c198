/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/str.h"

#include <errno.h>

#include "base/utf8.h"

const char *startswith(const char *s, const char *prefix)
{
        size_t n = strlen(prefix);
        return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

bool utf8_valid(Bytes s)
{
        while (s.len > 0) {
                uint32_t c;
                size_t n = utf8_next(s, &c);
                if (n == 0)
                        return false;
                s = BYTES(s.data + n, s.len - n);
        }
        return true;
}

char *bytes_to_str(Bytes b)
{
        char *s = malloc(b.len + 1);
        if (!s)
                return NULL;
        if (b.len > 0)
                memcpy(s, b.data, b.len);
        s[b.len] = '\0';
        return s;
}

/* C0, DEL, C1; line and paragraph separators; marks that turn the direction of text. */
static bool unsafe_to_show(uint32_t c)
{
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static char *put_hex(char *out, uint8_t byte)
{
        static const char digits[] = "0123456789abcdef";
        *out++ = '\\';
        *out++ = 'x';
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 0xf];
        return out;
}

char *str_escape(Bytes b, size_t max)
{
        size_t len = MIN(b.len, max);
        if (len > SIZE_MAX / 4 - 4)
                return NULL;
        char *s = malloc(len * 4 + 4), *out = s;
        if (!s)
                return NULL;
        for (size_t i = 0; i < len;) {
                uint32_t c;
                size_t n = utf8_next(BYTES(b.data + i, len - i), &c);
                if (n > 0 && !unsafe_to_show(c)) {
                        memcpy(out, b.data + i, n);
                        out += n;
                } else {
                        n = MAX(n, (size_t)1);
                        for (size_t j = 0; j < n; j++)
                                out = put_hex(out, b.data[i + j]);
                }
                i += n;
        }
        memcpy(out, b.len > max ? "..." : "", b.len > max ? 4 : 1);
        return s;
}

int next_word(const char **s, char **ret)
{
        static const char space[] = " \t\r\n\v\f";
        const char *word = *s + strspn(*s, space);
        size_t len = strcspn(word, space);
        if (len == 0) {
                *s = word;
                return 0;
        }
        char *copy = bytes_to_str(BYTES(word, len));
        if (!copy)
                return -ENOMEM;
        *s = word + len;
        *ret = copy;
        return 1;
}
