/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* RATS conceptual message wrapper (draft-ietf-rats-msg-wrap): a record says of bytes what media
 * type they are; as CBOR array [type, value, ?indicator], as CBOR tag TN(content format), or as
 * JSON array. A collection is a map of them under labels. */

#include "base/buf.h"
#include "base/bytes.h"
#include "base/reader.h"

#define CMW_DEPTH 8

/* TN(), RFC 9277 appendix B: the tag numbers that stand for content formats 0..65535. */
#define CMW_TAG_FIRST UINT64_C(0x63740101)

typedef struct CmwRecord {
        Bytes media_type; /* UTF-8; without data where the type is a content format */
        uint16_t content_format;
        Bytes value;
        uint32_t indicator; /* SALLYPORT_CMW_*; 0: not stated */
} CmwRecord;

typedef enum CmwKind {
        CMW_RECORD,
        CMW_COLLECTION,
} CmwKind;

typedef enum CmwOutcome {
        CMW_OK,
        CMW_E_MALFORMED, /* not CBOR (or JSON) that is acceptable here */
        CMW_E_SHAPE,     /* neither a record nor a tag nor a collection */
        CMW_E_TYPE,      /* what should name a type does not */
        CMW_E_LABEL,     /* a label is neither text nor integer, or a collection is empty */
} CmwOutcome;
/* One line for a person. */
const char *cmw_outcome_to_string(CmwOutcome o);

/* The content format that says the same as a media type of evidence, which is to be spelled to the
 * letter (RFC 9782, RFC 9783). 0 for others. */
uint16_t cmw_content_format(Bytes media_type);

/* Whole check of a message, collections with all that is in them. */
CmwOutcome cmw_check(Bytes message, CmwKind *ret);

/* Reads a record (array or tag form) into views. */
CmwOutcome cmw_record_read(Bytes message, CmwRecord *ret);

/* One item of a collection. */
typedef struct CmwItem {
        bool is_text;
        Bytes text;
        int64_t number;
        CmwKind kind;
        CmwRecord record; /* of a CMW_RECORD */
        Bytes encoded;    /* the whole item: a nested collection is read from here */
} CmwItem;

typedef struct CmwCollection {
        Reader reader;
        size_t left;
        Bytes type; /* "__cmwc_t"; without data: not stated */
} CmwCollection;

/* Checks the collection whole, then hands out its items in the order they have. */
CmwOutcome cmw_collection_open(Bytes message, CmwCollection *ret);
bool cmw_collection_next(CmwCollection *c, CmwItem *ret);

/* To be written: a record under a text label, typed by media type or (NULL) content format. */
typedef struct CmwEntry {
        const char *label;
        const char *media_type;
        uint16_t content_format;
        Bytes value;
        uint32_t indicator;
} CmwEntry;

/* Appends a collection in deterministic encoding; sorts `entries` for it. -EINVAL for two equal
 * labels, more than CBOR_MAP_MAX items or none; -ENOBUFS, -ENOMEM. */
int cmw_collection_write(const char *type, CmwEntry *entries, size_t n, Buf *ret);

/* A record in JSON form: ["media/type" or content format, "base64url", ?indicator]. The outcome,
 * or -ENOMEM; `ret_storage` owns the memory that `ret` points into, and is freed with free(). */
int cmw_json_record_read(Bytes message, CmwRecord *ret, void **ret_storage);
