/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/ticket-data.h"

#include <errno.h>
#include <string.h>

#include "base/reader.h"

enum {
        FORMAT_CHAIN = 1,
        FORMAT_PEER, /* that, and then who it is */
};

static int write_text(const char *text, Buf *b)
{
        int r = buf_append_u16(b, (uint16_t)strlen(text));
        return r < 0 ? r : buf_append_str(b, text);
}

static int write_peer(const PeerCertificate *p, Buf *b)
{
        int r = buf_append(b, BYTES(p->spki_sha256, sizeof(p->spki_sha256)));
        if (r == 0)
                r = buf_append_u64(b, p->not_before);
        if (r == 0)
                r = buf_append_u64(b, p->not_after);
        if (r == 0)
                r = write_text(p->serial, b);
        if (r == 0)
                r = write_text(p->issuer, b);
        if (r == 0)
                r = write_text(p->common_name, b);
        if (r == 0)
                r = buf_append_u8(b, (uint8_t)p->n_names);
        for (size_t i = 0; r == 0 && i < p->n_names; i++)
                r = write_text(p->names[i], b);
        return r;
}

int ticket_data_write(const TicketData *data, const PeerCertificate *peer, Buf *b)
{
        const PeerChain *c = &data->chain;
        uint8_t *links;
        int r = buf_append_u8(b, peer ? FORMAT_PEER : FORMAT_CHAIN);
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
        return r == 0 && peer ? write_peer(peer, b) : r;
}

static void read_bytes(Reader *r, uint8_t *ret, size_t len)
{
        Bytes b = reader_bytes(r, len);
        if (b.len == len)
                memcpy(ret, b.data, len);
}

/* `size` with its NUL; one inside is none of ours. */
static void read_text(Reader *r, char *ret, size_t size)
{
        Bytes b = reader_bytes(r, reader_u16(r));
        if (b.len >= size || (b.len > 0 && memchr(b.data, 0, b.len)))
                reader_fail(r);
        else if (b.len > 0)
                memcpy(ret, b.data, b.len);
}

static void read_peer(Reader *r, PeerCertificate *ret)
{
        read_bytes(r, ret->spki_sha256, sizeof(ret->spki_sha256));
        ret->not_before = reader_u64(r);
        ret->not_after = reader_u64(r);
        read_text(r, ret->serial, sizeof(ret->serial));
        read_text(r, ret->issuer, sizeof(ret->issuer));
        read_text(r, ret->common_name, sizeof(ret->common_name));
        ret->n_names = reader_u8(r);
        if (ret->n_names > PEER_NAMES_MAX)
                reader_fail(r);
        for (size_t i = 0; reader_ok(r) && i < ret->n_names; i++)
                read_text(r, ret->names[i], sizeof(ret->names[i]));
}

bool ticket_data_read(Bytes in, TicketData *ret, PeerCertificate *ret_peer)
{
        TicketData d = { 0 };
        PeerCertificate peer = { 0 };
        Reader r = reader_new(in);
        uint8_t format = reader_u8(&r);
        if (format != FORMAT_PEER && (format != FORMAT_CHAIN || ret_peer))
                return false;
        d.proven = reader_u64(&r);
        d.chain.not_after = reader_u64(&r);
        d.chain.n = reader_u8(&r);
        if (d.chain.n < 1 || d.chain.n > PEER_CHAIN_MAX)
                return false;
        for (size_t i = 0; i < d.chain.n; i++) {
                read_bytes(&r, d.chain.links[i].authority, PEER_ID_SIZE);
                read_bytes(&r, d.chain.links[i].certificate, PEER_ID_SIZE);
        }
        if (format == FORMAT_PEER)
                read_peer(&r, &peer);
        if (!reader_done(&r))
                return false;
        peer.chain = d.chain;
        if (ret_peer)
                *ret_peer = peer;
        *ret = d;
        return true;
}
