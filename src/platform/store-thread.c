/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "platform/store-writer.h"

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

        StoreWriter *writer; /* the thread's own */
};

/* Hands requests back, with figures that already count them. */
static void publish(StoreThread *t, List *ops)
{
        StoreStats stats;
        store_writer_release(t->writer, ops);
        store_writer_stats(t->writer, &stats);
        pthread_mutex_lock(&t->lock);
        bool any = list_first(ops) != NULL;
        list_splice(&t->finished, ops);
        t->stats = stats;
        t->epoch = store_writer_epoch(t->writer);
        pthread_mutex_unlock(&t->lock);
        if (any && eventfd_write(t->event_fd, 1) < 0)
                log_error_errno(-errno, "Cannot wake the loop from the store's thread");
}

static void flush(StoreThread *t)
{
        List none = LIST_INIT(none);
        store_writer_flush(t->writer);
        publish(t, &none);
}

/* What the first group of `work` adds to a transaction. */
static size_t group_cost(const List *work)
{
        size_t cost = 0;
        LIST_FOREACH (i, work) {
                const StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                if (op->begins && i != work->next)
                        break;
                cost += store_op_cost(op);
        }
        return cost;
}

/* Moves groups from `work` to `batch`, as many as one transaction takes. True when somebody wants
 * to hear that they are on disk. */
static bool take_groups(StoreThread *t, List *work, List *batch)
{
        size_t cost = 0;
        bool awaited = false;
        for (List *i; (i = list_first(work));) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                cost += op->begins ? group_cost(work) : 0;
                if (op->begins && !list_empty(batch) && cost > store_writer_batch_bytes(t->writer))
                        break;
                list_remove(i);
                list_append(batch, i);
                awaited = awaited || !store_op_is_value(op);
        }
        return awaited;
}

static void run_groups(StoreThread *t, List *work)
{
        List batch = LIST_INIT(batch);
        bool awaited = take_groups(t, work, &batch);
        if (list_empty(&batch))
                return;
        if (awaited)
                store_writer_run(t->writer, &batch);
        else
                store_writer_hold(t->writer, &batch);
        publish(t, &batch);
}

/* They ride along with the next transaction. */
static void take_delete(StoreThread *t, StoreOp *op)
{
        list_remove(&op->link);
        store_writer_delete(t->writer, op);
        store_op_free(op);
}

static void run_read(StoreThread *t, StoreOp *op)
{
        List answer = LIST_INIT(answer);
        list_remove(&op->link);
        store_writer_read(t->writer, op);
        list_append(&answer, &op->link);
        publish(t, &answer);
}

/* What is on disk can go upstream while what is not is still written: reading does not wait for
 * that, and does not see it. What was to be deleted before must not be seen. */
static void run_reads(StoreThread *t, List *work)
{
        LIST_FOREACH_SAFE (i, work) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                if (op->request == STORE_DELETE)
                        take_delete(t, op);
                else if (op->request == STORE_READ)
                        run_read(t, op);
        }
}

static void run_work(StoreThread *t, List *work)
{
        run_reads(t, work);
        while (!list_empty(work))
                run_groups(t, work);
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
                usec_t due = store_writer_due(t->writer), now = now_boottime();
                if (due == USEC_INFINITY) {
                        pthread_cond_wait(&t->wake, &t->lock);
                        continue;
                }
                struct timespec by = monotonic_in(due - MIN(now, due));
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
                usec_t due = store_writer_due(t->writer);
                if (due != USEC_INFINITY && (stop || now_boottime() >= due))
                        flush(t);
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
        _cleanup_(store_writer_freep) StoreWriter *writer = NULL;
        int r = store_writer_new(db, &writer);
        if (r < 0)
                return r;
        StoreThread *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->writer = writer;
        t->event_fd = event_fd;
        t->epoch = store_writer_epoch(writer);
        store_writer_stats(writer, &t->stats);
        list_init(&t->queue);
        list_init(&t->finished);
        pthread_mutex_init(&t->lock, NULL);
        pthread_cond_init(&t->wake, NULL);
        r = start(t);
        if (r < 0) {
                pthread_cond_destroy(&t->wake);
                pthread_mutex_destroy(&t->lock);
                free(t);
                return r;
        }
        TAKE_PTR(writer);
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
        store_writer_free(t->writer);
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->lock);
        free(t);
        return NULL;
}

int store_thread_each(StoreThread *t, uint8_t kind, StoreEach each, void *userdata)
{
        return store_writer_each(t->writer, kind, each, userdata);
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
