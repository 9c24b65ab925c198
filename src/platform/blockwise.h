/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* CoAP bodies larger than a datagram (RFC 7959): the Block option, a request body put together
 * from its blocks, and the part of a response body that one block carries. Pure: bytes in, bytes
 * out. */

#include "base/buf.h"
#include "base/bytes.h"
#include "base/time.h"

/* The largest block that RFC 7959 knows: 1024 bytes. */
#define BLOCK_SZX_MAX 6

typedef struct Block {
        uint32_t num; /* 20 bits */
        bool more;
        uint8_t szx; /* 0 to BLOCK_SZX_MAX */
} Block;

static inline size_t block_size(uint8_t szx)
{
        return (size_t)16 << szx;
}

/* The value of a Block1 or Block2 option; false when it is too long or uses the reserved size. */
bool block_decode(Bytes value, Block *ret);
/* Returns the length of the value, 0 to 3. */
size_t block_encode(const Block *b, uint8_t ret[static 3]);

typedef enum BlockOutcome {
        BLOCK_MORE,       /* taken, ask for the next one: 2.31 */
        BLOCK_COMPLETE,   /* the body is whole */
        BLOCK_INCOMPLETE, /* a block before this one is missing: 4.08 */
        BLOCK_TOO_LARGE,  /* beyond the ceiling: 4.13 */
        BLOCK_MALFORMED,  /* payload and block size do not fit together: 4.00 */
        BLOCK_NO_MEMORY,
} BlockOutcome;

/* A request body on its way in. A peer has one at a time: a new first block starts over. */
typedef struct BlockBody {
        Buf buf; /* its ceiling is the largest body */
        uint64_t key;
        bool active;
} BlockBody;

/* `key` tells what the body belongs to (method, resource, format): a block with another key is
 * not part of this body. After BLOCK_COMPLETE the content of `b->buf` is the body; after every
 * other outcome than these two and BLOCK_MORE it is empty. */
BlockOutcome block_body_add(BlockBody *b, const Block *block, uint64_t key, Bytes payload);
/* Forgets the body and gives its memory back. */
void block_body_drop(BlockBody *b);

/* The part of `body` that `block` asks for; sets block->more. False beyond the end. */
bool block_slice(Bytes body, Block *block, Bytes *ret);
