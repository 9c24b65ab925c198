/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-writer.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/ratelimit.h"

/* Deletions wait for an append to ride along with, but not longer than this. */
#define DELETE_DELAY USEC_PER_SEC

struct StoreWriter {
        StoreDb *db;
        uint64_t epoch;
        size_t batch_bytes;
        uint64_t *deletes;
        size_t n_deletes, deletes_size, deletes_per_batch;
        uint64_t delete_highest;
        usec_t due;
        StoreStats count;
        RateLimit complaints;
};

int store_writer_new(StoreDb *db, StoreWriter **ret)
{
        StoreWriter *w = calloc(1, sizeof(*w));
        if (!w) {
                store_db_free(db);
                return -ENOMEM;
        }
        w->db = db;
        w->epoch = store_db_epoch(db);
        w->complaints = RATELIMIT_INIT(USEC_PER_MIN, 5);
        w->batch_bytes = store_db_batch_bytes(db);
        /* Each deletion may touch a page of its own. */
        w->deletes_per_batch = w->batch_bytes / 4096;
        *ret = w;
        return 0;
}

StoreWriter *store_writer_free(StoreWriter *w)
{
        if (!w)
                return NULL;
        store_db_free(w->db);
        free(w->deletes);
        free(w);
        return NULL;
}

size_t store_writer_batch_bytes(const StoreWriter *w)
{
        return w->batch_bytes;
}

/* What a failure means from here on. */
static int after_failure(StoreWriter *w, int error)
{
        bool full = error == -EDQUOT || error == -ENOSPC;
        if (ratelimit_take(&w->complaints, now_boottime()))
                log_error_errno(full ? -ENOSPC : error, "The store failed");
        if (full)
                return -ENOSPC;
        if (error == -EUCLEAN && store_db_replace(&w->db) < 0)
                log_message(LOG_CRIT, NULL, "There is no store any more: nothing is taken in");
        if (w->db)
                w->epoch = store_db_epoch(w->db);
        return -EIO;
}

/* Ids whose deletion failed stay, so that it is tried again. */
static int apply_deletes(StoreWriter *w, size_t *ret)
{
        size_t n = MIN(w->n_deletes, w->deletes_per_batch);
        int r = n > 0 ? store_db_delete(w->db, w->deletes, n) : 0;
        *ret = n;
        return r;
}

static void forget_deletes(StoreWriter *w, size_t n)
{
        w->n_deletes -= n;
        w->count.deleted += n;
        if (n > 0 && w->n_deletes > 0)
                memmove(w->deletes, w->deletes + n, w->n_deletes * sizeof(*w->deletes));
}

/* How many were taken; those beyond the bound have their error. */
static int apply_appends(StoreWriter *w, List *batch)
{
        int taken = 0;
        LIST_FOREACH (i, batch) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                op->error = store_db_append(w->db, &op->record, &op->record.id);
                if (op->error < 0 && op->error != -ENOSPC)
                        return op->error;
                taken += op->error == 0;
        }
        return taken;
}

static int write_batch(StoreWriter *w, List *batch)
{
        if (!w->db)
                return -EIO;
        size_t n_deleted = 0;
        usec_t start = now_boottime();
        int r = store_db_begin(w->db);
        if (r == 0)
                r = apply_deletes(w, &n_deleted);
        if (r == 0)
                r = apply_appends(w, batch);
        if (r == 0 && n_deleted == 0) {
                store_db_rollback(w->db); /* nothing to write: spare the disk */
                return 0;
        }
        if (r >= 0)
                r = store_db_commit(w->db);
        if (r < 0) {
                store_db_rollback(w->db);
                return after_failure(w, r);
        }
        forget_deletes(w, n_deleted);
        w->count.commits++;
        w->count.commit_max = MAX(w->count.commit_max, now_boottime() - start);
        return 0;
}

void store_writer_run(StoreWriter *w, List *batch)
{
        int r = write_batch(w, batch);
        LIST_FOREACH (i, batch) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                if (r < 0)
                        op->error = r;
                if (op->error == 0)
                        w->count.appended++;
                else
                        w->count.refused++;
        }
}

void store_writer_flush(StoreWriter *w)
{
        List none = LIST_INIT(none);
        int r = 0;
        while (w->n_deletes > 0 && r == 0)
                r = write_batch(w, &none);
        w->due = now_boottime() + DELETE_DELAY;
}

void store_writer_delete(StoreWriter *w, const StoreOp *op)
{
        size_t need = w->n_deletes + op->n_ids;
        if (need > w->deletes_size) {
                size_t size = MAX(need * 2, (size_t)1024);
                uint64_t *p = reallocarray(w->deletes, size, sizeof(*p));
                if (!p) {
                        log_error("No memory to forget records: they will be sent again");
                        return;
                }
                w->deletes = p;
                w->deletes_size = size;
        }
        if (w->n_deletes == 0) {
                w->due = now_boottime() + DELETE_DELAY;
                w->delete_highest = 0;
        }
        for (size_t i = 0; i < op->n_ids; i++) {
                w->deletes[w->n_deletes++] = op->ids[i];
                w->delete_highest = MAX(w->delete_highest, op->ids[i]);
        }
        if (w->n_deletes >= w->deletes_per_batch)
                w->due = 0;
}

void store_writer_read(StoreWriter *w, StoreOp *op)
{
        /* Only a reader that starts over could see what waits for its deletion. */
        if (w->n_deletes > 0 && op->after < w->delete_highest)
                store_writer_flush(w);
        op->error = !w->db ? -EIO
                           : store_db_read(w->db, op->kind, op->after, op->n, op->max_bytes,
                                           &op->records, &op->n_records);
        if (op->error < 0)
                op->error = after_failure(w, op->error);
}

usec_t store_writer_due(const StoreWriter *w)
{
        return w->n_deletes > 0 ? w->due : USEC_INFINITY;
}

void store_writer_stats(StoreWriter *w, StoreStats *ret)
{
        if (w->db)
                store_db_stats(w->db, &w->count);
        *ret = w->count;
}

uint64_t store_writer_epoch(const StoreWriter *w)
{
        return w->epoch;
}
