/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One request to the store, on its way from the loop to the thread and back. */

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
