/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The way to the TPM: a transport (TCTI) for tpm2-tss that never holds up the loop.
 *
 *   device:/dev/tpmrm0                 the kernel's resource manager
 *   swtpm:path=/run/swtpm/data.sock    a software TPM, data channel on a unix socket
 *   swtpm:host=127.0.0.1,port=2321     the same over TCP
 *
 * Any other string goes to the loader of tpm2-tss; such a transport blocks. For platform/ alone. */

#include <tss2/tss2_tcti.h>

#include "platform/loop.h"
#include "platform/reason.h"

/* A TPM that has not answered a command after this long is given up. */
#define TCTI_ANSWER_TIMEOUT  (60 * USEC_PER_SEC)
#define TCTI_CONNECT_TIMEOUT (5 * USEC_PER_SEC)

typedef struct Tcti Tcti;

/* Connects. Blocks, at most TCTI_CONNECT_TIMEOUT for a socket. -EINVAL for a string that is no
 * TCTI, -ETIMEDOUT, the errno of the device or socket. */
int tcti_new(const char *config, Tcti **ret, Reason *reason);
Tcti *tcti_free(Tcti *t);
DEFINE_CLEANUP(Tcti, tcti_free)

/* From now on code on a fiber yields to this loop while it waits for the TPM. Off a fiber it
 * blocks in poll() as before. */
void tcti_attach(Tcti *t, Loop *loop);
/* How long to wait for an answer from now on. */
void tcti_set_timeout(Tcti *t, usec_t timeout);

/* No command can go this way any more: one stopped in the middle, or the other side has closed.
 * Between two commands only. */
bool tcti_broken(const Tcti *t);
/* Connects anew, to the address that tcti_new() found. On a fiber it yields to the loop. Errors as
 * of tcti_new(); it stays broken then. */
int tcti_reconnect(Tcti *t, Reason *reason);

/* The program ends: whoever waits for an answer on a fiber hears, when the loop turns, that there
 * is none in time, and nobody waits any more. */
void tcti_abandon(Tcti *t);

TSS2_TCTI_CONTEXT *tcti_context(Tcti *t);
/* A software TPM that is ours alone, without a resource manager: what is loaded in it was leaked
 * by us. */
bool tcti_is_software(const Tcti *t);
/* It came from the loader: every command holds up the loop. */
bool tcti_is_foreign(const Tcti *t);
/* Why the last command got no answer; "" when it did. */
const char *tcti_error(const Tcti *t);
