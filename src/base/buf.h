/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A growing byte buffer with a ceiling from birth. A queue as well: consume from the front. */

#include "base/bytes.h"
#include "base/util.h"

typedef struct Buf {
        uint8_t *data; /* the allocation */
        size_t start;  /* first byte not yet consumed */
        size_t end;    /* one past the last byte */
        size_t cap;
        size_t max; /* never holds more than this many bytes */
} Buf;

#define BUF_INIT(ceiling) ((Buf){ .max = (ceiling) })

/* Frees the storage; the buffer is empty and usable again afterwards. */
void buf_done(Buf *b);
/* Forgets the content, keeps the storage. */
void buf_clear(Buf *b);
/* Gives storage that is not needed back; call when a peer goes idle. */
void buf_trim(Buf *b);

static inline size_t buf_len(const Buf *b)
{
        return b->end - b->start;
}
/* Valid until the next call that changes the buffer. */
static inline Bytes buf_view(const Buf *b)
{
        return BYTES(b->data ? b->data + b->start : NULL, b->end - b->start);
}

/* Room for `len` more bytes at the end; write there, then buf_commit().
 * Returns 0, -ENOBUFS beyond the ceiling, -ENOMEM. */
int buf_reserve(Buf *b, size_t len, uint8_t **ret);
/* Makes `len` reserved bytes part of the content. */
void buf_commit(Buf *b, size_t len);
/* Drops `len` bytes from the front; at most what is there. */
void buf_consume(Buf *b, size_t len);

/* Append: 0, -ENOBUFS (nothing was appended) or -ENOMEM. Integers go in network byte order. */
int buf_append(Buf *b, Bytes bytes);
int buf_append_u8(Buf *b, uint8_t v);
int buf_append_u16(Buf *b, uint16_t v);
int buf_append_u32(Buf *b, uint32_t v);
int buf_append_u64(Buf *b, uint64_t v);
int buf_append_str(Buf *b, const char *s);
int buf_printf(Buf *b, const char *format, ...) _printf_(2, 3);

#define _cleanup_buf_ _cleanup_(buf_done)
