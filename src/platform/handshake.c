/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/handshake.h"

#include "platform/ossl.h"

void handshakes_done(Handshakes *h)
{
        trust_unref(h->trust);
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

void handshakes_use_ctx(Handshakes *h, SSL_CTX *ctx)
{
        SSL_CTX_set_cert_verify_callback(ctx, on_verify, h);
}

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

bool handshakes_peer(const Handshakes *h, SSL *ssl, PeerCertificate *ret, const char **ret_word,
                     const char **ret_detail)
{
        _cleanup_(X509_freep) X509 *x = SSL_get1_peer_certificate(ssl);
        *ret_word = "no-certificate";
        *ret_detail = "there is no verified certificate";
        if (!h->trust || !x || SSL_get_verify_result(ssl) != X509_V_OK)
                return false;
        *ret_word = "bad-certificate";
        *ret_detail = "the names in the certificate cannot be used";
        if (peer_certificate_read(x, ret) < 0 ||
            peer_chain_read(SSL_get0_verified_chain(ssl), &ret->chain) < 0)
                return false;
        TrustOutcome o = trust_check(h->trust, &ret->chain, now_realtime(), NULL);
        *ret_word = trust_outcome_to_string(o);
        *ret_detail = explain(o);
        return o == TRUST_OK;
}
