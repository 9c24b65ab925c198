/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/ticket-data.h"

#include <errno.h>
#include <string.h>

#include "base/reader.h"

#define FORMAT 1

int ticket_data_write(const TicketData *data, Buf *b)
{
        const PeerChain *c = &data->chain;
        uint8_t *links;
        int r = buf_append_u8(b, FORMAT);
        if (r == 0)
                r = buf_append_u64(b, data->proven);
        if (r == 0)
                r = buf_append_u64(b, c->not_after);
        if (r == 0)
                r = buf_append_u8(b, (uint8_t)c->n);
        for (size_t i = 0; r == 0 && i < c->n; i++) {
                r = buf_reserve(b, 2 * PEER_ID_SIZE, &links);
                if (r < 0)
                        break;
                memcpy(links, c->links[i].authority, PEER_ID_SIZE);
                memcpy(links + PEER_ID_SIZE, c->links[i].certificate, PEER_ID_SIZE);
                buf_commit(b, 2 * PEER_ID_SIZE);
        }
        return r;
}

static void read_id(Reader *r, uint8_t ret[static PEER_ID_SIZE])
{
        Bytes b = reader_bytes(r, PEER_ID_SIZE);
        if (b.len == PEER_ID_SIZE)
                memcpy(ret, b.data, PEER_ID_SIZE);
}

bool ticket_data_read(Bytes in, TicketData *ret)
{
        TicketData d = { 0 };
        Reader r = reader_new(in);
        if (reader_u8(&r) != FORMAT)
                return false;
        d.proven = reader_u64(&r);
        d.chain.not_after = reader_u64(&r);
        d.chain.n = reader_u8(&r);
        if (d.chain.n < 1 || d.chain.n > PEER_CHAIN_MAX)
                return false;
        for (size_t i = 0; i < d.chain.n; i++) {
                read_id(&r, d.chain.links[i].authority);
                read_id(&r, d.chain.links[i].certificate);
        }
        if (!reader_done(&r))
                return false;
        *ret = d;
        return true;
}
