/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Forgetting connections without waiting for it: a walk through the kernel's table takes
 * milliseconds, and the loop has none to spare. */

#include "platform/conntrack.h"

typedef struct ConntrackThread ConntrackThread;

int conntrack_thread_new(ConntrackThread **ret);
/* Ends after the address at hand; the others are dropped. */
ConntrackThread *conntrack_thread_free(ConntrackThread *t);
DEFINE_CLEANUP(ConntrackThread, conntrack_thread_free)

/* The connections that `address` opened are deleted soon, in the order of the calls. A failure to
 * do so is logged. 0, -ENOMEM. */
int conntrack_thread_forget(ConntrackThread *t, uint8_t family, const uint8_t *address);
