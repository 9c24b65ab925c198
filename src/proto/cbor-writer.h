/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Writes CBOR in the deterministic encoding of RFC 8949 section 4.2.1: shortest heads, definite
 * lengths. The order of map keys is the caller's: bytewise by encoded key. Each call appends and
 * returns 0, -ENOBUFS or -ENOMEM; the error is sticky in the writer, so that only its end needs a
 * check. */

#include "base/buf.h"

typedef struct CborWriter {
        Buf *buf;
        int error;
} CborWriter;

static inline CborWriter cbor_writer(Buf *buf)
{
        return (CborWriter){ buf, 0 };
}

void cbor_put_uint(CborWriter *w, uint64_t v);
void cbor_put_int(CborWriter *w, int64_t v);
void cbor_put_bytes(CborWriter *w, Bytes v);
void cbor_put_text(CborWriter *w, Bytes v);
void cbor_put_str(CborWriter *w, const char *s);
void cbor_put_array(CborWriter *w, size_t n);
void cbor_put_map(CborWriter *w, size_t n);
void cbor_put_tag(CborWriter *w, uint64_t tag);
/* An item that is encoded already. */
void cbor_put_encoded(CborWriter *w, Bytes item);
