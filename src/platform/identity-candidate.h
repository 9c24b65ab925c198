/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A certificate for the identity that is not in force yet: it has to prove itself first. In the
 * directory of the identity:
 *   candidate.crt   waits for that; taken up again after a restart
 *   refused.crt     the last one that was not taken, with the reason in its first line
 * identity.crt is replaced in one step: a crash at any moment leaves one that works. */

#include "platform/identity.h"

typedef struct IdentityCandidate IdentityCandidate;

/* Checks a certificate (PEM, leaf first, then whatever its chain may need): for this key, valid
 * now, leads to an anchor, which is a self-signed one in the PEM or, without any, in `ca_path`;
 * `must_certify`: is that of a CA. -EBADMSG with the reason. Nothing is written. */
int identity_candidate_new(Identity *id, Bytes pem, const char *ca_path, bool must_certify,
                           IdentityCandidate **ret, Reason *reason);
/* What waits in candidate.crt since before a restart. -ENOENT: nothing. */
int identity_candidate_load(Identity *id, bool must_certify, IdentityCandidate **ret,
                            Reason *reason);
/* Whether somebody has replaced identity.crt since it was put in force ("sallyportctl identity
 * install" while the daemon runs): then it becomes the candidate, and the one in force is written
 * back. 1: so it is; 0: no; -EBADMSG: so it is, but it is not good, and was set aside;
 * -ENOENT: none is in force. */
int identity_candidate_adopt(Identity *id, bool must_certify, IdentityCandidate **ret,
                             Reason *reason);
IdentityCandidate *identity_candidate_free(IdentityCandidate *c);
DEFINE_CLEANUP(IdentityCandidate, identity_candidate_free)

/* These three and _adopt() write: on a fiber they yield while the disk works, and nobody may change
 * the candidate or the certificate in force meanwhile.
 *
 * Writes candidate.crt. */
int identity_candidate_save(const IdentityCandidate *c, Reason *reason);
/* The key in the TPM with this certificate. */
int identity_candidate_credential(const IdentityCandidate *c, Credential **ret, Reason *reason);
/* Puts it in force. Whatever was made of the old one (credentials, leaves) stays as it is. */
int identity_candidate_promote(const IdentityCandidate *c, Reason *reason);
/* Sets it aside for `why`, one line. */
int identity_candidate_refuse(const IdentityCandidate *c, const char *why, Reason *reason);
/* CLOCK_REALTIME, the bounds of its validity. */
usec_t identity_candidate_not_before(const IdentityCandidate *c);
usec_t identity_candidate_not_after(const IdentityCandidate *c);

/* What lies in the two files, to be shown. */
typedef struct IdentityPending {
        bool candidate;
        usec_t not_after;  /* of the candidate */
        char refused[512]; /* when the last one was not taken and why; "" for none */
} IdentityPending;
void identity_pending(Identity *id, IdentityPending *ret);
