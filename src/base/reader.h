/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The one way to parse foreign bytes: a bounded cursor with a sticky error. After the first read
 * beyond the end every read gives zero or nothing, so a parser checks once, at its end, that
 * reader_done() or reader_ok() holds. Integers are in network byte order. */

#include "base/bytes.h"

typedef struct Reader {
        const uint8_t *p;
        size_t left;
        bool failed;
} Reader;

static inline Reader reader_new(Bytes bytes)
{
        return (Reader){ bytes.data, bytes.len, false };
}

/* The caller found the content wrong: the reader is failed from here on. */
static inline void reader_fail(Reader *r)
{
        r->failed = true;
        r->left = 0;
}
static inline bool reader_ok(const Reader *r)
{
        return !r->failed;
}
/* Nothing failed and nothing is left: the block was consumed exactly. */
static inline bool reader_done(const Reader *r)
{
        return !r->failed && r->left == 0;
}
static inline size_t reader_left(const Reader *r)
{
        return r->left;
}

uint8_t reader_u8(Reader *r);
uint16_t reader_u16(Reader *r);
uint32_t reader_u32(Reader *r);
uint64_t reader_u64(Reader *r);
/* A view of the next `len` bytes; empty when there are fewer. */
Bytes reader_bytes(Reader *r, size_t len);
/* All that is left. */
Bytes reader_rest(Reader *r);
void reader_skip(Reader *r, size_t len);
/* A reader over the next `len` bytes; the sub-reader is failed when there are fewer. */
Reader reader_sub(Reader *r, size_t len);
