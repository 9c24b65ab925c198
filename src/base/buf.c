/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define BUF_CAP_MIN 64

void buf_done(Buf *b)
{
        free(b->data);
        *b = BUF_INIT(b->max);
}

void buf_clear(Buf *b)
{
        b->start = b->end = 0;
}

static void move_to_front(Buf *b)
{
        if (b->start == 0)
                return;
        size_t len = buf_len(b);
        if (len > 0)
                memmove(b->data, b->data + b->start, len);
        b->start = 0;
        b->end = len;
}

/* `cap` is at least what the buffer holds. */
static int resize(Buf *b, size_t cap)
{
        move_to_front(b);
        uint8_t *p = realloc(b->data, cap);
        if (!p)
                return -ENOMEM;
        b->data = p;
        b->cap = cap;
        return 0;
}

void buf_trim(Buf *b)
{
        size_t len = buf_len(b);
        if (len == 0)
                buf_done(b);
        else if (len < b->cap)
                resize(b, len); /* without memory for less we keep what there is */
}

/* Twice as much each time, so that appending costs a constant time on average. */
static size_t grown_cap(const Buf *b, size_t need)
{
        size_t cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
        return MIN(MAX(MAX(cap, need), (size_t)BUF_CAP_MIN), b->max);
}

int buf_reserve(Buf *b, size_t len, uint8_t **ret)
{
        size_t used = buf_len(b);
        if (len > b->max - used)
                return -ENOBUFS;
        if (!b->data || b->cap - b->end < len) {
                /* Moving is worth it when it frees at least as much as it copies. */
                if (b->data && b->cap - used >= len && (b->start >= used || b->cap == b->max))
                        move_to_front(b);
                else if (resize(b, MAX(grown_cap(b, used + len), (size_t)1)) < 0)
                        return -ENOMEM;
        }
        *ret = b->data + b->end;
        return 0;
}

void buf_commit(Buf *b, size_t len)
{
        b->end += MIN(len, b->cap - b->end);
}

void buf_consume(Buf *b, size_t len)
{
        b->start += MIN(len, buf_len(b));
        if (b->start == b->end)
                buf_clear(b);
}

int buf_append(Buf *b, Bytes bytes)
{
        uint8_t *p;
        int r = buf_reserve(b, bytes.len, &p);
        if (r < 0)
                return r;
        if (bytes.len > 0)
                memcpy(p, bytes.data, bytes.len);
        buf_commit(b, bytes.len);
        return 0;
}

static int append_be(Buf *b, uint64_t v, size_t len)
{
        uint8_t bytes[8];
        for (size_t i = len; i-- > 0; v >>= 8)
                bytes[i] = (uint8_t)v;
        return buf_append(b, BYTES(bytes, len));
}

int buf_append_u8(Buf *b, uint8_t v)
{
        return append_be(b, v, 1);
}

int buf_append_u16(Buf *b, uint16_t v)
{
        return append_be(b, v, 2);
}

int buf_append_u32(Buf *b, uint32_t v)
{
        return append_be(b, v, 4);
}

int buf_append_u64(Buf *b, uint64_t v)
{
        return append_be(b, v, 8);
}

int buf_append_str(Buf *b, const char *s)
{
        return buf_append(b, bytes_from_str(s));
}

int buf_printf(Buf *b, const char *format, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list args;
        va_start(args, format);
        int len = vasprintf(&text, format, args);
        va_end(args);
        if (len < 0) {
                text = NULL; /* vasprintf leaves it undefined */
                return -ENOMEM;
        }
        return buf_append(b, BYTES(text, (size_t)len));
}
