/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A report's way: nonce out, evidence in, verdict, posture, packet filter, report upstream. */

#include "domain/registry.h"

typedef struct Gateway Gateway;

#define NONCE_MIN     8
#define NONCE_DEFAULT 32
#define NONCE_MAX     64

#define EVIDENCE_MAX ((size_t)16 << 10) /* bytes; a door takes no more */

/* Issues a nonce of `len` bytes to `d`. 0; -EAGAIN: asked again too soon; -ERANGE: not a length
 * that is offered; -EIO: no randomness. `ret_lifetime` in whole seconds. */
int gateway_challenge(Gateway *g, DeviceState *d, size_t len, uint8_t ret[static NONCE_MAX],
                      uint32_t *ret_lifetime);

typedef enum EvidenceOutcome {
        EVIDENCE_APPRAISED,   /* judged, enforced: 2.04 with the result */
        EVIDENCE_MALFORMED,   /* 4.00 */
        EVIDENCE_FORBIDDEN,   /* not the identity enrolled for this device: 4.03 */
        EVIDENCE_NOT_FRESH,   /* no such nonce outstanding, or used: 4.09 */
        EVIDENCE_UNSUPPORTED, /* media type: 4.15 */
        EVIDENCE_FAILED,      /* this gateway could not: 5.00 */
} EvidenceOutcome;
const char *evidence_outcome_to_string(EvidenceOutcome o);

typedef struct EvidenceResult {
        EvidenceOutcome outcome;
        Posture posture;    /* when appraised */
        const char *reason; /* one line */
        Bytes ear;          /* EAR as a compact JWT, when appraised; empty: the TPM did not sign */
                            /* it, the verdict is in force all the same. Holds during the call */
} EvidenceResult;

typedef void (*EvidenceDone)(const EvidenceResult *result, void *userdata);
typedef struct EvidenceTicket EvidenceTicket;

/* Content formats of CoAP stand for the media types on every transport: 10003, 10004, 263 PSA
 * tokens; 273 CMW. Copies `body`. Whatever becomes of it, its nonce is used up; the device's last
 * evidence, sent again byte by byte, gets the answer that it got. `done` is called once, from the
 * loop, after the packet filter has taken the change; never from inside this call. 0; -ENOMEM, or
 * -EBUSY: too many are on their way, of this device or of all, and nothing was looked at. */
int gateway_evidence(Gateway *g, DeviceState *d, uint16_t content_format, Bytes body,
                     EvidenceDone done, void *userdata, EvidenceTicket **ret_ticket);
void evidence_ticket_cancel(EvidenceTicket *t);

/* The last EAR of the device, empty when there is none; holds until the loop turns. */
Bytes gateway_last_result(Gateway *g, const DeviceState *d);
