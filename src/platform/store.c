/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "platform/store-thread.h"

/* What may wait for the thread: beyond it the disk is too slow and peers have to wait. */
#define WAITING_MAX       65536
#define WAITING_BYTES_MAX ((size_t)32 << 20)

struct Store {
        StoreThread *thread;
        int event_fd;
        LoopSource *finished, *flush;
        List turn;   /* asked for in this turn of the loop */
        bool begins; /* the next request begins a group */
        bool asked;  /* anything yet */
        uint64_t max_bytes;
        size_t waiting, waiting_bytes;
        uint64_t refused;
        StoreWatch watch;
        void *watch_userdata;
};

static void call_back(StoreOp *op)
{
        switch (op->request) {
        case STORE_APPEND:
        case STORE_BARRIER:
                if (op->done)
                        op->done(op->error, op->record.id, op->userdata);
                break;
        case STORE_READ:
                if (op->read_done)
                        op->read_done(op->error, op->records, op->n_records, op->userdata);
                break;
        case STORE_DELETE:
        case STORE_PUT:
        case STORE_REMOVE:
                break;
        }
}

static int on_finished(int fd, unsigned events, void *userdata)
{
        Store *s = userdata;
        List done = LIST_INIT(done);
        eventfd_t count;
        if (eventfd_read(fd, &count) < 0 && errno != EAGAIN)
                return -errno;
        store_thread_collect(s->thread, &done);
        for (List *i; (i = list_first(&done));) {
                StoreOp *op = LIST_ENTRY(i, StoreOp, link);
                list_remove(i);
                s->waiting_bytes -= store_op_size(op);
                s->waiting -= op->request == STORE_APPEND;
                call_back(op);
                if (op->request == STORE_APPEND && op->error == 0 && s->watch)
                        s->watch(&op->record, s->watch_userdata);
                store_op_free(op);
        }
        return 0;
}

static int on_flush(void *userdata)
{
        Store *s = userdata;
        store_thread_submit(s->thread, &s->turn);
        s->begins = true;
        return 0;
}

static int add_sources(Store *s, Loop *loop)
{
        s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->event_fd < 0)
                return -errno;
        int r = loop_add_io(loop, &s->finished, s->event_fd, LOOP_READ, LOOP_FATAL, on_finished, s);
        if (r < 0)
                return r;
        return loop_add_deferred(loop, &s->flush, LOOP_FATAL, on_flush, s);
}

int store_open(Loop *loop, const char *directory, uint64_t max_bytes, Store **ret)
{
        _cleanup_(store_freep) Store *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->event_fd = -1;
        s->begins = true;
        s->max_bytes = max_bytes;
        list_init(&s->turn);
        int r = add_sources(s, loop);
        if (r < 0)
                return log_error_errno(r, "Cannot watch the store");
        _cleanup_(store_db_freep) StoreDb *db = NULL;
        r = store_db_open(directory, max_bytes, &db);
        if (r < 0)
                return r;
        r = store_thread_new(TAKE_PTR(db), s->event_fd, &s->thread);
        if (r < 0)
                return log_error_errno(r, "Cannot start the store's thread");
        *ret = TAKE_PTR(s);
        return 0;
}

Store *store_free(Store *s)
{
        if (!s)
                return NULL;
        if (s->thread)
                store_thread_submit(s->thread, &s->turn);
        store_thread_free(s->thread);
        loop_source_free(s->finished);
        loop_source_free(s->flush);
        if (s->event_fd >= 0)
                close(s->event_fd);
        free(s);
        return NULL;
}

/* Deletions are outside of all groups: they go with whatever transaction comes. */
static int enqueue(Store *s, StoreOp *op)
{
        int r = loop_defer(s->flush);
        if (r < 0) {
                store_op_free(op);
                return r;
        }
        bool alone = op->request == STORE_READ || op->request == STORE_BARRIER;
        if (op->request != STORE_DELETE) {
                op->begins = s->begins || alone;
                s->begins = alone;
        }
        s->waiting += op->request == STORE_APPEND;
        s->waiting_bytes += store_op_size(op);
        s->asked = true;
        list_append(&s->turn, &op->link);
        return 0;
}

