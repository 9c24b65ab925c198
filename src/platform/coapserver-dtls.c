/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The handshake. libcoap makes an SSL for each session and calls on_client_hello() for it; from
 * there on trust, credential, ciphers and verification are ours, and libcoap's are not used. */
#include "platform/coapserver-internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>

#include "base/log.h"
#include "platform/ossl.h"

#define CHAIN_DEPTH_MAX  4
#define CERTIFICATES_MAX 16384 /* bytes of a peer's chain */
/* Handshakes that may be going on beside the sessions; each holds an SSL of some 70 kB. All have
 * shown their address (cookie), so this is no way for a spoofer to keep others out. */
#define HANDSHAKES_MAX 256

#define CIPHERS                                                                                    \
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"                             \
        "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES256-CCM"
#define CIPHERS_SHORT_TAG CIPHERS ":ECDHE-ECDSA-AES128-CCM8"

static CoapServer *server_of(const SSL *ssl)
{
        coap_session_t *session = SSL_get_app_data(ssl);
        return session ? coap_get_app_data(coap_session_get_context(session)) : NULL;
}

/* Counts the SSLs that are alive: libcoap reports neither every session that begins nor every one
 * that ends. */
static int ssl_index = -1;

static void on_ssl_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
        CoapServer *s = ptr;
        if (s)
                s->n_ssl--;
}

/* The word for why our side gave up, from what libssl left in the error queue. */
static const char *failure_word(const SSL *ssl, unsigned long error)
{
        switch (ERR_GET_REASON(error)) {
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
                return "no-certificate";
        case SSL_R_NO_SHARED_CIPHER:
                return "no-shared-cipher";
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_VERSION_TOO_LOW:
        case SSL_R_WRONG_VERSION_NUMBER:
                return "protocol-version";
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
                return ossl_verify_word(SSL_get_verify_result(ssl));
        case SSL_R_BAD_SIGNATURE:
                return "bad-signature";
        default:
                return "handshake-failed";
        }
}

static void report(CoapServer *s, const SSL *ssl, const char *reason, const char *detail)
{
        struct sockaddr_storage from = coapserver_remote(SSL_get_app_data(ssl));
        s->stats.refused++;
        s->port.refused(&from, reason, detail, s->port.userdata);
}

static void report_ours(CoapServer *s, const SSL *ssl)
{
        unsigned long e = ERR_peek_last_error();
        const char *word = failure_word(ssl, e);
        const char *detail = ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED
                                     ? X509_verify_cert_error_string(SSL_get_verify_result(ssl))
                                     : ERR_reason_error_string(e);
        report(s, ssl, word, detail ? detail : "the handshake failed");
}

static void report_theirs(CoapServer *s, const SSL *ssl, int alert)
{
        char detail[128];
        snprintf(detail, sizeof(detail), "the device refused the gateway: %s",
                 SSL_alert_desc_string_long(alert));
        report(s, ssl, "refused-by-peer", detail);
}

/* A fatal alert is how every failed handshake ends, whoever gives up; libcoap reports only some of
 * them. Its own callback goes on being called: it closes the session. */
static void on_info(const SSL *ssl, int where, int ret)
{
        void (*libcoap)(const SSL *, int, int) = SSL_CTX_get_info_callback(SSL_get_SSL_CTX(ssl));
        if (libcoap)
                libcoap(ssl, where, ret);
        CoapServer *s = server_of(ssl);
        if (!s || !(where & SSL_CB_ALERT) || ret >> 8 != SSL3_AL_FATAL || !SSL_in_init(ssl))
                return;
        if (where & SSL_CB_WRITE)
                report_ours(s, ssl);
        else
                report_theirs(s, ssl, ret);
}

/* A record of a handshake in the clear on a session that is up: the device at this address knows
 * nothing of the session any more, or somebody pretends so (RFC 6347 section 4.2.8). */
static void on_message(int write_p, int version, int type, const void *buf, size_t len, SSL *ssl,
                       void *arg)
{
        const uint8_t *p = buf;
        if (write_p || type != SSL3_RT_HEADER || len < 13 || !SSL_is_init_finished(ssl))
                return;
        bool epoch0 = p[3] == 0 && p[4] == 0;
        CoapPeer *peer = coapserver_peer_of(SSL_get_app_data(ssl));
        if (p[0] == SSL3_RT_HANDSHAKE && epoch0 && peer)
                coapserver_suspect(peer);
}

/* libcoap's own callback would stay in place without one. */
static int on_verify(int ok, X509_STORE_CTX *ctx)
{
        return ok;
}

