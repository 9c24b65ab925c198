/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* When the identity key may be used: an approved policy, signed by the operator.
 *
 * An approved policy is PolicyPCR (these PCRs of the SHA-256 bank have these values) AND PolicyNV
 * (the counter is at most this). Or it hands over to another operator key: PolicyAuthorize by that
 * one AND PolicyNV. The key itself carries PolicyAuthorize (TPM 2.0 Library Part 3,
 * 23.16): any policy that the operator has signed opens it. Incrementing the counter retires
 * older policies. All of this file is arithmetic: an operator signs far from any TPM. */

#include "base/bytes.h"
#include "platform/p256.h"
#include "platform/reason.h"

#define POLICY_DIGEST_SIZE 32
#define POLICY_PCR_COUNT   24
#define POLICY_FILE_MAX    ((size_t)64 * 1024)
/* What the operator's signature is for: a key of his that signs other things signs with another
 * policyRef, and such a signature opens nothing here. */
#define POLICY_REF "sallyport-identity-1"

typedef struct PcrValues {
        uint32_t mask; /* bit N: PCR N */
        uint8_t values[POLICY_PCR_COUNT][POLICY_DIGEST_SIZE];
} PcrValues;

typedef struct Policy {
        /* A hand-over: another operator key may approve policies from here on, and the PCRs are for
         * that one to name. */
        bool hands_over;
        uint8_t successor[P256_POINT_SIZE];
        PcrValues pcrs;         /* otherwise */
        uint32_t counter_index; /* NV index */
        uint64_t counter_maximum;
        uint8_t operator_point[P256_POINT_SIZE];
        bool is_signed;
        uint8_t signature[P256_SIGNATURE_SIZE];
} Policy;

/* "0 2 4 7", in any order: -EINVAL for anything else and for no PCR at all. */
int pcrs_parse(const char *s, uint32_t *ret_mask);
/* A new string "0 2 4 7". */
char *pcrs_format(uint32_t mask);
/* Digest over the values in ascending order: the pcrDigest of PolicyPCR and of a quote. */
int pcrs_digest(const PcrValues *p, uint8_t ret[static POLICY_DIGEST_SIZE]);

/* The approved policy's digest; 0 or -EIO. */
int policy_digest(const Policy *p, uint8_t ret[static POLICY_DIGEST_SIZE]);
/* The authPolicy of a key that the holder of the operator key controls. */
int policy_authorize_digest(const uint8_t operator_point[static P256_POINT_SIZE],
                            uint8_t ret[static POLICY_DIGEST_SIZE]);
/* Digest of approvedPolicy || policyRef, which is what the operator signs (aHash). */
int policy_to_be_signed(const Policy *p, uint8_t ret[static POLICY_DIGEST_SIZE]);

/* Does it hold in a state of the machine? `now` has values for all of its PCRs; one that it lacks
 * differs. Of a hand-over: was it retired? */
typedef enum PolicyFit {
        POLICY_HOLDS,
        POLICY_PCRS_DIFFER,
        POLICY_RETIRED,
} PolicyFit;
PolicyFit policy_fits(const Policy *p, const PcrValues *now, uint64_t counter);
/* How many of its PCRs have other values. */
unsigned policy_n_differing(const Policy *p, const PcrValues *now);
/* 0 when it holds; otherwise -EKEYREJECTED or -EKEYREVOKED with the sentence why. */
int policy_explain(const Policy *p, const PcrValues *now, uint64_t counter, Reason *reason);

/* Signs with the operator's key, wherever it is: platform/operator-key.h has `key_source` and the
 * errors. -EINVAL when it is another key than the one that the policy names. */
int policy_sign(Policy *p, const char *key_source, Reason *reason);
/* 0 when signed by the operator key that it names, -EBADMSG otherwise. */
int policy_verify(const Policy *p, Reason *reason);

/* JSON. Reading refuses what is not exactly a policy (-EBADMSG): keys twice, missing or unknown, a
 * digest that does not follow from the rest. The signature is not looked at. */
int policy_read(Bytes json, Policy *ret, Reason *reason);
int policy_load(const char *path, Policy *ret, Reason *reason);
/* A new string; NULL for a counter beyond INT64_MAX, which JSON cannot hold. */
char *policy_to_json(const Policy *p);
int policy_save(const Policy *p, const char *path, Reason *reason);

/* The name (TPM 2.0 Part 1, 16) of the operator key as the TPM knows it, and of the counter once
 * it has been written. */
#define POLICY_NAME_SIZE 34
int operator_name(const uint8_t point[static P256_POINT_SIZE],
                  uint8_t ret[static POLICY_NAME_SIZE]);
int counter_name(uint32_t index, uint8_t ret[static POLICY_NAME_SIZE]);
