/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Whom a door takes for a device's authority, and who is revoked. Immutable and reference-counted:
 * a change makes a new one, which may be built on another thread, and whoever is in by the old one
 * is asked about again. */

#include "base/time.h"
#include "base/util.h"
#include "platform/reason.h"
#include "platform/x509.h"

typedef struct Trust Trust;

typedef struct TrustFiles {
        const char
                *authorities; /* PEM; each certificate in it is an anchor, with its root or not */
        const char *const *lists; /* revocation lists, in PEM or DER */
        size_t n_lists;
        /* One more, or NULL. It need not be there, and lists in it that are of an authority which
         * is no longer one of these count for nothing; unless it is a fresh one. */
        const char *fetched;
        bool fresh;
} TrustFiles;

/* Blocks on the files. A negative errno with the reason, which names the file. */
int trust_new(const TrustFiles *files, Reason *reason, Trust **ret);
Trust *trust_ref(Trust *t);
Trust *trust_unref(Trust *t);
DEFINE_CLEANUP(Trust, trust_unref)

typedef enum TrustOutcome {
        TRUST_OK,
        TRUST_REVOKED,   /* a certificate of the chain is on a list */
        TRUST_NO_ANCHOR, /* none of the chain is one of these authorities */
        TRUST_EXPIRED,   /* a certificate of the chain is, at `now` */
} TrustOutcome;
/* A word for REASON=: "revoked", "unknown-ca", "expired". */
const char *trust_outcome_to_string(TrustOutcome o);

/* For a chain that was verified once, by these or by other authorities: does it still count? The
 * worst comes first. `now` in CLOCK_REALTIME. `ret_link` (may be NULL): which of the chain is
 * revoked. */
TrustOutcome trust_check(const Trust *t, const PeerChain *chain, usec_t now, size_t *ret_link);

typedef struct TrustFacts {
        size_t authorities, lists, revoked;
        usec_t next_update; /* CLOCK_REALTIME, the earliest of all lists; USEC_INFINITY: none */
        const char *oldest; /* the file that it is told in, or NULL; holds as long as the Trust */
        const char *future; /* a file with a list from later than now, or NULL; likewise */
        usec_t fetched; /* CLOCK_REALTIME, when the newest list in that file was made; 0: none */
} TrustFacts;
/* `now` in CLOCK_REALTIME. */
void trust_facts(const Trust *t, usec_t now, TrustFacts *ret);
/* Is what was fetched older than what was fetched before, or does it lack a list that was there?
 * What is to be said of the file, or NULL. */
const char *trust_goes_back(const Trust *t, const Trust *before);

/* For platform/ alone. */
struct ssl_ctx_st;
struct ssl_st;
struct x509_store_ctx_st;
/* What a handshake verifies by and names to the peer. 0, -ENOMEM. */
int trust_use_ctx(const Trust *t, struct ssl_ctx_st *ctx);
int trust_use_ssl(const Trust *t, struct ssl_st *ssl);
/* Verifies like X509_verify_cert(), lists included: 1 or 0 with the error in `ctx`. */
int trust_verify(const Trust *t, struct x509_store_ctx_st *ctx);
