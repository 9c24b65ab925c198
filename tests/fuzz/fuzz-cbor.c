/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The check and the pull reader have to agree: what passes can be read to its end, and what is
 * pulled without a check ends within the input. */
#include "proto/cbor.h"

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

/* Visits every item by its kind. `checked`: nothing may fail. */
static void walk(Reader *r, bool checked)
{
        while (reader_ok(r) && reader_left(r) > 0) {
                size_t before = reader_left(r);
                switch (cbor_peek(r)) {
                case CBOR_UINT:
                        cbor_uint(r);
                        break;
                case CBOR_BYTES:
                        require(cbor_bytes(r).len <= before);
                        break;
                case CBOR_TEXT: {
                        Bytes text = cbor_text(r);
                        require(!checked || utf8_valid(text));
                        break;
                }
                case CBOR_ARRAY:
                        require(cbor_array(r) <= before);
                        break;
                case CBOR_MAP:
                        require(cbor_map(r) <= CBOR_MAP_MAX);
                        break;
                case CBOR_TAG:
                        cbor_tag(r);
                        break;
                case CBOR_NINT:
                case CBOR_SIMPLE:
                        if (!cbor_null(r))
                                cbor_skip(r);
                        break;
                case CBOR_END:
                        abort();
                }
                require(!reader_ok(r) || reader_left(r) < before);
        }
        require(!checked || cbor_done(r));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Bytes in = BYTES(data, size);
        bool good = cbor_check(in, CBOR_DEPTH_MAX);
        Reader r = reader_new(in);

        walk(&r, good);
        r = reader_new(in);
        Bytes item = cbor_item(&r);
        require(!good || (item.len == size && cbor_done(&r)));
        require(good || !cbor_check(in, CBOR_DEPTH));
        (void)cbor_map_find(in, 10);
        if (good && cbor_peek(&(Reader){ data, size, false }) == CBOR_MAP) {
                r = reader_new(in);
                for (size_t n = cbor_map(&r); n > 0; n--) {
                        bool small = cbor_peek(&r) == CBOR_UINT && (*r.p & 0x1f) < 24;
                        int64_t key = small ? *r.p & 0x1f : 0;
                        cbor_skip(&r);
                        Bytes value = cbor_item(&r);
                        if (!small)
                                continue;
                        Reader found = cbor_map_find(in, key);
                        require(bytes_equal(reader_rest(&found), value));
                }
        }
        return 0;
}
