/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the doors have in common where devices attest: the request for a nonce, and why there is no
 * nonce or no result. A problem's code is that of CoAP; its text is constant or the result's. */

#include "daemon/attest.h"
#include "proto/freshness.h"
#include "proto/problem.h"

/* How many bytes the nonce is to have, NONCE_DEFAULT where the request does not say. False: it is
 * no request, and `ret` is why. */
bool rats_request_read(FreshnessForm form, Bytes request, size_t *ret_len, Problem *ret);
/* Why gateway_challenge() returned this error. */
Problem rats_no_nonce(int error);
/* Whether there is no result to hand out, and why. */
bool rats_no_result(const EvidenceResult *result, Problem *ret);
