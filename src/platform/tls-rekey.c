/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Handshake messages after the handshake: new keys (RFC 8446 section 4.6.3), or a renegotiation
 * that TLS 1.2 is refused. OpenSSL takes them in inside of SSL_read(), one after the other until
 * there are bytes for the owner, and each takes as long as ten small messages: a peer that sent
 * nothing else would hold the loop for as long as it went on. */

#include "platform/tls-internal.h"

/* Keys last for 2^24 records (RFC 8446 section 5.5): nobody needs new ones so often. */
#define REKEYS_MAX      32
#define REKEYS_INTERVAL USEC_PER_MIN

/* From inside of SSL_read(), which can be ended only so: it reads as if the peer had closed. */
static void on_message(int sent, int version, int type, const void *data, size_t len, SSL *ssl,
                       void *userdata)
{
        TlsConnection *c = userdata;
        if (!sent && type == SSL3_RT_HANDSHAKE && !ratelimit_take(&c->rekeys, now_boottime()))
                SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

void tls_rekey_watch(TlsConnection *c)
{
        c->rekeys = RATELIMIT_INIT(REKEYS_INTERVAL, REKEYS_MAX);
        SSL_set_msg_callback_arg(c->ssl, c);
        SSL_set_msg_callback(c->ssl, on_message);
}
