/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Pull reader for CBOR (RFC 8949) from untrusted sources. It takes no memory and does not recurse.
 *
 * A document is checked whole before the first value is handed out: one well-formed item and
 * nothing after it, definite lengths only, bounded depth, no reserved encodings, text in UTF-8, no
 * map with two equal keys or more than CBOR_MAP_MAX entries. Integers may be longer than need be
 * (RFC 9783 asks verifiers for that); keys are compared by value, so this hides no duplicate.
 *
 * After that the caller pulls what it expects. The error is sticky: a value of another kind fails
 * the reader, and everything read later is zero or empty. Ask cbor_done() at the end. */

#include "base/reader.h"

#define CBOR_DEPTH     8  /* for tokens and messages of devices */
#define CBOR_DEPTH_MAX 16 /* for reference files */
#define CBOR_MAP_MAX   64

typedef enum CborType {
        CBOR_UINT = 0,
        CBOR_NINT = 1,
        CBOR_BYTES = 2,
        CBOR_TEXT = 3,
        CBOR_ARRAY = 4,
        CBOR_MAP = 5,
        CBOR_TAG = 6,
        CBOR_SIMPLE = 7, /* false, true, null, floats */
        CBOR_END,        /* no item left, or failed */
} CborType;

/* True when `document` is exactly one acceptable item, nested at most `depth` levels. */
bool cbor_check(Bytes document, unsigned depth);

/* A reader over a checked document; a failed reader when it does not pass. */
Reader cbor_open(Bytes document, unsigned depth);

CborType cbor_peek(const Reader *r);
static inline bool cbor_done(const Reader *r)
{
        return reader_done(r);
}

uint64_t cbor_uint(Reader *r);
/* Any integer that fits. */
int64_t cbor_int(Reader *r);
Bytes cbor_bytes(Reader *r);
Bytes cbor_text(Reader *r);
/* Consumes the head: the number of items, or of pairs, that follow. */
size_t cbor_array(Reader *r);
size_t cbor_map(Reader *r);
uint64_t cbor_tag(Reader *r);
/* True and consumed when the next item is null. */
bool cbor_null(Reader *r);
/* The encoded bytes of the next item, whatever it is. */
Bytes cbor_item(Reader *r);
static inline void cbor_skip(Reader *r)
{
        (void)cbor_item(r);
}

/* Looks an integer key up in an encoded, checked map: a reader over the value, failed when the
 * map has no such key. */
Reader cbor_map_find(Bytes map, int64_t key);
