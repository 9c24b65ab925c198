/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the doors for devices do alike in a handshake: whom they trust, who may resume, and who the
 * peer is. For platform/ alone.
 *
 * A resumed handshake takes no signature, neither of the device nor of the gateway: the ticket
 * stands for the one that the device gave. So the trust of now is asked about what is in it, and a
 * ticket that does not count any more leads to a full handshake. */

#include <openssl/ssl.h>

#include "platform/tickets.h"
#include "platform/trust.h"

typedef struct Handshakes {
        Trust *trust;           /* of now: it may be another one than the handshake began with */
        Tickets *tickets;       /* NULL: nobody may resume */
        uint64_t full, resumed; /* that led to a peer */
} Handshakes;

/* 0, or a negative errno. */
int handshakes_init(Handshakes *h, Loop *loop);
void handshakes_done(Handshakes *h);
/* Takes a reference of its own. */
void handshakes_set_trust(Handshakes *h, Trust *trust);

/* Verifies by the trust of now and gives out tickets; `h` has to outlive `ctx` and its connections.
 * 0, -ENOMEM. */
int handshakes_use_ctx(Handshakes *h, SSL_CTX *ctx);
/* Sessions of TLS 1.3 are remembered, at most so many, and their tickets are names; else, and for
 * TLS 1.2, a session is in its ticket. */
void handshakes_remember(Handshakes *h, SSL_CTX *ctx);
void handshakes_set_sessions_max(Handshakes *h, size_t max);
/* The peer of a complete handshake, or false with a word and a sentence for why it is not let in:
 * trust may have gone while the handshake went on. */
bool handshakes_peer(Handshakes *h, SSL *ssl, PeerCertificate *ret, const char **ret_word,
                     const char **ret_detail);
/* Gives back what a connection holds of its handshake: the keys of the key exchange, the peer's
 * certificate, of which only the shell stays, and the ticket's data. After handshakes_peer(), for
 * connections that make no other one. */
void handshakes_forget(SSL *ssl);
