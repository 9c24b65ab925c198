/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* COSE_Sign1 (RFC 9052 section 4.2): reader, verification through a port, and a builder in two
 * steps because the signature comes from a TPM. */

#include "base/buf.h"
#include "base/bytes.h"
#include "base/reader.h"

#define COSE_TAG_SIGN1 18

enum {
        COSE_ES256 = -7,
        COSE_EDDSA = -8,
        COSE_ES384 = -35,
        COSE_ES512 = -36,
};

enum {
        COSE_HEADER_ALG = 1,
        COSE_HEADER_CRIT = 2,
        COSE_HEADER_CONTENT_TYPE = 3,
        COSE_HEADER_KID = 4,
        COSE_HEADER_X5CHAIN = 33,
};

typedef struct CoseSign1 {
        Bytes protected_header; /* the map as received */
        Bytes unprotected;      /* the encoded map */
        Bytes payload;
        Bytes signature;
        int alg;
        Bytes x5chain; /* encoded value of label 33, protected or not; empty: absent */
} CoseSign1;

typedef enum CoseOutcome {
        COSE_OK,
        COSE_E_MALFORMED, /* not CBOR that is acceptable here, or not of this shape */
        COSE_E_TAG,       /* another tag than 18, or none where one is required */
        COSE_E_ALGORITHM, /* no algorithm in the protected header, or not one of the above */
        COSE_E_CRITICAL,  /* a header that must be understood */
        COSE_E_DUPLICATE, /* a label in both headers */
        COSE_E_DETACHED,  /* no payload inside */
        COSE_E_SIGNATURE, /* not the length that the algorithm gives */
} CoseOutcome;
/* One line for a person. */
const char *cose_outcome_to_string(CoseOutcome o);

typedef enum CoseFlags {
        COSE_TAGGED = 0,        /* tag 18 exactly */
        COSE_UNTAGGED = 1 << 0, /* no tag at all */
} CoseFlags;

/* Reads one message of at most `depth` levels. Nothing is verified. */
CoseOutcome cose_sign1_read(Bytes message, CoseFlags flags, CoseSign1 *ret);

/* Value of an integer label in the protected header: a failed reader when it is absent. */
Reader cose_protected_find(const CoseSign1 *s, int64_t label);
/* Certificate `i` (DER, leaf first) of x5chain; empty beyond the end. */
Bytes cose_x5chain_at(const CoseSign1 *s, size_t i);

/* 1 good, 0 bad, negative errno when this host failed. public_key_verify_cose() fits behind it. */
typedef int (*CoseVerify)(const void *key, int alg, Bytes message, Bytes signature, void *userdata);

/* Verifies with external data `aad` (mostly empty). 1, 0, or a negative errno. */
int cose_sign1_verify(const CoseSign1 *s, Bytes aad, CoseVerify verify, const void *key,
                      void *userdata);

/* What the signature is over: Sig_structure "Signature1". Appends. */
int cose_sign1_tbs(Bytes protected_header, Bytes aad, Bytes payload, Buf *ret);
/* Protected header {1: alg, 3: content format, 33: chain}; without a chain no label 33. */
int cose_protected_write(int alg, uint16_t content_format, const Bytes *chain, size_t n_chain,
                         Buf *ret);
/* The tagged message. */
int cose_sign1_write(Bytes protected_header, Bytes payload, Bytes signature, Buf *ret);
