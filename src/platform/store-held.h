/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Values that wait for a transaction: the latest request of each key, so that they are bounded by
 * the keys however long the disk is full. What is replaced here is never written, so all of them
 * belong into one transaction: half a group would be seen otherwise. */

#include "platform/store-op.h"

typedef struct StoreHeld StoreHeld;

StoreHeld *store_held_new(void);
StoreHeld *store_held_free(StoreHeld *h);
DEFINE_CLEANUP(StoreHeld, store_held_free)

/* Takes over a put or remove; an older one of the same key moves to `replaced`. */
void store_held_add(StoreHeld *h, StoreOp *op, List *replaced);
/* Moves all to `ret`. */
void store_held_take(StoreHeld *h, List *ret);
/* In the order of their latest requests. */
List *store_held_ops(StoreHeld *h);
/* Sum of store_op_cost(); 0 only when there are none. */
size_t store_held_cost(const StoreHeld *h);
