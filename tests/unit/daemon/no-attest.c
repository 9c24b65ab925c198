/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Attestation of a gateway whose test is about something else. */

#include "daemon/attest.h"

#include <errno.h>

int gateway_challenge(Gateway *g, DeviceState *d, size_t len, uint8_t ret[static NONCE_MAX],
                      uint32_t *ret_lifetime)
{
        return -EIO;
}

int gateway_evidence(Gateway *g, DeviceState *d, uint16_t content_format, Bytes body,
                     EvidenceDone done, void *userdata, EvidenceTicket **ret_ticket)
{
        return -EBUSY;
}

void evidence_ticket_cancel(EvidenceTicket *t)
{
}
