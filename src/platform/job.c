/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/job.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "platform/thread.h"

/* What thread and loop share; whoever is last frees it. */
typedef struct Shared {
        atomic_uint refs;
        atomic_bool finished;
        int event_fd;
        char name[16];
        const JobWork *work;
        void *data;
} Shared;

struct Job {
        Shared *shared;
        LoopSource *source;
        void *userdata;
};

static void shared_unref(Shared *s)
{
        if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
                return;
        if (s->data)
                s->work->free(s->data);
        if (s->event_fd >= 0)
                close(s->event_fd);
        free(s);
}
DEFINE_CLEANUP(Shared, shared_unref)

static void *thread_main(void *userdata)
{
        Shared *s = userdata;
        pthread_setname_np(pthread_self(), s->name);
        s->work->run(s->data);
        atomic_store(&s->finished, true);
        eventfd_write(s->event_fd, 1);
        shared_unref(s);
        return NULL;
}

static int start_thread(Shared *s)
{
        atomic_fetch_add(&s->refs, 1);
        int r = thread_start(thread_main, s);
        if (r < 0)
                shared_unref(s);
        return r;
}

static int on_finished(int fd, unsigned events, void *userdata)
{
        Job *j = userdata;
        if (!atomic_load(&j->shared->finished))
                return 0;
        _cleanup_(shared_unrefp) Shared *s = TAKE_PTR(j->shared);
        void *done_userdata = j->userdata;
        job_cancel(j);
        s->work->done(s->data, done_userdata);
        return 0;
}

static Shared *shared_new(const char *name, const JobWork *work)
{
        Shared *s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->refs = 1;
        s->work = work;
        snprintf(s->name, sizeof(s->name), "%s", name);
        s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->event_fd < 0) {
                shared_unref(s);
                return NULL;
        }
        return s;
}

int job_start(Loop *loop, const char *name, const JobWork *work, void *data, void *userdata,
              Job **ret)
{
        _cleanup_(job_cancelp) Job *j = calloc(1, sizeof(*j));
        if (!j)
                return -ENOMEM;
        j->userdata = userdata;
        j->shared = shared_new(name, work);
        if (!j->shared)
                return -ENOMEM;
        int r = loop_add_io(loop, &j->source, j->shared->event_fd, LOOP_READ, LOOP_PEER,
                            on_finished, j);
        if (r < 0)
                return r;
        j->shared->data = data;
        r = start_thread(j->shared);
        if (r < 0) {
                j->shared->data = NULL;
                return r;
        }
        *ret = TAKE_PTR(j);
        return 0;
}

Job *job_join(Job *j)
{
        while (j && !atomic_load(&j->shared->finished)) {
                struct pollfd p = { .fd = j->shared->event_fd, .events = POLLIN };
                if (poll(&p, 1, -1) < 0 && errno != EINTR)
                        break;
        }
        return job_cancel(j);
}

Job *job_cancel(Job *j)
{
        if (!j)
                return NULL;
        loop_source_free(j->source);
        shared_unref(j->shared);
        free(j);
        return NULL;
}
