/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "platform/ossl.h"
#include "platform/tls-internal.h"

#define CERTIFICATES_MAX (16 * 1024) /* bytes of a peer's chain */
#define CHAIN_DEPTH      3

OSSL_CLEANUP(SSL_CTX, SSL_CTX_free)

/* A client that asks for another protocol is not one of ours (RFC 7301 section 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                   const unsigned char *offered, unsigned offered_len, void *userdata)
{
        const char *ours = userdata;
        size_t len = strlen(ours);
        for (size_t i = 0; i < offered_len; i += 1u + offered[i]) {
                if (offered[i] != len || i + 1 + len > offered_len ||
                    memcmp(offered + i + 1, ours, len) != 0)
                        continue;
                *ret = offered + i + 1;
                *ret_len = offered[i];
                return SSL_TLSEXT_ERR_OK;
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_protocol(SSL_CTX *ctx, const TlsServerConfig *config)
{
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE |
                                         SSL_OP_PRIORITIZE_CHACHA);
        SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(ctx, 1);
        SSL_CTX_set_security_level(ctx, 2);
        SSL_CTX_set_max_cert_list(ctx, CERTIFICATES_MAX);
        if (config->alpn)
                SSL_CTX_set_alpn_select_cb(ctx, on_alpn, (void *)config->alpn);
        return SSL_CTX_set_num_tickets(ctx, 1) == 1 &&
               SSL_CTX_set_min_proto_version(ctx, config->tls12 ? TLS1_2_VERSION
                                                                : TLS1_3_VERSION) == 1 &&
               SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
               SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"sallyport", 9) == 1;
}

static bool set_trust(SSL_CTX *ctx, const Trust *trust)
{
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH);
        return trust_use_ctx(trust, ctx) == 0 &&
               SSL_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) == 1;
}

int tls_context_new(TlsServer *s, const TlsServerConfig *config, Reason *reason, SSL_CTX **ret)
{
        ERR_clear_error();
        _cleanup_(SSL_CTX_freep) SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
        if (!ctx)
                return reason_set(reason, -ENOMEM, "Cannot set up TLS: %s", ossl_error());
        if (!set_protocol(ctx, config) || !set_trust(ctx, config->trust) ||
            handshakes_use_ctx(&s->handshakes, ctx) < 0)
                return reason_set(reason, -EINVAL, "Cannot set up TLS: %s", ossl_error());
        handshakes_remember(&s->handshakes, ctx);
        if (s->credential && credential_use_ctx(s->credential, ctx) < 0)
                return reason_set(reason, -EINVAL, "Cannot use the gateway's certificate");
        *ret = TAKE_PTR(ctx);
        return 0;
}

static const char *error_word(unsigned long e)
{
        if (ERR_GET_LIB(e) != ERR_LIB_SSL)
                return ERR_GET_LIB(e) == ERR_LIB_SYS || e == 0 ? "closed" : "handshake-failed";
        switch (ERR_GET_REASON(e)) {
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
                return "no-certificate";
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_VERSION_TOO_LOW:
        case SSL_R_WRONG_SSL_VERSION:
                return "protocol-version";
        case SSL_R_NO_SHARED_CIPHER:
        case SSL_R_NO_SHARED_GROUPS:
        case SSL_R_NO_SUITABLE_KEY_SHARE:
        case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
                return "no-shared-cipher";
        case SSL_R_NO_APPLICATION_PROTOCOL:
                return "wrong-alpn";
        case SSL_R_HTTP_REQUEST:
        case SSL_R_HTTPS_PROXY_REQUEST:
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_PACKET_LENGTH_TOO_LONG:
                return "not-tls";
        case SSL_R_BAD_SIGNATURE:
                return "bad-signature";
        case SSL_R_UNEXPECTED_EOF_WHILE_READING:
                return "closed";
        default:
                /* Alerts that the peer sent: it does not like our certificate, or whatever. */
                return ERR_GET_REASON(e) >= SSL_AD_REASON_OFFSET ? "refused-by-peer"
                                                                 : "handshake-failed";
        }
}

void tls_explain(SSL *ssl, TlsRefusal *ret)
{
        long verified = SSL_get_verify_result(ssl);
        unsigned long e = ERR_peek_error();
        const char *text = ERR_reason_error_string(e), *word = error_word(e);
        if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED &&
            verified != X509_V_OK) {
                word = ossl_verify_word(verified);
                text = X509_verify_cert_error_string(verified);
        }
        snprintf(ret->reason, sizeof(ret->reason), "%s", word);
        snprintf(ret->detail, sizeof(ret->detail), "%s",
                 text ? text : "the peer closed the connection");
        ERR_clear_error();
}
