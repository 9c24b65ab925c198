/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/mqtt-tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "platform/ossl.h"

#define GATHER_SIZE (64 * 1024) /* bytes */

static MqttTls *tls_of(const SSL *ssl)
{
        return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

/* Called for each certificate of the chain and again for the host name. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
        if (ok)
                return 1;
        SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
        MqttTls *t = tls_of(ssl);
        int error = X509_STORE_CTX_get_error(store);
        if (error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH)
                snprintf(t->reason, sizeof(t->reason),
                         "the server's certificate is not for the name \"%s\"", t->server_name);
        else
                snprintf(t->reason, sizeof(t->reason), "the server's certificate is refused: %s",
                         X509_verify_cert_error_string(error));
        return 0;
}

/* Whether and where the error of a socket is to be had after the call depends on the versions of
 * both libraries (libmosquitto 2.0.21 makes EPROTO of it): so it is noted where it comes up. */
static long on_bio(BIO *bio, int operation, const char *data, size_t len, int argument,
                   long argument_long, int result, size_t *processed)
{
        MqttTls *t = (MqttTls *)BIO_get_callback_arg(bio);
        bool transfer = operation == (BIO_CB_READ | BIO_CB_RETURN) ||
                        operation == (BIO_CB_WRITE | BIO_CB_RETURN);
        if (transfer && result < 0 && !BIO_should_retry(bio) && t->socket_error == 0)
                t->socket_error = errno;
        return result;
}

static void watch_socket(MqttTls *t, const SSL *ssl)
{
        BIO *bio = SSL_get_rbio(ssl); /* it is written to as well */
        BIO_set_callback_arg(bio, (char *)t);
        BIO_set_callback_ex(bio, on_bio);
}

/* libmosquitto knows the numeric address only: the name for SNI is put right before the
 * ClientHello is made. RFC 6066 section 3 forbids addresses in SNI. */
static void on_info(const SSL *ssl, int where, int value)
{
        MqttTls *t = tls_of(ssl);
        if (where & SSL_CB_HANDSHAKE_START) {
                SSL_set_tlsext_host_name((SSL *)ssl, t->name_is_address ? NULL : t->server_name);
                watch_socket(t, ssl);
        }
        if (where & SSL_CB_HANDSHAKE_DONE)
                t->finished = true;
        if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT &&
            (value & 0xff) != SSL_AD_CLOSE_NOTIFY) {
                t->alert = value & 0xff;
                snprintf(t->reason, sizeof(t->reason), "the server refused the TLS connection: %s",
                         SSL_alert_desc_string_long(value));
        }
}

static bool is_address(const char *s)
{
        uint8_t a[16];
        return inet_pton(AF_INET, s, a) == 1 || inet_pton(AF_INET6, s, a) == 1;
}

static int set_peer(MqttTls *t)
{
        X509_VERIFY_PARAM *param = SSL_CTX_get0_param(t->ctx);
        ossl_verify_time(param);
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        int ok = t->name_is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, t->server_name)
                                    : X509_VERIFY_PARAM_set1_host(param, t->server_name, 0);
        return ok == 1 ? 0 : -EINVAL;
}

static void configure(MqttTls *t, const MqttClientConfig *config)
{
        SSL_CTX *ctx = t->ctx;
        SSL_CTX_set_app_data(ctx, t);
        SSL_CTX_set_min_proto_version(ctx, config->allow_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
        /* A handshake in mid-connection would sign with the TPM outside a fiber. */
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        /* A broker that dies sends no close_notify. MQTT packets carry their length: an end in the
         * middle of one is seen all the same. */
        SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_read_ahead(ctx, 1); /* many acknowledgements in one system call */
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verify);
        SSL_CTX_set_info_callback(ctx, on_info);
}

int mqtt_tls_init(MqttTls *t, const MqttClientConfig *config, const Credential *credential)
{
        const char *name = config->server_name ? config->server_name : config->host;
        *t = (MqttTls){ .server_name = strdup(name), .name_is_address = is_address(name) };
        t->ctx = SSL_CTX_new(TLS_client_method());
        if (!t->server_name || !t->ctx) {
                snprintf(t->reason, sizeof(t->reason), "no memory for TLS");
                return -ENOMEM;
        }
        configure(t, config);
        ERR_clear_error();
        if (SSL_CTX_load_verify_file(t->ctx, config->ca) != 1) {
                snprintf(t->reason, sizeof(t->reason), "cannot load the CA certificates in %s: %s",
                         config->ca, ossl_error());
                return -EIO;
        }
        if (set_peer(t) < 0) {
                snprintf(t->reason, sizeof(t->reason), "\"%s\" is not a server name", name);
                return -EINVAL;
        }
        if (credential && credential_use_ctx(credential, t->ctx) < 0) {
                snprintf(t->reason, sizeof(t->reason), "the gateway's own certificate is unusable");
                return -EIO;
        }
        return 0;
}

void mqtt_tls_done(MqttTls *t)
{
        SSL_CTX_free(t->ctx);
        free(t->server_name);
        t->ctx = NULL;
        t->server_name = NULL;
}

int mqtt_tls_gather(SSL *ssl)
{
        BIO *socket = SSL_get_wbio(ssl), *gathered = BIO_new(BIO_f_buffer());
        if (!gathered || BIO_set_write_buffer_size(gathered, GATHER_SIZE) != 1) {
                BIO_free(gathered);
                return -ENOMEM;
        }
        BIO_up_ref(socket); /* it is read from as well */
        SSL_set0_wbio(ssl, BIO_push(gathered, socket));
        return 0;
}

bool mqtt_tls_has_gathered(const SSL *ssl)
{
        return BIO_wpending(SSL_get_wbio(ssl)) > 0;
}

int mqtt_tls_flush(MqttTls *t, SSL *ssl)
{
        BIO *gathered = SSL_get_wbio(ssl);
        if (!mqtt_tls_has_gathered(ssl))
                return 0;
        ERR_clear_error();
        if (BIO_flush(gathered) == 1)
                return 0;
        ERR_clear_error();
        if (BIO_should_retry(gathered))
                return 1;
        if (t->socket_error == 0)
                t->socket_error = EPIPE;
        return -EIO;
}

/* Where the last read found the socket empty, what is left is a piece of a record. */
bool mqtt_tls_has_unread(const SSL *ssl)
{
        BIO *socket = SSL_get_rbio(ssl);
        return SSL_pending(ssl) > 0 || (SSL_has_pending(ssl) && !BIO_should_read(socket));
}
