/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* TLS server on the loop: listens, lets in who shows a certificate of a trusted authority, and
 * moves bytes between sockets and buffers. TLS 1.3, or 1.2 where it is allowed; no renegotiation,
 * no compression, no early data. Sessions resume (platform/handshake.h). */

#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "platform/credential.h"
#include "platform/loop.h"
#include "platform/reason.h"
#include "platform/trust.h"
#include "platform/x509.h"

typedef struct TlsServer TlsServer;
typedef struct TlsConnection TlsConnection;

typedef struct TlsServerConfig {
        Trust *trust;     /* in peers */
        const char *alpn; /* the one protocol that is spoken; a client may not ask for any */
        bool tls12;       /* 1.2 too */
        size_t connections_max;
        size_t handshakes_max; /* at a time; accepting waits for them */
        /* Of these, and of connections that are being closed, how many of one address: a slow peer
         * must not keep the others waiting. 0: no bound of its own. */
        size_t handshakes_per_address;
        usec_t handshake_timeout;     /* the peer's: waiting for the TPM does not count */
        size_t input_max, output_max; /* bytes, for each connection */
} TlsServerConfig;

/* What the owner of a connection has done with its input. */
typedef enum TlsInput {
        TLS_INPUT_MORE,  /* all that it could: call when there is more */
        TLS_INPUT_AGAIN, /* its share of this turn: call in the next one */
        TLS_INPUT_STOP,  /* do not read before tls_connection_resume() */
} TlsInput;

typedef struct TlsHandler {
        /* Bytes are in tls_connection_input(). */
        TlsInput (*input)(TlsConnection *c, void *userdata);
        /* The output was held up, or more than half full, and is empty now. */
        void (*drained)(TlsConnection *c, void *userdata);
        /* The peer is gone. The connection frees itself; not called after tls_connection_close().
         */
        void (*closed)(TlsConnection *c, void *userdata);
} TlsHandler;

typedef struct TlsServerPort {
        /* A peer proved the key of this certificate: tls_connection_set_handler(), or
         * tls_connection_close(). */
        void (*established)(TlsConnection *c, const PeerCertificate *certificate, void *userdata);
        /* It did not get so far: a word for REASON=, and a detail for a person. */
        void (*refused)(const struct sockaddr_storage *peer, const char *reason, const char *detail,
                        void *userdata);
} TlsServerPort;

/* Every handshake is refused until there is a credential. Takes a reference of `config->trust`;
 * `config->alpn` has to be constant. A negative errno with the reason. */
int tls_server_new(Loop *loop, const TlsServerConfig *config, const TlsServerPort *port,
                   void *userdata, Reason *reason, TlsServer **ret);
/* Closes every connection without a word to its owner. No fiber may be resumed afterwards. */
TlsServer *tls_server_free(TlsServer *s);
DEFINE_CLEANUP(TlsServer, tls_server_free)

/* [::] takes IPv4 too, unless another listener has it. `ret_port` (may be NULL): in host order, for
 * an address with port 0. Negative errno. */
int tls_server_listen(TlsServer *s, const struct sockaddr *address, socklen_t len,
                      uint16_t *ret_port);
/* What new connections see from now on; on failure the old one stays. */
int tls_server_set_credential(TlsServer *s, Credential *credential);
/* Makes ready to take over trust, protocol versions and limits, so that nothing can fail any more
 * afterwards. They are for connections from then on, and for handshakes that are going on; whether
 * those who are in may stay is their owner's business. */
int tls_server_prepare(TlsServer *s, const TlsServerConfig *config, Reason *reason);
void tls_server_commit(TlsServer *s);
/* Forgets what was prepared. */
void tls_server_cancel(TlsServer *s);
size_t tls_server_connections(const TlsServer *s);
/* Complete ones, since start. */
void tls_server_handshakes(const TlsServer *s, uint64_t *ret_full, uint64_t *ret_resumed);

void tls_connection_set_handler(TlsConnection *c, const TlsHandler *handler, void *userdata);
const struct sockaddr_storage *tls_connection_peer(const TlsConnection *c);
/* Consume from the front. */
Buf *tls_connection_input(TlsConnection *c);
/* Append, then tls_connection_flush(): it is written once in this turn of the loop. */
Buf *tls_connection_output(TlsConnection *c);
void tls_connection_flush(TlsConnection *c);
/* After TLS_INPUT_STOP: the handler is called in the next turn. */
void tls_connection_resume(TlsConnection *c);
/* Writes what is in the output, says goodbye and frees itself; the handler is not called again. */
void tls_connection_close(TlsConnection *c);
