/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The keys that seal the session tickets of one door (RFC 5077, RFC 8446 section 4.6.1). They are
 * in locked memory alone and are wiped when they are replaced: after a restart no ticket is good
 * any more, and none that was recorded can be opened. */

#include "base/time.h"
#include "base/util.h"
#include "platform/loop.h"

/* How often there is a new key; the one before still opens tickets. So a ticket can be used for
 * this long, and a key is gone after twice the time. */
#define TICKETS_ROTATION (4 * USEC_PER_HOUR)
/* How long after a full handshake the last one may be resumed, however often it was before. */
#define TICKETS_PROOF_MAX (12 * USEC_PER_HOUR)

typedef struct Tickets Tickets;
struct Sessions;

/* 0, -ENOMEM, -EIO without randomness. */
int tickets_new(Loop *loop, Tickets **ret);
Tickets *tickets_free(Tickets *t);
DEFINE_CLEANUP(Tickets, tickets_free)

/* What is remembered of sessions of TLS 1.3, whose tickets are only their names: as long as a
 * ticket that was sealed at the same time could be opened. */
struct Sessions *tickets_sessions(Tickets *t);

/* Before its time. 0, or -EIO: then there is no key to seal with until the next try. */
int tickets_rotate(Tickets *t);

/* For platform/ alone: as SSL_CTX_set_tlsext_ticket_key_evp_cb() wants it. Sealing: 1, or -1.
 * Opening: 1, 2 for the key before, 0 for one that is not ours, or -1. */
struct evp_cipher_ctx_st;
struct evp_mac_ctx_st;
int tickets_seal(const Tickets *t, uint8_t name[static 16], uint8_t iv[static 16],
                 struct evp_cipher_ctx_st *cipher, struct evp_mac_ctx_st *mac);
int tickets_open(const Tickets *t, const uint8_t name[static 16], const uint8_t iv[static 16],
                 struct evp_cipher_ctx_st *cipher, struct evp_mac_ctx_st *mac);
