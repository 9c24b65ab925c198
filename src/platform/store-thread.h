/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The store's thread: takes requests in order, groups appends into transactions, hands requests
 * back when what they ask for is on disk. */

#include "base/list.h"
#include "platform/store-db.h"

typedef enum StoreRequest {
        STORE_APPEND,
        STORE_READ,
        STORE_DELETE,
} StoreRequest;

/* Belongs to the thread from submit to collect, apart from `done` and `userdata`, which are the
 * loop's. */
struct StoreOp {
        List link;
        StoreRequest request;
        union {
                StoreDone done;
                StoreReadDone read_done;
        };
        void *userdata;
        int error;

        StoreRecord record; /* append: the record, then its id */

        uint8_t kind; /* read: what is asked for */
        uint64_t after;
        size_t n, max_bytes;
        StoreRecord *records; /* and the answer */
        size_t n_records;

        uint64_t *ids; /* delete */
        size_t n_ids;
};

StoreOp *store_op_free(StoreOp *op);

typedef struct StoreThread StoreThread;

/* Takes over `db`, on success only. `event_fd` is written to when there is something to collect. */
int store_thread_new(StoreDb *db, int event_fd, StoreThread **ret);
/* Does what was submitted, ends the thread. */
StoreThread *store_thread_free(StoreThread *t);
DEFINE_CLEANUP(StoreThread, store_thread_free)

/* Moves all of `ops` to the thread. */
void store_thread_submit(StoreThread *t, List *ops);
/* Appends what is finished to `ret`. */
void store_thread_collect(StoreThread *t, List *ret);
void store_thread_stats(StoreThread *t, StoreStats *ret);
uint64_t store_thread_epoch(StoreThread *t);
