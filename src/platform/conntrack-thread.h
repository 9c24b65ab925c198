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

/* The connections that `address` opened and that none of `keep` (copied) covers are deleted soon,
 * addresses in the order of the calls; replaces what was asked for before. A failure is logged.
 * 0, -ENOMEM. */
int conntrack_thread_forget(ConntrackThread *t, uint8_t family, const uint8_t *address,
                            const ConntrackPeer *keep, size_t n_keep);
/* To be called before `address` is allowed more: takes back what was asked for. No connection that
 * begins after this call is deleted. True: it was not done yet, so ask again when it is known what
 * to keep. */
bool conntrack_thread_hold(ConntrackThread *t, uint8_t family, const uint8_t *address);
