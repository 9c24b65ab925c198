/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A borrowed view of bytes. It owns nothing: who hands one out says how long it holds. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct Bytes {
        const uint8_t *data;
        size_t len;
} Bytes;

#define BYTES(ptr, length) ((Bytes){ (const uint8_t *)(ptr), (length) })
/* The view of a string literal, without its NUL. */
#define BYTES_LITERAL(s) ((Bytes){ (const uint8_t *)("" s), sizeof(s) - 1 })

static inline Bytes bytes_from_str(const char *s)
{
        return BYTES(s, strlen(s));
}

static inline bool bytes_equal(Bytes a, Bytes b)
{
        return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Equality in a time that depends on the lengths alone: for nonces, digests and keys. */
bool bytes_equal_ct(Bytes a, Bytes b);
