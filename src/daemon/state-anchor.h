/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Notices when what the gateway keeps on its disk (the store of messages, who is revoked, the
 * revocation list that was fetched) was replaced by an older copy or by another one while it was
 * not looking: at the start what is found is held against what platform/anchor has noted. It is
 * noted at each start and stop, when a device was revoked, and every six hours. A replacement is
 * said loudly, to upstream too, and the gateway goes on with what is there. */

#include <jansson.h>

#include "daemon/gateway.h"

typedef struct StateAnchor StateAnchor;

/* At the start, with identity, store and doors open. Blocks. A failure to read or write is told in
 * the state and in the log; -ENOMEM. */
int state_anchor_new(Gateway *g, StateAnchor **ret);
StateAnchor *state_anchor_free(StateAnchor *a);
DEFINE_CLEANUP(StateAnchor, state_anchor_free)
/* Something that must not go back has changed, or the end comes. Takes NULL. */
void state_anchor_note(StateAnchor *a);
/* A note is being taken. */
bool state_anchor_busy(const StateAnchor *a);
/* For the status. */
json_t *state_anchor_status(const StateAnchor *a);
