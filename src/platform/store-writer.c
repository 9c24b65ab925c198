/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-writer.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/ratelimit.h"
#include "platform/store-held.h"

/* Deletions and values wait for a transaction to ride along with, but not longer than this. */
#define WRITE_DELAY USEC_PER_SEC

struct StoreWriter {
        StoreDb *db;
        uint64_t epoch;
        size_t batch_bytes;
        uint64_t *deletes;
        size_t n_deletes, deletes_size, deletes_per_batch;
        uint64_t delete_highest;
        bool deletes_sorted;
        StoreHeld *held;
        List released; /* were held and are done with */
        usec_t due;
        StoreStats count;
        RateLimit complaints;
};

int store_writer_new(StoreDb *db, StoreWriter **ret)
{
        _cleanup_(store_writer_freep) StoreWriter *w = calloc(1, sizeof(*w));
        if (!w) {
                store_db_free(db);
                return -ENOMEM;
        }
        w->db = db;
        list_init(&w->released);
        w->held = store_held_new();
        if (!w->held)
                return -ENOMEM;
        w->epoch = store_db_epoch(db);
        w->complaints = RATELIMIT_INIT(USEC_PER_MIN, 5);
        w->batch_bytes = store_db_batch_bytes(db);
        /* Each deletion may touch a page of its own. */
        w->deletes_per_batch = w->batch_bytes / 4096;
        *ret = TAKE_PTR(w);
        return 0;
}

StoreWriter *store_writer_free(StoreWriter *w)
{
        if (!w)
                return NULL;
        for (List *i; (i = list_first(&w->released));) {
                list_remove(i);
                store_op_free(LIST_ENTRY(i, StoreOp, link));
        }
        store_held_free(w->held);
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

static void forget_deletes(StoreWriter *w, size_t n)
{
        w->n_deletes -= n;
        w->count.deleted += n;
        if (n > 0 && w->n_deletes > 0)
                memmove(w->deletes, w->deletes + n, w->n_deletes * sizeof(*w->deletes));
}

static int apply_op(StoreDb *db, StoreOp *op)
{
        StoreKey key = { .kind = (uint8_t)op->key[0], .a = op->key[1], .b = op->key[2] };
        switch (op->request) {
        case STORE_APPEND:
                op->error = store_db_append(db, &op->record);
                return op->error < 0 ? op->error : 1;
        case STORE_PUT:
                return store_db_put(db, &key, BYTES(op->value, op->len));
        case STORE_REMOVE:
                return store_db_remove(db, &key);
        case STORE_READ:
        case STORE_DELETE:
        case STORE_BARRIER:
                break;
        }
        return 0;
}

/* How much changed. An append beyond the bound has its error, and its group is left out. */
static int apply_groups(StoreDb *db, const List *groups)
{
        int changed = 0;
        bool refused = false;
        LIST_FOREACH (i, groups) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                refused = refused && !op->begins;
                if (refused)
                        continue;
                int r = apply_op(db, op);
                refused = r == -ENOSPC;
                if (r < 0 && !refused)
                        return r;
                changed += r > 0;
        }
        return changed;
}

/* Everything of one transaction: how much changed. */
static int apply(StoreWriter *w, size_t n_deletes, const List *held, const List *batch)
{
        int r = n_deletes > 0 ? store_db_delete(w->db, w->deletes, n_deletes) : 0;
        if (r < 0)
                return r;
        int older = apply_groups(w->db, held);
        if (older < 0)
                return older;
        int newer = apply_groups(w->db, batch);
        return newer < 0 ? newer : older + newer + (n_deletes > 0);
}

/* What failed stays, so that it is tried again. */
static int transaction(StoreWriter *w, const List *held, const List *batch)
{
        if (!w->db)
                return -EIO;
        size_t n_deletes = MIN(w->n_deletes, w->deletes_per_batch);
        usec_t start = now_boottime();
        int r = store_db_begin(w->db);
        if (r == 0)
                r = apply(w, n_deletes, held, batch);
        if (r == 0) {
                store_db_rollback(w->db); /* nothing to write: spare the disk */
                return 0;
        }
        if (r > 0)
                r = store_db_commit(w->db);
        if (r < 0) {
                store_db_rollback(w->db);
                return after_failure(w, r);
        }
        forget_deletes(w, n_deletes);
        w->count.commits++;
        w->count.commit_max = MAX(w->count.commit_max, now_boottime() - start);
        return 0;
}

static int write_batch(StoreWriter *w, const List *batch)
{
        int r = transaction(w, store_held_ops(w->held), batch);
        if (r == 0)
                store_held_take(w->held, &w->released);
        return r;
}

static bool waits(const StoreWriter *w)
{
        return w->n_deletes > 0 || store_held_cost(w->held) > 0;
}

void store_writer_flush(StoreWriter *w)
{
        List none = LIST_INIT(none);
        int r = 0;
        while (waits(w) && r == 0)
                r = write_batch(w, &none);
        /* Values that find no room must not keep records from going, which makes room. */
        for (r = 0; w->n_deletes > 0 && store_held_cost(w->held) > 0 && r == 0;)
                r = transaction(w, &none, &none);
        w->due = now_boottime() + WRITE_DELAY;
}

