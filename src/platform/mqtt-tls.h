/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The TLS side of an upstream connection: whom we trust, what the other end must be called, and
 * in words why a handshake failed. For platform/mqtt-client-connection alone. */

#include <openssl/ssl.h>

#include "platform/mqtt-client.h"

typedef struct MqttTls {
        SSL_CTX *ctx;
        char *server_name;
        bool name_is_address;
        bool finished;    /* the handshake, as far as this end knows */
        int alert;        /* that ended it, as the peer said (RFC 8446 section 6.2); 0: none */
        int socket_error; /* errno of the socket that TLS could not go on with; 0: none */
        char reason[256]; /* why the peer or we gave up; "" when nothing was noted */
} MqttTls;

/* 0, or negative with `reason` filled in. */
int mqtt_tls_init(MqttTls *t, const MqttClientConfig *config, const Credential *credential);
void mqtt_tls_done(MqttTls *t);

/* A record for each message and a segment for each record cost more than the message. From now on
 * what is written after the handshake is gathered until the flush, or until it is much. -ENOMEM. */
int mqtt_tls_gather(SSL *ssl);
bool mqtt_tls_has_gathered(const SSL *ssl);
/* 0: all is out; 1: the socket takes no more now; -EIO with `socket_error`. */
int mqtt_tls_flush(MqttTls *t, SSL *ssl);
/* Whether something was read that the library has not seen, and would not be told by the socket. */
bool mqtt_tls_has_unread(const SSL *ssl);
