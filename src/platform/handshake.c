/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/handshake.h"

#include <errno.h>
#include <openssl/err.h>

#include "platform/ossl.h"
#include "platform/ticket-data.h"

/* A ClientHello with its ticket has to fit in one datagram: a DTLS server that asks for a cookie
 * does not put fragments together (RFC 6347 section 4.2.1), and whoever came with a larger one
 * would not be heard until it gave up the session. 1280 bytes less the headers of IPv6, UDP and
 * DTLS, and what else is in the message. A session of this size has a certificate of some 650
 * bytes. */
#define DTLS_SESSION_MAX 860

static int ctx_index = -1;

int handshakes_init(Handshakes *h, Loop *loop)
{
        if (ctx_index < 0)
                ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
        return ctx_index < 0 ? -ENOMEM : tickets_new(loop, &h->tickets);
}

void handshakes_done(Handshakes *h)
{
        trust_unref(h->trust);
        tickets_free(h->tickets);
        *h = (Handshakes){ 0 };
}

void handshakes_set_trust(Handshakes *h, Trust *trust)
{
        trust_ref(trust);
        trust_unref(h->trust);
        h->trust = trust;
}

static int on_verify(X509_STORE_CTX *ctx, void *userdata)
{
        const Handshakes *h = userdata;
        return h->trust ? trust_verify(h->trust, ctx) : 0;
}

/* ---- tickets ---- */

/* 0 is an empty ticket: there will be no resumption (RFC 5077 section 3.3). TLS 1.3 has none. */
static int on_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                  EVP_MAC_CTX *mac, int seal)
{
        const Handshakes *h = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);
        if (!h)
                return -1;
        if (!seal)
                return tickets_open(h->tickets, name, iv, cipher, mac);
        if (SSL_is_dtls(ssl) && i2d_SSL_SESSION(SSL_get_session(ssl), NULL) > DTLS_SESSION_MAX)
                return 0;
        return tickets_seal(h->tickets, name, iv, cipher, mac);
}

/* A ticket of a resumed session has what the one before had. What cannot be written leaves a ticket
 * that nobody takes. */
static int on_make(SSL *ssl, void *userdata)
{
        _cleanup_buf_ Buf b = BUF_INIT(TICKET_DATA_MAX);
        TicketData d = { .proven = now_boottime() };
        if (SSL_session_reused(ssl))
                return 1;
        bool good = peer_chain_read(SSL_get0_verified_chain(ssl), &d.chain) == 0 &&
                    ticket_data_write(&d, &b) == 0;
        Bytes in = good ? buf_view(&b) : BYTES("", 0);
        return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), in.data, in.len);
}

static bool read_session(SSL_SESSION *session, TicketData *ret)
{
        void *p = NULL;
        size_t len = 0;
        return session && SSL_SESSION_get0_ticket_appdata(session, &p, &len) == 1 && p &&
               ticket_data_read(BYTES(p, len), ret);
}

static bool still_counts(const Handshakes *h, SSL_SESSION *session)
{
        TicketData d;
        usec_t now = now_boottime();
        return h->trust && SSL_SESSION_get0_peer(session) && read_session(session, &d) &&
               d.proven <= now && now - d.proven <= TICKETS_PROOF_MAX &&
               trust_check(h->trust, &d.chain, now_realtime(), NULL) == TRUST_OK;
}

static SSL_TICKET_RETURN on_use(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                size_t name_len, SSL_TICKET_STATUS status, void *userdata)
{
        bool opened = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
        bool good = opened && still_counts(userdata, session);
        ERR_clear_error(); /* libcoap takes what is left in the queue for a failure */
        if (!good)
                return SSL_TICKET_RETURN_IGNORE_RENEW;
        /* Tickets of TLS 1.3 are for one use (RFC 8446 appendix C.4). */
        return status == SSL_TICKET_SUCCESS_RENEW ||
                               SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION
                       ? SSL_TICKET_RETURN_USE_RENEW
                       : SSL_TICKET_RETURN_USE;
}

int handshakes_use_ctx(Handshakes *h, SSL_CTX *ctx)
{
        if (SSL_CTX_set_ex_data(ctx, ctx_index, h) != 1 ||
            SSL_CTX_set_session_ticket_cb(ctx, on_make, on_use, h) != 1 ||
            SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_key) != 1)
                return -ENOMEM;
        SSL_CTX_set_cert_verify_callback(ctx, on_verify, h);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_timeout(ctx, (long)(TICKETS_ROTATION / USEC_PER_SEC));
        return 0;
}

/* ---- the end of a handshake ---- */

static const char *explain(TrustOutcome o)
{
        switch (o) {
        case TRUST_REVOKED:
                return "its certificate, or that of an authority above it, was revoked";
        case TRUST_NO_ANCHOR:
                return "the authority of its certificate is not trusted any more";
        case TRUST_EXPIRED:
                return "its certificate, or that of an authority above it, has expired";
        case TRUST_OK:
                break;
        }
        return "";
}

static bool read_chain(SSL *ssl, PeerChain *ret)
{
        TicketData d;
        if (!SSL_session_reused(ssl))
                return peer_chain_read(SSL_get0_verified_chain(ssl), ret) == 0;
        if (!read_session(SSL_get_session(ssl), &d))
                return false;
        *ret = d.chain;
        return true;
}

bool handshakes_peer(Handshakes *h, SSL *ssl, PeerCertificate *ret, const char **ret_word,
                     const char **ret_detail)
{
        _cleanup_(X509_freep) X509 *x = SSL_get1_peer_certificate(ssl);
        *ret_word = "no-certificate";
        *ret_detail = "there is no verified certificate";
        if (!h->trust || !x || SSL_get_verify_result(ssl) != X509_V_OK)
                return false;
        *ret_word = "bad-certificate";
        *ret_detail = "the names in the certificate cannot be used";
        if (peer_certificate_read(x, ret) < 0 || !read_chain(ssl, &ret->chain))
                return false;
        TrustOutcome o = trust_check(h->trust, &ret->chain, now_realtime(), NULL);
        *ret_word = trust_outcome_to_string(o);
        *ret_detail = explain(o);
        if (o != TRUST_OK)
                return false;
        (*(SSL_session_reused(ssl) ? &h->resumed : &h->full))++;
        return true;
}
