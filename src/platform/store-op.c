/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-op.h"

StoreOp *store_op_new(StoreRequest request, size_t len)
{
        StoreOp *op = calloc(1, sizeof(*op) + len);
        if (!op)
                return NULL;
        op->request = request;
        op->len = len;
        return op;
}

StoreOp *store_op_free(StoreOp *op)
{
        if (!op)
                return NULL;
        store_record_done(&op->record);
        store_records_free(op->records, op->n_records);
        free(op->ids);
        free(op);
        return NULL;
}

size_t store_op_size(const StoreOp *op)
{
        if (op->request == STORE_APPEND)
                return store_record_size(&op->record);
        return store_op_is_value(op) ? sizeof(*op) + op->len : 0;
}

/* Each value may lie in a page of its own. */
size_t store_op_cost(const StoreOp *op)
{
        if (op->request == STORE_APPEND)
                return store_record_size(&op->record);
        return store_op_is_value(op) ? STORE_VALUE_PAGE + op->len : 0;
}
