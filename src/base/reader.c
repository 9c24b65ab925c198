/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/reader.h"

#include "base/util.h"

/* The next `len` bytes, or NULL and failed for good. */
static const uint8_t *take(Reader *r, size_t len)
{
        if (r->failed || len > r->left) {
                reader_fail(r);
                return NULL;
        }
        const uint8_t *p = r->p;
        if (len > 0)
                r->p += len;
        r->left -= len;
        return p;
}

static uint64_t take_be(Reader *r, size_t len)
{
        const uint8_t *p = take(r, len);
        uint64_t v = 0;
        for (size_t i = 0; p && i < len; i++)
                v = v << 8 | p[i];
        return v;
}

uint8_t reader_u8(Reader *r)
{
        return (uint8_t)take_be(r, 1);
}

uint16_t reader_u16(Reader *r)
{
        return (uint16_t)take_be(r, 2);
}

uint32_t reader_u32(Reader *r)
{
        return (uint32_t)take_be(r, 4);
}

uint64_t reader_u64(Reader *r)
{
        return take_be(r, 8);
}

Bytes reader_bytes(Reader *r, size_t len)
{
        const uint8_t *p = take(r, len);
        return p ? BYTES(p, len) : BYTES(NULL, 0);
}

Bytes reader_rest(Reader *r)
{
        return reader_bytes(r, r->left);
}

void reader_skip(Reader *r, size_t len)
{
        take(r, len);
}

Reader reader_sub(Reader *r, size_t len)
{
        const uint8_t *p = take(r, len);
        if (r->failed)
                return (Reader){ .failed = true };
        return (Reader){ p, len, false };
}
