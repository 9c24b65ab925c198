/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the doors for devices do alike in a handshake: whom they trust, and who the peer is. For
 * platform/ alone. */

#include <openssl/ssl.h>

#include "platform/trust.h"

typedef struct Handshakes {
        Trust *trust; /* of now: it may be another one than the handshake began with */
} Handshakes;

void handshakes_done(Handshakes *h);
/* Takes a reference of its own. */
void handshakes_set_trust(Handshakes *h, Trust *trust);

/* Verifies by the trust of now; `h` has to outlive `ctx` and its connections. */
void handshakes_use_ctx(Handshakes *h, SSL_CTX *ctx);
/* The peer of a complete handshake, or false with a word and a sentence for why it is not let in:
 * trust may have gone while the handshake went on. */
bool handshakes_peer(const Handshakes *h, SSL *ssl, PeerCertificate *ret, const char **ret_word,
                     const char **ret_detail);
