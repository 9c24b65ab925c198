/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "base/ratelimit.h"

/* Deletions wait for an append to ride along with, but not longer than this. */
#define DELETE_DELAY USEC_PER_SEC

struct StoreThread {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        int event_fd;

        /* Under the lock. */
        List queue, finished;
        bool stop;
        StoreStats stats;
        uint64_t epoch;

        /* The thread's own. */
        StoreDb *db;
        size_t batch_bytes;
        uint64_t *deletes;
        size_t n_deletes, deletes_size, deletes_per_batch;
        uint64_t delete_highest;
        usec_t delete_by;
        StoreStats count;
        RateLimit complaints;
};

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

/* Hands requests back, with figures that already count them. */
static void publish(StoreThread *t, List *ops)
{
        if (t->db)
                store_db_stats(t->db, &t->count);
        pthread_mutex_lock(&t->lock);
        bool any = list_first(ops) != NULL;
        list_splice(&t->finished, ops);
        t->stats = t->count;
        if (t->db)
                t->epoch = store_db_epoch(t->db);
        pthread_mutex_unlock(&t->lock);
        if (any && eventfd_write(t->event_fd, 1) < 0)
                log_error_errno(-errno, "Cannot wake the loop from the store's thread");
}

/* What a failure means from here on. */
static int after_failure(StoreThread *t, int error)
{
        bool full = error == -EDQUOT || error == -ENOSPC;
        if (ratelimit_take(&t->complaints, now_boottime()))
                log_error_errno(full ? -ENOSPC : error, "The store failed");
        if (full)
                return -ENOSPC;
        if (error == -EUCLEAN && store_db_replace(&t->db) < 0)
                log_message(LOG_CRIT, NULL, "There is no store any more: nothing is taken in");
        return -EIO;
}

/* Ids whose deletion failed stay, so that it is tried again. */
static int apply_deletes(StoreThread *t, size_t *ret)
{
        size_t n = MIN(t->n_deletes, t->deletes_per_batch);
        int r = n > 0 ? store_db_delete(t->db, t->deletes, n) : 0;
        *ret = n;
        return r;
}

static void forget_deletes(StoreThread *t, size_t n)
{
        t->n_deletes -= n;
        t->count.deleted += n;
        if (n > 0 && t->n_deletes > 0)
                memmove(t->deletes, t->deletes + n, t->n_deletes * sizeof(*t->deletes));
}

/* How many were taken; those beyond the bound have their error. */
static int apply_appends(StoreThread *t, List *batch)
{
        int taken = 0;
        LIST_FOREACH (i, batch) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                op->error = store_db_append(t->db, &op->record, &op->record.id);
                if (op->error < 0 && op->error != -ENOSPC)
                        return op->error;
                taken += op->error == 0;
        }
        return taken;
}

static int write_batch(StoreThread *t, List *batch)
{
        if (!t->db)
                return -EIO;
        size_t n_deleted = 0;
        usec_t start = now_boottime();
        int r = store_db_begin(t->db);
        if (r == 0)
                r = apply_deletes(t, &n_deleted);
        if (r == 0)
                r = apply_appends(t, batch);
        if (r == 0 && n_deleted == 0) {
                store_db_rollback(t->db); /* nothing to write: spare the disk */
                return 0;
        }
        if (r >= 0)
                r = store_db_commit(t->db);
        if (r < 0) {
                store_db_rollback(t->db);
                return after_failure(t, r);
        }
        forget_deletes(t, n_deleted);
        t->count.commits++;
        t->count.commit_max = MAX(t->count.commit_max, now_boottime() - start);
        return 0;
}

static void run_batch(StoreThread *t, List *batch)
{
        int r = write_batch(t, batch);
        LIST_FOREACH (i, batch) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                if (r < 0)
                        op->error = r;
                if (op->error == 0)
                        t->count.appended++;
                else
                        t->count.refused++;
        }
        publish(t, batch);
}

static int flush_deletes(StoreThread *t)
{
        List none = LIST_INIT(none);
        int r = 0;
        while (t->n_deletes > 0 && r == 0)
                r = write_batch(t, &none);
        t->delete_by = now_boottime() + DELETE_DELAY;
        publish(t, &none);
        return r;
}

static void run_delete(StoreThread *t, const StoreOp *op)
{
        size_t need = t->n_deletes + op->n_ids;
        if (need > t->deletes_size) {
                size_t size = MAX(need * 2, (size_t)1024);
                uint64_t *p = reallocarray(t->deletes, size, sizeof(*p));
                if (!p) {
                        log_error("No memory to forget records: they will be sent again");
                        return;
                }
                t->deletes = p;
                t->deletes_size = size;
        }
        if (t->n_deletes == 0) {
                t->delete_by = now_boottime() + DELETE_DELAY;
                t->delete_highest = 0;
        }
        for (size_t i = 0; i < op->n_ids; i++) {
                t->deletes[t->n_deletes++] = op->ids[i];
                t->delete_highest = MAX(t->delete_highest, op->ids[i]);
        }
}

