/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the store's thread does to the file: transactions of requests, and what may wait for one
 * to ride along with. For that thread alone: no locks. */

#include "platform/store-op.h"

typedef struct StoreWriter StoreWriter;

/* Takes over `db`, on failure too. */
int store_writer_new(StoreDb *db, StoreWriter **ret);
StoreWriter *store_writer_free(StoreWriter *w);
DEFINE_CLEANUP(StoreWriter, store_writer_free)

/* Bytes of requests that one transaction takes. */
size_t store_writer_batch_bytes(const StoreWriter *w);
/* One transaction of whole groups, with what waits before it: each of `batch` has its error
 * afterwards. Values that have to be tried again are no longer in it. */
void store_writer_run(StoreWriter *w, List *batch);
/* Takes over groups of nothing but values, which are to go with the next transaction, or at the
 * latest when they are due. */
void store_writer_hold(StoreWriter *w, List *batch);
/* Copies ids that are to go in the same way. */
void store_writer_delete(StoreWriter *w, const StoreOp *op);
/* As store_each(). */
int store_writer_each(StoreWriter *w, uint8_t kind, StoreEach each, void *userdata);
void store_writer_read(StoreWriter *w, StoreOp *op);

/* When what waits has to be written, on CLOCK_BOOTTIME; USEC_INFINITY: nothing waits. */
usec_t store_writer_due(const StoreWriter *w);
/* Writes what waits. After a failure it is due again some time later. */
void store_writer_flush(StoreWriter *w);

/* Appends the requests that were held and are done with to `ret`. */
void store_writer_release(StoreWriter *w, List *ret);
/* With all that was written. */
void store_writer_stats(StoreWriter *w, StoreStats *ret);
/* Of the file as it is now: another one begins where the old was damaged. 0 without a file. */
uint64_t store_writer_epoch(const StoreWriter *w);
