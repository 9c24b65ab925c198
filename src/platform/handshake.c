/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/handshake.h"

#include <errno.h>
#include <openssl/err.h>

#include "platform/ossl.h"
#include "platform/sessions.h"
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

/* Is the session remembered here, and the ticket only its name? */
static bool is_remembered(const SSL *ssl)
{
        return SSL_version(ssl) == TLS1_3_VERSION && SSL_get_options(ssl) & SSL_OP_NO_TICKET;
}

static int write_data(const SSL *ssl, Buf *b)
{
        PeerCertificate p;
        TicketData d = { .proven = now_boottime() };
        int r = peer_chain_read(SSL_get0_verified_chain(ssl), &d.chain);
        if (r < 0 || !is_remembered(ssl))
                return r < 0 ? r : ticket_data_write(&d, NULL, b);
        r = peer_certificate_read(SSL_get0_peer_certificate(ssl), &p);
        return r < 0 ? r : ticket_data_write(&d, &p, b);
}

/* A ticket of a resumed session has what the one before had. What cannot be written leaves a ticket
 * that nobody takes. */
static int on_make(SSL *ssl, void *userdata)
{
        _cleanup_buf_ Buf b = BUF_INIT(TICKET_DATA_MAX + TICKET_PEER_MAX);
        if (SSL_session_reused(ssl))
                return 1;
        Bytes in = write_data(ssl, &b) == 0 ? buf_view(&b) : BYTES("", 0);
        return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), in.data, in.len);
}

static bool read_session(SSL_SESSION *session, TicketData *ret, PeerCertificate *ret_peer)
{
        void *p = NULL;
        size_t len = 0;
        return session && SSL_SESSION_get0_ticket_appdata(session, &p, &len) == 1 && p &&
               ticket_data_read(BYTES(p, len), ret, ret_peer);
}

static bool still_counts(const Handshakes *h, SSL_SESSION *session)
{
        TicketData d;
        usec_t now = now_boottime();
        return h->trust && read_session(session, &d, NULL) && d.proven <= now &&
               now - d.proven <= TICKETS_PROOF_MAX &&
               trust_check(h->trust, &d.chain, now_realtime(), NULL) == TRUST_OK;
}

static SSL_TICKET_RETURN on_use(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                size_t name_len, SSL_TICKET_STATUS status, void *userdata)
{
        bool opened = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
        bool good = opened && SSL_SESSION_get0_peer(session) && still_counts(userdata, session);
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

/* ---- sessions that are remembered ---- */

static Sessions *sessions_of(SSL *ssl)
{
        const Handshakes *h = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);
        return h ? tickets_sessions(h->tickets) : NULL;
}

/* Without memory it cannot be resumed, and that is all. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
        TicketData d;
        PeerCertificate peer;
        Sessions *s = sessions_of(ssl);
        if (s && is_remembered(ssl) && read_session(session, &d, &peer))
                sessions_put(s, session, peer.spki_sha256);
        return 0; /* the session is not kept */
}

static SSL_SESSION *on_name(SSL *ssl, const unsigned char *id, int len, int *copy)
{
        const Handshakes *h = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);
        *copy = 0; /* it is OpenSSL's from now on */
        if (!h || len <= 0 || !is_remembered(ssl))
                return NULL;
        SSL_SESSION *session = sessions_get(tickets_sessions(h->tickets), BYTES(id, (size_t)len));
        if (session && !still_counts(h, session)) {
                SSL_SESSION_free(session);
                session = NULL;
        }
        ERR_clear_error();
        return session;
}

/* Who offers TLS 1.3 gets it. A session of 1.2 cannot be put together again from outside, because
 * whether its secret is bound to the handshake (RFC 7627) is told by OpenSSL alone. */