static bool configure(CoapServer *s, SSL *ssl)
{
        SSL_set_info_callback(ssl, on_info);
        SSL_set_msg_callback(ssl, on_message);
        SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
        SSL_clear_options(ssl, SSL_OP_NO_TICKET);
        SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
        SSL_set_verify(ssl,
                       SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT | SSL_VERIFY_CLIENT_ONCE,
                       on_verify);
        SSL_set_verify_depth(ssl, CHAIN_DEPTH_MAX);
        ossl_verify_time(SSL_get0_param(ssl));
        SSL_set_max_cert_list(ssl, CERTIFICATES_MAX);
        SSL_set_security_level(ssl, 2);
        static const unsigned char context[] = "sallyport-coap";
        const char *ciphers = s->options.allow_short_tag ? CIPHERS_SHORT_TAG : CIPHERS;
        return SSL_set_session_id_context(ssl, context, sizeof(context) - 1) == 1 &&
               SSL_set_min_proto_version(ssl, DTLS1_2_VERSION) == 1 &&
               SSL_set_cipher_list(ssl, ciphers) == 1 &&
               SSL_set1_groups_list(ssl, "P-256:X25519:P-384") == 1 &&
               trust_use_ssl(s->handshakes.trust, ssl) == 0 &&
               credential_use_ssl(s->credential, ssl) == 0;
}

/* Called by libcoap in the middle of the ClientHello, after its own setup. 0 ends the handshake. */
static int on_client_hello(void *tls, coap_dtls_pki_t *setup)
{
        SSL *ssl = tls;
        CoapServer *s = server_of(ssl);
        ERR_clear_error();
        if (!s || !s->credential || !s->handshakes.trust)
                return 0;
        if (s->n_ssl >= s->options.max_sessions + HANDSHAKES_MAX) {
                s->stats.no_room++;
                return 0;
        }
        if (SSL_get_ex_data(ssl, ssl_index) == NULL) {
                if (SSL_set_ex_data(ssl, ssl_index, s) != 1)
                        return 0;
                s->n_ssl++;
        }
        return handshakes_use_ctx(&s->handshakes, SSL_get_SSL_CTX(ssl)) == 0 && configure(s, ssl);
}

/* On every connection, resumed or not, from the session itself: libcoap's callback for names is
 * skipped when a session is resumed. */
void coapserver_dtls_connected(CoapServer *s, coap_session_t *session)
{
        coap_tls_library_t library;
        SSL *ssl = coap_session_get_tls(session, &library);
        const char *word = "no-certificate", *detail = "there is no session";
        PeerCertificate c;
        if (ssl && handshakes_peer(&s->handshakes, ssl, &c, &word, &detail))
                coapserver_connected(s, session, &c);
        else
                coapserver_reject(s, session, word, detail);
}

void coapserver_set_trust(CoapServer *s, Trust *trust)
{
        handshakes_set_trust(&s->handshakes, trust);
}

int coapserver_set_credential(CoapServer *s, Credential *c)
{
        if (credential_in_tpm(c))
                return -EOPNOTSUPP;
        credential_ref(c);
        credential_unref(s->credential);
        s->credential = c;
        return 0;
}

/* libcoap wants a key pair of its own before it accepts a DTLS endpoint. This one is never shown
 * to anybody: on_client_hello() replaces it or ends the handshake. */
static int make_placeholder(CoapServer *s, coap_dtls_pki_t *pki)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
        _cleanup_(X509_freep) X509 *x = X509_new();
        if (!key || !x)
                return -EIO;
        X509_set_version(x, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
        X509_gmtime_adj(X509_getm_notBefore(x), 0);
        X509_gmtime_adj(X509_getm_notAfter(x), 1);
        if (X509_set_pubkey(x, key) != 1 || X509_sign(x, key, EVP_sha256()) == 0)
                return -EIO;
        int certificate_len = i2d_X509(x, &s->placeholder_certificate);
        int key_len = i2d_PrivateKey(key, &s->placeholder_key);
        if (certificate_len <= 0 || key_len <= 0)
                return -EIO;
        pki->pki_key.key_type = COAP_PKI_KEY_ASN1;
        pki->pki_key.key.asn1.public_cert = s->placeholder_certificate;
        pki->pki_key.key.asn1.public_cert_len = (size_t)certificate_len;
        pki->pki_key.key.asn1.private_key = s->placeholder_key;
        pki->pki_key.key.asn1.private_key_len = (size_t)key_len;
        pki->pki_key.key.asn1.private_key_type = COAP_ASN1_PKEY_EC;
        return 0;
}

int coapserver_dtls_setup(CoapServer *s)
{
        if (ssl_index < 0)
                ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_free);
        if (ssl_index < 0)
                return -EIO;
        coap_dtls_pki_t pki = {
                .version = COAP_DTLS_PKI_SETUP_VERSION,
                .verify_peer_cert = 1,
                .cert_chain_validation = 1,
                .cert_chain_verify_depth = CHAIN_DEPTH_MAX,
                .additional_tls_setup_call_back = on_client_hello,
        };
        int r = handshakes_init(&s->handshakes, s->loop);
        if (r >= 0)
                r = make_placeholder(s, &pki);
        if (r < 0)
                return r;
        return coap_context_set_pki(s->context, &pki) == 1 ? 0 : -EIO;
}

void coapserver_dtls_done(CoapServer *s)
{
        credential_unref(s->credential);
        handshakes_done(&s->handshakes);
        OPENSSL_free(s->placeholder_certificate);
        OPENSSL_free(s->placeholder_key);
}
