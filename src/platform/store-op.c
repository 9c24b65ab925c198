/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-op.h"

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
