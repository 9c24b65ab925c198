/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Text: UTF-8, hex and base64url, and the strict number, size and time formats of config files.
 * Parsers return 0, or -EINVAL / -ERANGE and leave `ret` untouched. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"

static inline bool streq(const char *a, const char *b)
{
        return strcmp(a, b) == 0;
}
static inline bool isempty(const char *s)
{
        return !s || !*s;
}
static inline const char *strempty(const char *s)
{
        return s ? s : "";
}
/* The rest of `s` after `prefix`, or NULL. */
const char *startswith(const char *s, const char *prefix);

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). NUL is allowed. */
bool utf8_valid(Bytes s);
/* A new NUL-terminated copy; NULL without memory. */
char *bytes_to_str(Bytes b);
/* A new copy with control characters and invalid UTF-8 written as \xNN: safe in a log or on a
 * terminal, at most `max` bytes of input (then "..."). */
char *str_escape(Bytes b, size_t max);

/* Lower-case hex of `b`; `ret` holds 2 * len + 1. */
void hex_encode(Bytes b, char *ret);
/* Fills exactly `len` bytes from 2 * len digits; colons between bytes are allowed. */
int hex_decode(const char *s, uint8_t *ret, size_t len);
/* Any length, into a new allocation. */
int hex_decode_new(const char *s, uint8_t **ret, size_t *ret_len);
/* base64url without padding (RFC 4648 section 5). */
char *base64url_encode_new(Bytes b);
/* Padding is tolerated, white space is not. */
int base64url_decode_new(Bytes s, uint8_t **ret, size_t *ret_len);

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
int parse_u32(const char *s, uint32_t min, uint32_t max, uint32_t *ret);
int parse_bool(const char *s, bool *ret);
/* "5", "90s", "15min", "6h", "30d", "250ms", "1h 30min": a bare number is seconds. */
int parse_usec(const char *s, usec_t *ret);
/* "4096", "64K", "16M", "1G": powers of 1024. */
int parse_size(const char *s, uint64_t *ret);

/* Splits the next word (white space separates) off `*s`: 1 and a new string, 0 at the end,
 * -ENOMEM. */
int next_word(const char **s, char **ret);
