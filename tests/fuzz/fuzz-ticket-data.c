/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/ticket-data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* There is one way to write what is read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_buf_ Buf b = BUF_INIT(TICKET_DATA_MAX + TICKET_PEER_MAX);
        TicketData d, same;
        PeerCertificate p;
        if (!ticket_data_read(BYTES(data, size), &d, NULL))
                return 0;
        bool peer = ticket_data_read(BYTES(data, size), &same, &p);
        if (d.chain.n < 1 || d.chain.n > PEER_CHAIN_MAX || (peer && p.n_names > PEER_NAMES_MAX) ||
            ticket_data_write(&d, peer ? &p : NULL, &b) != 0 ||
            !bytes_equal(buf_view(&b), BYTES(data, size)))
                abort();
        return 0;
}
