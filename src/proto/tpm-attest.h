/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The TPM structures that evidence is made of (TPM 2.0 Library, Part 2): TPMS_ATTEST of a quote or
 * a certification, TPMT_SIGNATURE, TPMT_PUBLIC. Views into the input; exact lengths. */

#include "base/buf.h"
#include "base/bytes.h"

enum {
        TPM_ALG_ID_RSA = 0x0001,
        TPM_ALG_ID_SHA1 = 0x0004,
        TPM_ALG_ID_SHA256 = 0x000b,
        TPM_ALG_ID_SHA384 = 0x000c,
        TPM_ALG_ID_SHA512 = 0x000d,
        TPM_ALG_ID_NULL = 0x0010,
        TPM_ALG_ID_RSASSA = 0x0014,
        TPM_ALG_ID_RSAPSS = 0x0016,
        TPM_ALG_ID_ECDSA = 0x0018,
        TPM_ALG_ID_ECC = 0x0023,
};

/* TPMA_OBJECT */
#define TPM_OBJECT_FIXED_TPM             UINT32_C(0x00000002)
#define TPM_OBJECT_FIXED_PARENT          UINT32_C(0x00000010)
#define TPM_OBJECT_SENSITIVE_DATA_ORIGIN UINT32_C(0x00000020)
#define TPM_OBJECT_USER_WITH_AUTH        UINT32_C(0x00000040)
#define TPM_OBJECT_RESTRICTED            UINT32_C(0x00010000)
#define TPM_OBJECT_DECRYPT               UINT32_C(0x00020000)
#define TPM_OBJECT_SIGN                  UINT32_C(0x00040000)

typedef enum TpmAttestType {
        TPM_ATTEST_CERTIFY = 0x8017,
        TPM_ATTEST_QUOTE = 0x8018,
} TpmAttestType;

#define TPM_SELECTIONS_MAX 4

typedef struct TpmPcrSelection {
        uint16_t hash;
        uint32_t pcrs; /* bit n: PCR n */
} TpmPcrSelection;

typedef struct TpmAttest {
        TpmAttestType type;
        Bytes qualified_signer, extra_data;
        uint64_t clock;
        uint32_t reset_count, restart_count;
        bool safe;
        uint64_t firmware_version;
        /* quote */
        TpmPcrSelection selections[TPM_SELECTIONS_MAX];
        size_t n_selections;
        Bytes pcr_digest;
        /* certify */
        Bytes name, qualified_name;
} TpmAttest;

typedef struct TpmSignature {
        uint16_t scheme, hash;
        Bytes r, s;  /* ECDSA */
        Bytes bytes; /* RSASSA, RSAPSS */
} TpmSignature;

typedef struct TpmPublic {
        uint16_t type, name_hash;
        uint32_t attributes;
        Bytes auth_policy;
        uint16_t scheme, scheme_hash; /* TPM_ALG_ID_NULL: none */
        /* ECC */
        uint16_t curve;
        Bytes x, y;
        /* RSA */
        uint16_t key_bits;
        uint32_t exponent; /* 0: 65537 */
        Bytes modulus;
} TpmPublic;

/* False for anything but a complete one of these, made by a TPM (magic). */
bool tpm_attest_read(Bytes b, TpmAttest *ret);
bool tpm_signature_read(Bytes b, TpmSignature *ret);
bool tpm_public_read(Bytes b, TpmPublic *ret);

/* r || s of an ECDSA signature, each `size` bytes long. False when it does not fit. */
bool tpm_signature_raw(const TpmSignature *s, size_t size, uint8_t *ret);

/* True when `name` is the Name of `public_area` (Part 1, section 16): nameAlg || H(area). Only
 * SHA-256, through `sha256`, which returns 0 or a negative errno; that is handed on. 1, 0, errno.
 */
int tpm_name_matches(Bytes name, Bytes public_area, int (*sha256)(Bytes data, uint8_t *ret));
