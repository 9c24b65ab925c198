/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The sessions of TLS 1.3 that a door remembers, so that a ticket is no more than the name of one.
 *
 * A ticket that holds the session itself costs twice: OpenSSL writes the peer's certificate into
 * each and parses it again to do so, and once more when it comes back. What is kept here is the
 * secret and what we have found out about the peer, some 500 bytes: no certificate. Nothing leaves
 * the process; secrets are wiped when they are dropped. For platform/ alone. */

#include <openssl/ssl.h>

#include "base/bytes.h"

#define SESSIONS_PEER_SIZE 32 /* bytes of a SHA-256 */
#define SESSIONS_PEER_MAX  32

typedef struct Sessions Sessions;

int sessions_new(Sessions **ret);
Sessions *sessions_free(Sessions *s);

/* How many; the oldest make room. 0: none, which is how it begins. Each peer has at most
 * SESSIONS_PEER_MAX of them: one that comes again and again takes none from the others. */
void sessions_set_max(Sessions *s, size_t max);
/* Drops those from before the last rotation. */
void sessions_rotate(Sessions *s);

/* Remembers a session of `peer`, the hash of its key, with its ticket's application data. 0,
 * -ENOMEM, -EINVAL for one that is not of TLS 1.3 or has none. */
int sessions_put(Sessions *s, const SSL_SESSION *session,
                 const uint8_t peer[static SESSIONS_PEER_SIZE]);
/* As it was put, but for the peer's certificate, and as the caller's own: NULL when it is not known
 * or there is no memory. It stays; a device may come with it again. */
SSL_SESSION *sessions_get(const Sessions *s, Bytes id);