static void hold(StoreWriter *w, StoreOp *op)
{
        if (!waits(w))
                w->due = now_boottime() + WRITE_DELAY;
        list_remove(&op->link);
        store_held_add(w->held, op, &w->released);
}

/* After a failure the caller undoes what belongs to a record; values alone are tried again. */
static void settle(StoreWriter *w, List *batch, int r)
{
        bool appends = false;
        LIST_FOREACH_SAFE (i, batch) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                if (op->begins)
                        appends = op->request == STORE_APPEND;
                if (r < 0)
                        op->error = r;
                if (op->request == STORE_APPEND && op->error == 0)
                        w->count.appended++;
                else if (op->request == STORE_APPEND)
                        w->count.refused++;
                else if (r < 0 && !appends && store_op_is_value(op))
                        hold(w, op);
        }
}

/* What waits goes ahead where both together are too much for one transaction, and where somebody
 * asked to hear when all of it is on disk. */
static bool goes_ahead(const StoreWriter *w, const List *batch, size_t cost)
{
        size_t held = store_held_cost(w->held);
        if (held > 0 && held + cost > w->batch_bytes)
                return true;
        bool barrier = false;
        LIST_FOREACH (i, batch)
                barrier = barrier || LIST_ENTRY(i, StoreOp, link)->request == STORE_BARRIER;
        return barrier && w->n_deletes > w->deletes_per_batch;
}

void store_writer_run(StoreWriter *w, List *batch)
{
        size_t cost = 0;
        LIST_FOREACH (i, batch)
                cost += store_op_cost(LIST_ENTRY(i, StoreOp, link));
        if (cost == 0 && !waits(w))
                return; /* barriers, with nothing before them */
        if (goes_ahead(w, batch, cost))
                store_writer_flush(w);
        settle(w, batch, write_batch(w, batch));
}

void store_writer_hold(StoreWriter *w, List *batch)
{
        for (List *i; (i = list_first(batch));)
                hold(w, LIST_ENTRY(i, StoreOp, link));
        if (store_held_cost(w->held) >= w->batch_bytes)
                store_writer_flush(w);
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
        if (!waits(w))
                w->due = now_boottime() + WRITE_DELAY;
        if (w->n_deletes == 0)
                w->delete_highest = 0;
        w->deletes_sorted = false;
        for (size_t i = 0; i < op->n_ids; i++) {
                w->deletes[w->n_deletes++] = op->ids[i];
                w->delete_highest = MAX(w->delete_highest, op->ids[i]);
        }
        if (w->n_deletes >= w->deletes_per_batch)
                w->due = 0;
}

int store_writer_each(StoreWriter *w, uint8_t kind, StoreEach each, void *userdata)
{
        return store_db_each(w->db, kind, each, userdata);
}

static int compare_ids(const void *a, const void *b)
{
        const uint64_t *x = a, *y = b;
        return (*x > *y) - (*x < *y);
}

/* Of a page, what does not wait for its deletion. */
static size_t keep_others(const StoreWriter *w, StoreRecord *records, size_t n)
{
        size_t kept = 0;
        for (size_t i = 0; i < n; i++) {
                StoreRecord r = store_record_take(&records[i]);
                if (bsearch(&r.id, w->deletes, w->n_deletes, sizeof(r.id), compare_ids))
                        store_record_done(&r);
                else
                        records[kept++] = r;
        }
        return kept;
}

static int read_page(StoreWriter *w, StoreOp *op, uint64_t after)
{
        if (!w->db)
                return -EIO;
        int r = store_db_read(w->db, op->kind, after, op->n, op->max_bytes, &op->records,
                              &op->n_records);
        return r < 0 ? after_failure(w, r) : 0;
}

/* The deletions could not be written: the next page that has others. */
static int read_others(StoreWriter *w, StoreOp *op)
{
        int r;
        if (!w->deletes_sorted)
                qsort(w->deletes, w->n_deletes, sizeof(*w->deletes), compare_ids);
        w->deletes_sorted = true;
        for (uint64_t after = op->after; (r = read_page(w, op, after)) == 0;) {
                if (op->n_records == 0)
                        break;
                after = op->records[op->n_records - 1].id;
                op->n_records = keep_others(w, op->records, op->n_records);
                if (op->n_records > 0)
                        break;
                free(op->records);
                op->records = NULL;
        }
        return r;
}

void store_writer_read(StoreWriter *w, StoreOp *op)
{
        /* Only a reader that starts over could see what waits for its deletion. */
        bool again = w->n_deletes > 0 && op->after < w->delete_highest;
        if (again)
                store_writer_flush(w);
        op->error = again && w->n_deletes > 0 ? read_others(w, op) : read_page(w, op, op->after);
}

usec_t store_writer_due(const StoreWriter *w)
{
        return waits(w) ? w->due : USEC_INFINITY;
}

void store_writer_release(StoreWriter *w, List *ret)
{
        list_splice(ret, &w->released);
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