static int check_room(Store *s, size_t size)
{
        if (size > store_record_max(s->max_bytes))
                return -EMSGSIZE;
        if (s->waiting >= WAITING_MAX || s->waiting_bytes + size > WAITING_BYTES_MAX)
                return -ENOBUFS;
        return 0;
}

int store_append(Store *s, const StoreRecord *record, StoreDone done, void *userdata, StoreOp **ret)
{
        store_group(s);
        int r = check_room(s, store_record_size(record));
        if (r < 0) {
                s->refused++;
                return r;
        }
        StoreOp *op = store_op_new(STORE_APPEND, 0);
        if (!op)
                return -ENOMEM;
        op->done = done;
        op->userdata = userdata;
        r = store_record_copy(record, &op->record);
        if (r < 0) {
                store_op_free(op);
                return r;
        }
        op->record.id = 0;
        r = enqueue(s, op);
        if (r == 0 && ret)
                *ret = op;
        return r;
}

void store_op_cancel(StoreOp *op)
{
        if (op->request == STORE_READ)
                op->read_done = NULL;
        else
                op->done = NULL;
}

void store_watch(Store *s, StoreWatch watch, void *userdata)
{
        s->watch = watch;
        s->watch_userdata = userdata;
}

int store_read(Store *s, uint8_t kind, uint64_t after, size_t n, size_t max_bytes,
               StoreReadDone done, void *userdata, StoreOp **ret)
{
        StoreOp *op = store_op_new(STORE_READ, 0);
        if (!op)
                return -ENOMEM;
        op->read_done = done;
        op->userdata = userdata;
        op->kind = kind;
        op->after = after;
        op->n = n;
        op->max_bytes = max_bytes;
        int r = enqueue(s, op);
        if (r == 0 && ret)
                *ret = op;
        return r;
}

int store_delete(Store *s, const uint64_t *ids, size_t n)
{
        if (n == 0)
                return 0;
        StoreOp *op = store_op_new(STORE_DELETE, 0);
        if (!op)
                return -ENOMEM;
        op->ids = calloc(n, sizeof(*ids));
        if (!op->ids) {
                store_op_free(op);
                return -ENOMEM;
        }
        memcpy(op->ids, ids, n * sizeof(*ids));
        op->n_ids = n;
        return enqueue(s, op);
}

void store_group(Store *s)
{
        s->begins = true;
}

static int enqueue_value(Store *s, StoreRequest request, const StoreKey *key, Bytes value)
{
        if (key->kind == 0 || key->a > INT64_MAX || key->b > INT64_MAX)
                return -ERANGE;
        if (value.len > store_record_max(s->max_bytes))
                return -EMSGSIZE;
        StoreOp *op = store_op_new(request, value.len);
        if (!op)
                return -ENOMEM;
        op->key[0] = key->kind;
        op->key[1] = key->a;
        op->key[2] = key->b;
        if (value.len > 0)
                memcpy(op->value, value.data, value.len);
        return enqueue(s, op);
}

int store_put(Store *s, const StoreKey *key, Bytes value)
{
        return enqueue_value(s, STORE_PUT, key, value);
}

int store_remove(Store *s, const StoreKey *key)
{
        return enqueue_value(s, STORE_REMOVE, key, BYTES(NULL, 0));
}

int store_barrier(Store *s, StoreDone done, void *userdata, StoreOp **ret)
{
        StoreOp *op = store_op_new(STORE_BARRIER, 0);
        if (!op)
                return -ENOMEM;
        op->done = done;
        op->userdata = userdata;
        int r = enqueue(s, op);
        if (r == 0 && ret)
                *ret = op;
        return r;
}

int store_each(Store *s, uint8_t kind, StoreEach each, void *userdata)
{
        if (s->asked)
                return -EBUSY;
        return store_thread_each(s->thread, kind, each, userdata);
}

uint64_t store_kept_max(const Store *s)
{
        return s->max_bytes / STORE_KEPT_SHARE;
}

void store_stats(Store *s, StoreStats *ret)
{
        store_thread_stats(s->thread, ret);
        ret->refused += s->refused;
}

uint64_t store_epoch(Store *s)
{
        return store_thread_epoch(s->thread);
}
