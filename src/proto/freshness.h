/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* How a nonce for evidence is asked for and given (draft-ietf-lamps-attestation-freshness):
 * {"len": 48} and {"nonce": ..., "expiry": seconds}, in CBOR or in JSON. */

#include "base/buf.h"
#include "base/bytes.h"

#define FRESHNESS_RESPONSE_MAX 256 /* bytes, with a nonce of 64 */

typedef enum FreshnessForm {
        FRESHNESS_CBOR,
        FRESHNESS_JSON, /* the nonce in base64url */
} FreshnessForm;

/* How many bytes the nonce is to have: `ret` stays as it is where the request does not say. Other
 * members are left alone. False when it is no such request. */
bool freshness_request_read(FreshnessForm form, Bytes request, uint64_t *ret);

/* Appends the nonce and the seconds that it is good for. 0, -ENOBUFS, -ENOMEM. */
int freshness_response_write(FreshnessForm form, Bytes nonce, uint32_t expiry, Buf *ret);
