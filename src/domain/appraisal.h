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

#include "domain/device.h"
#include "domain/reference.h"
#include "domain/registry.h"
#include "proto/cose.h"
#include "proto/ear.h"
#include "proto/eat.h"

/* A token that was read but not verified: only the nonce and the Instance ID may be used yet. The
 * views point into the token. */
typedef struct PsaEvidence {
        CoseSign1 envelope;
        PsaClaims claims;
} PsaEvidence;

/* False when it is not a PSA token, with the reason as one line (a constant). */
bool psa_evidence_read(Bytes token, PsaEvidence *ret, const char **ret_reason);

/* What the gateway knows of the device before it says anything. */
typedef struct Enrolment {
        Bytes instance_id; /* 33 bytes; empty: the device is not enrolled */
        const void *key;   /* handed to `verify`; NULL: not enrolled */
        CoseVerify verify; /* binds public_key_verify_cose() */
        void *userdata;
} Enrolment;

typedef struct Verdict {
        Ar4siVector vector;
        Ar4siTier tier;
        char reason[REASON_MAX]; /* one line for a person, without control characters */
        bool foreign; /* signed, or said to be, by another identity than the enrolled one: alarm */
        bool authentic; /* the signature holds under the enrolled key */
} Verdict;

/* The nonce must have been consumed before. `references` may be NULL: no implementation is known
 * then. `now` is CLOCK_REALTIME. 0, or a negative errno when this host failed (no verdict). */
int appraisal_psa(const PsaEvidence *e, const Enrolment *enrolment, const ReferenceSet *references,
                  usec_t now, Verdict *ret);

/* A report of which nothing can be believed: every claim 99, as verifiers do for bad cryptography
 * and for staleness. `reason` is cut to fit. */
void verdict_reject(Verdict *v, const char *reason);

/* A tier of "none" is no reason to trust: unattested. */
Posture verdict_posture(const Verdict *v);
