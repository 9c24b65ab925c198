/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The store's thread: takes requests in order, puts groups of them into transactions, hands
 * requests back when what they ask for is on disk. */

#include "platform/store-op.h"

typedef struct StoreThread StoreThread;

/* Takes over `db`, on failure too. `event_fd` is written to when there is something to collect. */
int store_thread_new(StoreDb *db, int event_fd, StoreThread **ret);
/* Does what was submitted, ends the thread. */
StoreThread *store_thread_free(StoreThread *t);
DEFINE_CLEANUP(StoreThread, store_thread_free)

/* As store_each(), in the caller's thread: before anything is submitted, while this one sleeps. */
int store_thread_each(StoreThread *t, uint8_t kind, StoreEach each, void *userdata);
/* Moves all of `ops` to the thread. */
void store_thread_submit(StoreThread *t, List *ops);
/* Appends what is finished to `ret`. */
void store_thread_collect(StoreThread *t, List *ret);
void store_thread_stats(StoreThread *t, StoreStats *ret);
uint64_t store_thread_epoch(StoreThread *t);
