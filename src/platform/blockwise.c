/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/blockwise.h"

#include <errno.h>

bool block_decode(Bytes value, Block *ret)
{
        if (value.len > 3)
                return false;
        uint32_t v = 0;
        for (size_t i = 0; i < value.len; i++)
                v = v << 8 | value.data[i];
        if ((v & 7) > BLOCK_SZX_MAX)
                return false;
        *ret = (Block){ .num = v >> 4, .more = v & 8, .szx = v & 7 };
        return true;
}

size_t block_encode(const Block *b, uint8_t ret[static 3])
{
        uint32_t v = b->num << 4 | (b->more ? 8 : 0) | b->szx;
        size_t len = v > 0xffff ? 3 : v > 0xff ? 2 : v > 0 ? 1 : 0;
        for (size_t i = 0; i < len; i++)
                ret[i] = (uint8_t)(v >> (8 * (len - 1 - i)));
        return len;
}

void block_body_drop(BlockBody *b)
{
        buf_done(&b->buf);
        b->active = false;
}

static BlockOutcome drop(BlockBody *b, BlockOutcome outcome)
{
        block_body_drop(b);
        return outcome;
}

BlockOutcome block_body_add(BlockBody *b, const Block *block, uint64_t key, Bytes payload)
{
        size_t size = block_size(block->szx);
        if (block->more ? payload.len != size : payload.len > size)
                return drop(b, BLOCK_MALFORMED);
        if (block->num == 0) {
                buf_clear(&b->buf);
                b->active = true;
                b->key = key;
        }
        /* In order and without gaps: one block is outstanding at a time (RFC 7959 section 2.3),
         * and a repeated message never gets here. The block size may change on the way. */
        if (!b->active || b->key != key || (uint64_t)block->num * size != buf_len(&b->buf))
                return drop(b, BLOCK_INCOMPLETE);
        int r = buf_append(&b->buf, payload);
        if (r < 0)
                return drop(b, r == -ENOBUFS ? BLOCK_TOO_LARGE : BLOCK_NO_MEMORY);
        if (block->more)
                return BLOCK_MORE;
        b->active = false;
        return BLOCK_COMPLETE;
}

bool block_slice(Bytes body, Block *block, Bytes *ret)
{
        size_t size = block_size(block->szx);
        uint64_t offset = (uint64_t)block->num * size;
        if (offset > 0 && offset >= body.len)
                return false;
        size_t left = body.len - (size_t)offset;
        block->more = left > size;
        *ret = left > 0 ? BYTES(body.data + offset, MIN(left, size)) : BYTES(NULL, 0);
        return true;
}
