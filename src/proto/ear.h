/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* EAT Attestation Results in the dialect that deployed libraries read
 * (tag:github.com,2023:veraison/ear), as a JWT (RFC 7519) with ES256; and AR4SI's vector. */

#include "base/buf.h"
#include "base/bytes.h"
#include "base/time.h"

typedef enum Ar4siClaim {
        AR4SI_INSTANCE_IDENTITY,
        AR4SI_CONFIGURATION,
        AR4SI_EXECUTABLES,
        AR4SI_FILE_SYSTEM,
        AR4SI_HARDWARE,
        AR4SI_RUNTIME_OPAQUE,
        AR4SI_STORAGE_OPAQUE,
        AR4SI_SOURCED_DATA,
        _AR4SI_CLAIM_MAX,
} Ar4siClaim;

typedef enum Ar4siTier {
        AR4SI_NONE,
        AR4SI_AFFIRMING,
        AR4SI_WARNING,
        AR4SI_CONTRAINDICATED,
} Ar4siTier;
/* As the EAR writes it: "none", "affirming", "warning", "contraindicated". */
const char *ar4si_tier_to_string(Ar4siTier t);

/* 0 is "no claim"; 2..31 affirm, 32..95 warn, 96..127 contraindicate. */
typedef struct Ar4siVector {
        int8_t claims[_AR4SI_CLAIM_MAX];
} Ar4siVector;

Ar4siTier ar4si_claim_tier(int8_t value);
/* The worst of all claims that are made. */
Ar4siTier ar4si_vector_tier(const Ar4siVector *v);

typedef struct EarSubmod {
        const char *name; /* the attester: the device's name */
        Ar4siTier status;
        Ar4siVector vector;
        const char *policy_id; /* or NULL */
        const char *reason;    /* for a person; or NULL */
} EarSubmod;

typedef struct Ear {
        Bytes nonce;           /* of the evidence; empty: none */
        usec_t issued;         /* CLOCK_REALTIME */
        usec_t expires;        /* CLOCK_REALTIME, 0: no exp claim */
        const char *developer; /* of the verifier: who */
        const char *build;     /* and which version */
        const EarSubmod *submods;
        size_t n_submods; /* at least 1 */
} Ear;

/* Appends the JWS signing input ("header.payload"). The signature is ES256 over these bytes. 0,
 * -EINVAL for text that is not UTF-8, -ENOBUFS, -ENOMEM. */
int ear_signing_input(const Ear *ear, Buf *ret);
/* Makes `ret`, which holds a signing input, the compact JWT: appends the signature, r || s. */
int ear_sign(Buf *ret, Bytes signature);
