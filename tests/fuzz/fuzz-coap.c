/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What CoAP devices send that is read by code of ours: path segments and blocks. The input is a
 * row of pieces, each after its length; the first byte of all chooses what they are. */
#include "base/reader.h"
#include "platform/blockwise.h"
#include "proto/coap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

/* A topic that came about is one, and has as many levels as the path had segments. */
static void paths(Reader *r)
{
        Bytes segments[16];
        size_t n = 0;
        while (n < ELEMENTSOF(segments) && reader_left(r) > 0)
                segments[n++] = reader_bytes(r, reader_u8(r));
        char topic[TOPIC_BYTES_MAX + 1];
        if (coap_topic_from_path(segments, n, topic) != COAP_TOPIC_OK)
                return;
        Bytes t = BYTES(topic, strlen(topic));
        require(topic_name_valid(t) && topic_within_bounds(t));
        size_t levels = 1;
        for (size_t i = 0; i < t.len; i++)
                levels += t.data[i] == '/';
        require(levels == n);
}

/* A body never grows beyond its ceiling, and is empty after anything that broke it. */
static void blocks(Reader *r)
{
        BlockBody body = { .buf = BUF_INIT(300) };
        while (reader_left(r) > 0) {
                Bytes option = reader_bytes(r, reader_u8(r) & 3);
                Bytes payload = reader_bytes(r, reader_u8(r));
                Block block;
                uint8_t value[3];
                Bytes part;
                if (!block_decode(option, &block))
                        continue;
                Block same;
                require(block_decode(BYTES(value, block_encode(&block, value)), &same) &&
                        same.num == block.num && same.more == block.more && same.szx == block.szx);
                BlockOutcome o = block_body_add(&body, &block, 1, payload);
                require(buf_len(&body.buf) <= 300);
                require(o == BLOCK_MORE || o == BLOCK_COMPLETE || buf_len(&body.buf) == 0);
                if (block_slice(payload, &block, &part) && part.len > 0)
                        require(part.data >= payload.data &&
                                part.data + part.len <= payload.data + payload.len);
        }
        block_body_drop(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Reader r = reader_new(BYTES(data, size));
        if (reader_u8(&r) & 1)
                paths(&r);
        else
                blocks(&r);
        return 0;
}
