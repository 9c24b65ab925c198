/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* TLSKey=minted: a P-256 leaf whose key lives in locked memory and is never written, certified by
 * the identity in the TPM as a sub-CA every few hours. Handshakes then run at the CPU's speed, and
 * a leaf that somebody stole is worth hours. */

#include "platform/identity.h"

#define MINTER_DEFAULT_LIFETIME (6 * USEC_PER_HOUR)

/* `c` is the new credential; take a reference to keep it. Called from the loop or from inside
 * minter_new(). */
typedef void (*MinterHandler)(Credential *c, void *userdata);

typedef struct MinterParams {
        Identity *identity; /* attached, outlives the minter */
        Loop *loop;
        const char *const *names; /* DNS names or IP addresses: the SAN; the first is the CN too */
        size_t n_names;
        usec_t lifetime; /* cut at the end of the identity's own certificate, unless that is over */
        MinterHandler handler;
        void *userdata;
} MinterParams;

typedef struct Minter Minter;

/* Mints the first leaf before it returns (blocks), and a new one each time two thirds of the
 * lifetime are over; when that fails the old one stays and it tries again.
 * -ENOTSUP: the identity's certificate is not that of a CA. Errors of identity_sign(). */
int minter_new(const MinterParams *params, Minter **ret, Reason *reason);
Minter *minter_free(Minter *m);
DEFINE_CLEANUP(Minter, minter_free)
/* Mints anew soon, also where it is minting: the certificate of the identity has changed. */
void minter_renew(Minter *m);