static int on_hello(SSL *ssl, int *alert, void *userdata)
{
        const unsigned char *p;
        size_t len;
        if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &p, &len) != 1)
                return SSL_CLIENT_HELLO_SUCCESS;
        for (size_t i = 1; i + 1 < len; i += 2)
                if (p[i] << 8 == (TLS1_3_VERSION & 0xff00) && p[i + 1] == (TLS1_3_VERSION & 0xff))
                        SSL_set_options(ssl, SSL_OP_NO_TICKET);
        return SSL_CLIENT_HELLO_SUCCESS;
}

void handshakes_remember(Handshakes *h, SSL_CTX *ctx)
{
        SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
        SSL_CTX_sess_set_new_cb(ctx, on_session);
        SSL_CTX_sess_set_get_cb(ctx, on_name);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL |
                                                    SSL_SESS_CACHE_NO_AUTO_CLEAR);
}

void handshakes_set_sessions_max(Handshakes *h, size_t max)
{
        sessions_set_max(tickets_sessions(h->tickets), max);
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

/* From the certificate, and for a session that was resumed by a ticket from what that says. */
static bool read_certificate(SSL *ssl, PeerCertificate *ret)
{
        TicketData d;
        const X509 *x = SSL_get0_peer_certificate(ssl);
        if (peer_certificate_read(x, ret) < 0)
                return false;
        if (!SSL_session_reused(ssl))
                return peer_chain_read(SSL_get0_verified_chain(ssl), &ret->chain) == 0;
        if (!read_session(SSL_get_session(ssl), &d, NULL))
                return false;
        ret->chain = d.chain;
        return true;
}

/* Is there somebody at all? A session that is remembered holds no certificate, but was one of
 * somebody whose certificate had been verified. */
static bool is_verified(const SSL *ssl)
{
        if (is_remembered(ssl) && SSL_session_reused(ssl))
                return true;
        return SSL_get0_peer_certificate(ssl) && SSL_get_verify_result(ssl) == X509_V_OK;
}

bool handshakes_peer(Handshakes *h, SSL *ssl, PeerCertificate *ret, const char **ret_word,
                     const char **ret_detail)
{
        TicketData d;
        *ret_word = "no-certificate";
        *ret_detail = "there is no verified certificate";
        if (!h->trust || !is_verified(ssl))
                return false;
        *ret_word = "bad-certificate";
        *ret_detail = "the names in the certificate cannot be used";
        /* on_make() has read it already, where there is a ticket. */
        bool read = is_remembered(ssl) && read_session(SSL_get_session(ssl), &d, ret);
        if (!read && (!SSL_get0_peer_certificate(ssl) || !read_certificate(ssl, ret)))
                return false;
        TrustOutcome o = trust_check(h->trust, &ret->chain, now_realtime(), NULL);
        *ret_word = trust_outcome_to_string(o);
        *ret_detail = explain(o);
        if (o != TRUST_OK)
                return false;
        (*(SSL_session_reused(ssl) ? &h->resumed : &h->full))++;
        return true;
}

/* OpenSSL keeps both sides' keys of the key exchange for as long as the connection. The gateway's
 * own lies in the secure heap, which would be full after some 2,000 connections; and what it
 * protects should not lie about any longer than it has to. */
static void forget_exchange(SSL *ssl)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *own = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *peer = NULL;
        if (SSL_version(ssl) != TLS1_3_VERSION) /* there they are gone */
                return;
        if (SSL_get_tmp_key(ssl, &own) == 1)
                ossl_empty_key(own);
        if (SSL_get_peer_tmp_key(ssl, &peer) == 1)
                ossl_empty_key(peer);
}

void handshakes_forget(SSL *ssl)
{
        SSL_SESSION *session = SSL_get_session(ssl);
        X509 *x = SSL_get0_peer_certificate(ssl);
        forget_exchange(ssl);
        if (session)
                SSL_SESSION_set1_ticket_appdata(session, NULL, 0);
        if (x)
                x509_empty(x);
        ERR_clear_error();
}
