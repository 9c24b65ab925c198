/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a session ticket says beside the session itself: what the device proved when the handshake
 * was a full one, so that trust can be asked about it again; and, where the session does not hold
 * its certificate, who it is. The bytes may come back from the device, sealed by us; they are read
 * as if they were not. */

#include "base/buf.h"
#include "platform/x509.h"

typedef struct TicketData {
        usec_t proven; /* CLOCK_BOOTTIME, when the device signed with its key */
        PeerChain chain;
} TicketData;

#define TICKET_DATA_MAX (18 + PEER_CHAIN_MAX * 2 * PEER_ID_SIZE)
#define TICKET_PEER_MAX (49 + sizeof(PeerCertificate)) /* more than that */

/* `peer` may be NULL: without who it is; its chain is that of `data`. 0, -ENOBUFS, -ENOMEM. */
int ticket_data_write(const TicketData *data, const PeerCertificate *peer, Buf *b);
/* False, and `ret` untouched, for anything else than what ticket_data_write() makes. `ret_peer`
 * (may be NULL, whatever there is): false when there is none. */
bool ticket_data_read(Bytes in, TicketData *ret, PeerCertificate *ret_peer);
