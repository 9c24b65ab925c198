/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The one TPM of this process: a transport, an ESYS context and a queue in front of them. One
 * user at a time, in the order of asking; the user's TPM commands are then straight-line ESYS
 * calls, which yield in the transport when they run on a fiber. For platform/ alone. */

#include <tss2/tss2_esys.h>

#include "platform/loop.h"
#include "platform/reason.h"

typedef struct Tpm Tpm;

/* Connects, starts the TPM up if nobody has, and flushes what an earlier run of ours left loaded
 * in a TPM without a resource manager. Blocks. */
int tpm_open(const char *tcti, Tpm **ret, Reason *reason);
/* Nobody may use or wait for it any more. */
Tpm *tpm_free(Tpm *t);
DEFINE_CLEANUP(Tpm, tpm_free)
/* From now on users on fibers yield to the loop. 0 or a negative errno. */
int tpm_attach(Tpm *t, Loop *loop);
/* Whether somebody holds the TPM now: a fiber, when it is asked from the loop. */
bool tpm_busy(const Tpm *t);

/* The program ends, and does not wait for answers any more: all who use it, or wait for their turn,
 * fail one after the other while the loop turns. */
void tpm_abandon(Tpm *t);

/* Waits for the turn of this fiber. Off a fiber there is no waiting: -EBUSY when it is in use. */
int tpm_lock(Tpm *t, Reason *reason) _warn_unused_;
void tpm_unlock(Tpm *t);
/* For whoever holds the lock. After a reconnection, which waits on the loop when on a fiber, all
 * that was loaded is gone. While it is broken tpm_esys() must not be used. */
bool tpm_broken(const Tpm *t);
int tpm_reconnect(Tpm *t, Reason *reason);
ESYS_CONTEXT *tpm_esys(Tpm *t);

/* What the session below does to a command, besides protecting its integrity both ways. */
typedef enum TpmProtect {
        TPM_PROTECT_AUTH = 0,                   /* gives the (empty) authorization of a handle */
        TPM_PROTECT_IN = TPMA_SESSION_DECRYPT,  /* and encrypts the first parameter */
        TPM_PROTECT_OUT = TPMA_SESSION_ENCRYPT, /* and encrypts the first parameter of the answer */
        TPM_PROTECT_BOTH = TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT,
        TPM_PROTECT_WATCH = TPMA_SESSION_AUDIT, /* for commands with neither */
} TpmProtect;

/* Begins the session of this connection: HMAC over each command and answer under a secret that is
 * salted to `storage` (TPM 2.0 Library Part 1, 19.6.8), so that nobody between us and the chip
 * reads or changes what goes by. The caller has made sure that `storage` is a key of the very TPM.
 */
int tpm_session_start(Tpm *t, ESYS_TR storage, Reason *reason);
bool tpm_has_session(const Tpm *t);
/* That session, set up for one command. While there is none: the empty password, or nothing for
 * TPM_PROTECT_WATCH. */
ESYS_TR tpm_session(Tpm *t, TpmProtect protect);

/* Sets a sentence "`what`: why" for a response code and returns the errno it stands for:
 * -EIO, -ENOSPC (no room in NV memory), -EDQUOT (lockout, or too many writes), -EACCES
 * (authorization), -EPROTO (the answer was changed on its way), -ESTALE (what was loaded is gone:
 * the TPM was reset). */
int tpm_fail(Tpm *t, Reason *reason, TSS2_RC rc, const char *what);
/* The response code of the TPM without the number of parameter, handle or session. */
TSS2_RC tpm_rc_base(TSS2_RC rc);

static inline void esys_freep(void *p)
{
        Esys_Free(*(void **)p);
}
#define _cleanup_esys_ _cleanup_(esys_freep)
