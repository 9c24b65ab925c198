/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/cbor-writer.h"

#include "base/bytes.h"
#include "proto/cbor.h"

static void put(CborWriter *w, Bytes bytes)
{
        if (w->error == 0)
                w->error = buf_append(w->buf, bytes);
}

static void put_head(CborWriter *w, CborType type, uint64_t arg)
{
        uint8_t head[9];
        size_t n = arg < 24 ? 0 : arg <= 0xff ? 1 : arg <= 0xffff ? 2 : arg <= 0xffffffff ? 4 : 8;
        uint8_t info = n == 0 ? (uint8_t)arg : n == 1 ? 24 : n == 2 ? 25 : n == 4 ? 26 : 27;

        head[0] = (uint8_t)((unsigned)type << 5 | info);
        for (size_t i = 0; i < n; i++)
                head[n - i] = (uint8_t)(arg >> 8 * i);
        put(w, BYTES(head, 1 + n));
}

void cbor_put_uint(CborWriter *w, uint64_t v)
{
        put_head(w, CBOR_UINT, v);
}

void cbor_put_int(CborWriter *w, int64_t v)
{
        if (v < 0)
                put_head(w, CBOR_NINT, (uint64_t)(-1 - v));
        else
                put_head(w, CBOR_UINT, (uint64_t)v);
}

void cbor_put_bytes(CborWriter *w, Bytes v)
{
        put_head(w, CBOR_BYTES, v.len);
        put(w, v);
}

void cbor_put_text(CborWriter *w, Bytes v)
{
        put_head(w, CBOR_TEXT, v.len);
        put(w, v);
}

void cbor_put_str(CborWriter *w, const char *s)
{
        cbor_put_text(w, bytes_from_str(s));
}

void cbor_put_array(CborWriter *w, size_t n)
{
        put_head(w, CBOR_ARRAY, n);
}

void cbor_put_map(CborWriter *w, size_t n)
{
        put_head(w, CBOR_MAP, n);
}

void cbor_put_tag(CborWriter *w, uint64_t tag)
{
        put_head(w, CBOR_TAG, tag);
}

void cbor_put_encoded(CborWriter *w, Bytes item)
{
        put(w, item);
}
