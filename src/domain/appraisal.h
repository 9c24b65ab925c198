/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Judges a device's report: what the enrolment and the reference values say about a PSA token
 * (RFC 9783). A bad report is a verdict, not an error. Order of use:
 *
 *     psa_evidence_read()      malformed? tell the peer, nothing is known yet
 *     challenges_consume()     with claims.nonce: fresh?
 *     appraisal_psa()          the verdict
 *     verdict_posture()        what registry_set_posture() takes
 */

#include "domain/reference.h"
#include "domain/verdict.h"
#include "proto/cose.h"
#include "proto/eat.h"

/* A token that was read but not verified: only the nonce and the Instance ID may be used yet. The
 * views point into the token. */
typedef struct PsaEvidence {
        CoseSign1 envelope;
        PsaClaims claims;
} PsaEvidence;

/* May a PSA token be signed with this COSE algorithm? COSE knows more than its profiles do (RFC
 * 9783 section 5). */
bool psa_algorithm_allowed(int alg);
/* False when it is not a PSA token, with the reason as one line (a constant). */
bool psa_evidence_read(Bytes token, PsaEvidence *ret, const char **ret_reason);

/* What the gateway knows of the device before it says anything. */
typedef struct Enrolment {
        Bytes instance_id; /* 33 bytes; empty: the device is not enrolled */
        const void *key;   /* handed to `verify`; NULL: not enrolled */
        CoseVerify verify; /* binds public_key_verify_cose() */
        void *userdata;
        /* Which callers on the device may ask for a token (RFC 9783 section 4.1.2: keeps its less
         * trusted side from speaking for the other); none listed: any. */
        const int32_t *client_ids;
        size_t n_client_ids;
} Enrolment;

/* The nonce must have been consumed before. `references` may be NULL: no implementation is known
 * then. `now` is CLOCK_REALTIME. 0, or a negative errno when this host failed (no verdict). */
int appraisal_psa(const PsaEvidence *e, const Enrolment *enrolment, const ReferenceSet *references,
                  usec_t now, Verdict *ret);
