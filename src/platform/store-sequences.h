/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The sequence that each device's records carry. In memory while a transaction is open: a device's
 * row is written once in it, however many records it brings. */

#include <stdint.h>

typedef struct StoreDb StoreDb;
typedef struct StoreSequences StoreSequences;

/* Of the connection that `db` has, which must outlive them. NULL without memory. */
StoreSequences *store_sequences_new(StoreDb *db);
StoreSequences *store_sequences_free(StoreSequences *s);

/* Within a transaction: the device's row, made when it is new, and its next sequence from 1 on.
 * 0 or negative errno, after which the transaction has to be rolled back. */
int store_sequences_next(StoreSequences *s, const char *device, int64_t *ret_device, int64_t *ret);
/* Before the commit: writes those that have changed. 0 or negative errno. */
int store_sequences_write(StoreSequences *s);
/* After the commit, and after a rollback: those that have changed hold, or are forgotten. */
void store_sequences_committed(StoreSequences *s);
void store_sequences_rolled_back(StoreSequences *s);
