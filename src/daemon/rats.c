/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/rats.h"

#include <errno.h>

#include "platform/coapserver.h"

bool rats_request_read(FreshnessForm form, Bytes request, size_t *ret_len, Problem *ret)
{
        uint64_t len = NONCE_DEFAULT;
        if (!freshness_request_read(form, request, &len) || len > NONCE_MAX) {
                *ret = (Problem){ .code = COAPSERVER_CODE(4, 0),
                                  .title = "The request is {\"len\": 8 to 64}." };
                return false;
        }
        *ret_len = (size_t)len;
        return true;
}

Problem rats_no_nonce(int error)
{
        if (error == -EAGAIN)
                return (Problem){ .code = COAPSERVER_CODE(4, 29),
                                  .title = "Asked again too soon." };
        if (error == -ERANGE)
                return (Problem){ .code = COAPSERVER_CODE(4, 0),
                                  .title = "A nonce has 8 to 64 bytes." };
        return (Problem){ .code = COAPSERVER_CODE(5, 3), .title = "There is no nonce to give." };
}

static uint8_t code_of(EvidenceOutcome o)
{
        switch (o) {
        case EVIDENCE_APPRAISED:
        case EVIDENCE_FAILED:
                break;
        case EVIDENCE_MALFORMED:
                return COAPSERVER_CODE(4, 0);
        case EVIDENCE_FORBIDDEN:
                return COAPSERVER_CODE(4, 3);
        case EVIDENCE_NOT_FRESH:
                return COAPSERVER_CODE(4, 9);
        case EVIDENCE_UNSUPPORTED:
                return COAPSERVER_CODE(4, 15);
        }
        return COAPSERVER_CODE(5, 0);
}

bool rats_no_result(const EvidenceResult *result, Problem *ret)
{
        bool appraised = result->outcome == EVIDENCE_APPRAISED;
        if (appraised && result->ear.len > 0)
                return false;
        *ret = (Problem){
                .code = code_of(result->outcome),
                .title = appraised ? "The evidence was appraised, its result could not be signed."
                                   : "The evidence was not appraised.",
                .detail = result->reason,
        };
        return true;
}
