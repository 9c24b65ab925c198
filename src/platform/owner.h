/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Root writes into somebody else's directory as that somebody: what it leaves there is the
 * owner's to read, and a link that the owner planted leads it no further than the owner could go.
 * Only access to files changes (setfsuid(2)), and only for this thread. */

#include "base/util.h"
#include "platform/reason.h"

typedef struct Owner {
        bool changed;
} Owner;

/* Until owner_end(). Does nothing for another user than root, for root's own directory and for one
 * that is not there yet. -EPERM when root may not change. */
int owner_begin(const char *directory, Owner *ret, Reason *reason);
void owner_end(Owner *o);
#define _cleanup_owner_ _cleanup_(owner_end)
