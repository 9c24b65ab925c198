/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Revocation lists (RFC 5280 section 5) of the devices' authorities. For platform/ alone.
 *
 * A list only ever adds: whoever is on one of them is out. So a list that covers a part of what its
 * authority issued is as good as a whole one, one that is overdue or from the future counts, and
 * what could take somebody off again, a delta, is refused. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "platform/crypto.h"
#include "platform/reason.h"
#include "platform/x509.h"

#define CRL_SIZE_MAX ((size_t)16 << 20) /* of a file */

/* Who is revoked, as PeerLink.certificate. */
typedef struct Revoked {
        uint8_t (*ids)[PEER_ID_SIZE];
        size_t n, room;
} Revoked;

void revoked_done(Revoked *r);

/* When a list was made, and which: an authority may keep several, each of a part of what it issued
 * (RFC 5280 section 5.2.5). */
typedef struct CrlMade {
        uint8_t list[CRYPTO_SHA256_SIZE];
        usec_t at; /* CLOCK_REALTIME, thisUpdate */
} CrlMade;

/* Of the lists of one file. */
typedef struct CrlFacts {
        CrlMade *made; /* the newest of each, sorted */
        size_t n_made;
        size_t n, n_foreign; /* that count, and that were passed over */
        usec_t newest;       /* CLOCK_REALTIME, the latest thisUpdate */
        usec_t next_update;  /* the earliest; USEC_INFINITY: not told */
} CrlFacts;

void crl_facts_done(CrlFacts *f);
/* In one list or more `now` is older than `before`, or lacks it: what is said of it, or NULL. */
const char *crl_goes_back(const CrlFacts *now, const CrlFacts *before);

/* Reads a file of one list in DER or of several in PEM, each signed by one of `authorities` that
 * may sign lists, and appends who is on them. What is of another authority is passed over where
 * `pass_foreign` says so, else it is as wrong as what is broken: -EBADMSG, -EKEYREJECTED, -EFBIG or
 * -ENOMEM with the reason, which names the file as `name`. What was appended stays. `ret` is the
 * caller's, for crl_facts_done(). */
int crl_read(const char *name, Bytes file, const struct stack_st_X509 *authorities,
             bool pass_foreign, Revoked *revoked, Reason *reason, CrlFacts *ret);
