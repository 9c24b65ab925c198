/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One request to the store, on its way from the loop to the thread and back. */

#include "base/list.h"
#include "platform/store-db.h"

typedef enum StoreRequest {
        STORE_APPEND,
        STORE_READ,
        STORE_DELETE,
        STORE_PUT,
        STORE_REMOVE,
        STORE_BARRIER,
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
        bool begins; /* a group: the requests up to the next that does belong to it */

        StoreRecord record; /* append: the record, then with what the store gives */

        uint8_t kind; /* read: what is asked for */
        uint64_t after;
        size_t n, max_bytes;
        StoreRecord *records; /* and the answer */
        size_t n_records;

        uint64_t *ids; /* delete */
        size_t n_ids;

        uint64_t key[3]; /* put and remove: kind, a and b */
        size_t len;      /* put */
        uint8_t value[];
};

/* With room for a value of `len` bytes; NULL without memory. */
StoreOp *store_op_new(StoreRequest request, size_t len);
StoreOp *store_op_free(StoreOp *op);

static inline bool store_op_is_value(const StoreOp *op)
{
        return op->request == STORE_PUT || op->request == STORE_REMOVE;
}
static inline Bytes store_op_key(const StoreOp *op)
{
        return BYTES(op->key, sizeof(op->key));
}
/* Bytes that it holds in memory while it waits, about. */
size_t store_op_size(const StoreOp *op);
/* Bytes that it adds to a transaction, about. */
size_t store_op_cost(const StoreOp *op);
