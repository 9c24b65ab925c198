/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Fibers: straight-line code that may wait without holding up the loop.
 *
 * Libraries that wait for the TPM in the middle of a call (ESAPI, a TLS handshake inside
 * libmosquitto, X509_sign) run on a fiber of their own. Where they would block, the TPM transport
 * calls fiber_yield() and the loop goes on; when the answer is there the fiber is resumed. Fibers
 * are scheduled by hand, never preempted, all in the loop's thread. */

#include <stdbool.h>

typedef struct Fiber Fiber;
typedef void (*FiberFunction)(void *userdata);

/* Runs `function` on a new stack until it yields or ends. The fiber frees itself when the
 * function returns. 0, or -ENOMEM (nothing ran). Must not be called from a fiber. */
int fiber_spawn(FiberFunction function, void *userdata);

/* The fiber that this code runs on; NULL on the loop's own stack. */
Fiber *fiber_current(void);

/* Back to whoever spawned or resumed this fiber; returns when fiber_resume() is called. */
void fiber_yield(void);

/* Continues a fiber that has yielded. Must not be called from a fiber: defer to the loop. */
void fiber_resume(Fiber *f);