static void run_read(StoreThread *t, StoreOp *op)
{
        /* Only a reader that starts over could see what waits for its deletion. */
        if (t->n_deletes > 0 && op->after < t->delete_highest)
                flush_deletes(t);
        op->error = !t->db ? -EIO
                           : store_db_read(t->db, op->kind, op->after, op->n, op->max_bytes,
                                           &op->records, &op->n_records);
        if (op->error < 0)
                op->error = after_failure(t, op->error);
}

/* Consecutive appends make one transaction. Deletions between them wait for the next. */
static void run_appends(StoreThread *t, List *work)
{
        List batch = LIST_INIT(batch);
        size_t bytes = 0;
        for (List *i; (i = list_first(work));) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                if (op->request == STORE_READ)
                        break;
                if (op->request == STORE_APPEND) {
                        bytes += store_record_size(&op->record);
                        if (bytes > t->batch_bytes && list_first(&batch))
                                break;
                        list_remove(i);
                        list_append(&batch, i);
                        continue;
                }
                run_delete(t, op);
                list_remove(i);
                store_op_free(op);
        }
        if (list_first(&batch))
                run_batch(t, &batch);
}

static void run_work(StoreThread *t, List *work)
{
        for (List *i; (i = list_first(work));) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                if (op->request != STORE_READ) {
                        run_appends(t, work);
                        continue;
                }
                List answer = LIST_INIT(answer);
                list_remove(i);
                run_read(t, op);
                list_append(&answer, i);
                publish(t, &answer);
        }
}

/* The condition knows no CLOCK_BOOTTIME. */
static struct timespec monotonic_in(usec_t delay)
{
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        usec_t at = (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000 + delay;
        return (struct timespec){
                .tv_sec = (time_t)(at / USEC_PER_SEC),
                .tv_nsec = (long)(at % USEC_PER_SEC * 1000),
        };
}

static void wait_for_work(StoreThread *t, List *ret, bool *ret_stop)
{
        pthread_mutex_lock(&t->lock);
        int r = 0;
        while (list_empty(&t->queue) && !t->stop && r != ETIMEDOUT) {
                if (t->n_deletes == 0) {
                        pthread_cond_wait(&t->wake, &t->lock);
                        continue;
                }
                usec_t now = now_boottime();
                struct timespec by = monotonic_in(t->delete_by - MIN(now, t->delete_by));
                r = pthread_cond_clockwait(&t->wake, &t->lock, CLOCK_MONOTONIC, &by);
        }
        list_splice(ret, &t->queue);
        *ret_stop = t->stop;
        pthread_mutex_unlock(&t->lock);
}

static void *thread_main(void *userdata)
{
        StoreThread *t = userdata;
        bool stop = false;
        pthread_setname_np(pthread_self(), "store");
        while (!stop) {
                List work = LIST_INIT(work);
                wait_for_work(t, &work, &stop);
                run_work(t, &work);
                if (t->n_deletes > 0 && (stop || now_boottime() >= t->delete_by ||
                                         t->n_deletes >= t->deletes_per_batch))
                        flush_deletes(t);
        }
        return NULL;
}

/* No signal is ever delivered here: the loop's signal sources need them blocked. */
static int start(StoreThread *t)
{
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int r = pthread_create(&t->thread, NULL, thread_main, t);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}

int store_thread_new(StoreDb *db, int event_fd, StoreThread **ret)
{
        StoreThread *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->db = db;
        t->event_fd = event_fd;
        t->complaints = RATELIMIT_INIT(USEC_PER_MIN, 5);
        t->batch_bytes = store_db_batch_bytes(db);
        /* Each deletion may touch a page of its own. */
        t->deletes_per_batch = t->batch_bytes / 4096;
        t->epoch = store_db_epoch(db);
        store_db_stats(db, &t->count);
        t->stats = t->count;
        list_init(&t->queue);
        list_init(&t->finished);
        pthread_mutex_init(&t->lock, NULL);
        pthread_cond_init(&t->wake, NULL);
        int r = start(t);
        if (r < 0) {
                t->db = NULL;
                pthread_cond_destroy(&t->wake);
                pthread_mutex_destroy(&t->lock);
                free(t);
                return r;
        }
        *ret = t;
        return 0;
}

StoreThread *store_thread_free(StoreThread *t)
{
        if (!t)
                return NULL;
        pthread_mutex_lock(&t->lock);
        t->stop = true;
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->thread, NULL);
        for (List *i; (i = list_first(&t->finished));) {
                list_remove(i);
                store_op_free(LIST_ENTRY(i, StoreOp, link));
        }
        store_db_free(t->db);
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->lock);
        free(t->deletes);
        free(t);
        return NULL;
}

void store_thread_submit(StoreThread *t, List *ops)
{
        pthread_mutex_lock(&t->lock);
        list_splice(&t->queue, ops);
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->lock);
}

void store_thread_collect(StoreThread *t, List *ret)
{
        pthread_mutex_lock(&t->lock);
        list_splice(ret, &t->finished);
        pthread_mutex_unlock(&t->lock);
}

void store_thread_stats(StoreThread *t, StoreStats *ret)
{
        pthread_mutex_lock(&t->lock);
        *ret = t->stats;
        pthread_mutex_unlock(&t->lock);
}

uint64_t store_thread_epoch(StoreThread *t)
{
        pthread_mutex_lock(&t->lock);
        uint64_t epoch = t->epoch;
        pthread_mutex_unlock(&t->lock);
        return epoch;
}
