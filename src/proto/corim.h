/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Reference values and enrolled keys as CoRIM (draft-ietf-rats-corim): the part of it that an
 * appraisal on a gateway needs, into plain structs. Unsigned (tag 501) or COSE_Sign1 (tag 18).
 *
 * Kept: CoMID tags (506) with triples 0 (reference values) and 3 (attestation keys). Skipped and
 * counted: other tags and other triples. Refused: whatever is malformed, and what the named
 * profile forbids. A measurement that states something which this program cannot compare is kept
 * but marked: it never matches. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "proto/cose.h"

#define CORIM_SIZE_MAX    ((size_t)1024 * 1024)
#define CORIM_DIGESTS_MAX 8
#define CORIM_SIGNERS_MAX 4

typedef enum CorimProfile {
        CORIM_PROFILE_NONE,
        CORIM_PROFILE_PSA,        /* tag:arm.com,2025:psa#1.0.0 */
        CORIM_PROFILE_PSA_IOT_1,  /* http://arm.com/psa/iot/1 */
        CORIM_PROFILE_PARSEC_TPM, /* tag:github.com/parallaxsecond,2023-03-03:tpm */
        CORIM_PROFILE_UNKNOWN,
} CorimProfile;

typedef enum CorimIdType {
        CORIM_ID_NONE,
        CORIM_ID_UUID,              /* tag 37, 16 bytes */
        CORIM_ID_OID,               /* tag 111 */
        CORIM_ID_UEID,              /* tag 550, 7..33 bytes */
        CORIM_ID_BYTES,             /* tag 560 */
        CORIM_ID_IMPLEMENTATION_ID, /* tag 600, 32 bytes */
        CORIM_ID_OTHER,             /* known to be an id, not comparable here */
} CorimIdType;

typedef struct CorimId {
        CorimIdType type;
        Bytes value;
} CorimId;

typedef struct CorimEnvironment {
        CorimId class_id, instance;
        Bytes vendor, model;
        bool narrowed; /* states layer, index or group */
} CorimEnvironment;

typedef struct CorimDigest {
        int64_t alg; /* named-information hash: 1 SHA-256, 7 SHA-384, 8 SHA-512; 0: a text name */
        Bytes value;
} CorimDigest;

typedef enum CorimKeyType {
        CORIM_KEY_NONE,
        CORIM_KEY_TEXT,
        CORIM_KEY_UINT,
        CORIM_KEY_PSA_COMPONENT, /* tag 601 {1 label, 4 version, 5 signer} of the older profile */
        CORIM_KEY_OTHER,
} CorimKeyType;

typedef struct CorimMeasurement {
        CorimKeyType key_type;
        Bytes key_text;
        uint64_t key_uint;
        CorimDigest digests[CORIM_DIGESTS_MAX];
        size_t n_digests;
        Bytes signers[CORIM_SIGNERS_MAX]; /* cryptokeys as bytes */
        size_t n_signers;
        Bytes name, version; /* without data: not stated */
        bool has_svn, svn_is_minimum;
        uint64_t svn;
        Bytes registers;   /* encoded map of integrity registers, checked */
        bool incomparable; /* states more than the above: never matches */
} CorimMeasurement;

typedef struct CorimReference {
        CorimEnvironment environment;
        CorimMeasurement *measurements;
        size_t n_measurements;
} CorimReference;

typedef struct CorimAttestKey {
        CorimEnvironment environment;
        uint8_t *spki; /* DER SubjectPublicKeyInfo, NULL when the key has another form */
        size_t spki_len;
        size_t n_in_triple; /* keys that its triple names */
} CorimAttestKey;

typedef struct Corim {
        uint8_t *data; /* what the views point into */
        size_t len;
        CorimProfile profile;
        bool is_signed;
        bool has_validity;
        usec_t not_before, not_after; /* CLOCK_REALTIME; not_before 0: from ever */
        CorimReference *references;
        size_t n_references;
        CorimAttestKey *keys;
        size_t n_keys;
        size_t n_skipped;
} Corim;

/* Who may sign reference values. Without a key only unsigned files are taken (their permissions
 * are the trust), with a key only signed ones. */
typedef struct CorimTrust {
        CoseVerify verify;
        const void *key;
        void *userdata;
} CorimTrust;

typedef enum CorimOutcome {
        CORIM_OK,
        CORIM_E_MALFORMED,
        CORIM_E_NOT_CORIM, /* another document, a bare CoMID for one */
        CORIM_E_UNTRUSTED, /* signed without a key configured, unsigned with one, or a bad one */
        CORIM_E_EXPIRED,   /* or not valid yet */
        CORIM_E_PROFILE,   /* breaks a rule of the profile it names */
        CORIM_E_TOO_LARGE,
} CorimOutcome;
/* One line for a person. */
const char *corim_outcome_to_string(CorimOutcome o);

/* Reads and, where signed, verifies a file; copies what it needs. A CorimOutcome, or -ENOMEM, or
 * what `verify` failed with. A profile that is unknown is no failure here: who uses the values
 * decides. `now` is CLOCK_REALTIME. */
int corim_read(Bytes file, const CorimTrust *trust, usec_t now, Corim **ret);
Corim *corim_free(Corim *c);
DEFINE_CLEANUP(Corim, corim_free)

/* In validity at `now`; an unsigned file always is. */
bool corim_valid_at(const Corim *c, usec_t now);
