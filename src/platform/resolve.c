/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

/* What thread and loop share. A cancelled getaddrinfo() cannot be ended: the thread runs on with
 * its own reference and whoever is last frees this. */
typedef struct Job {
        atomic_uint refs;
        atomic_bool answered; /* what is below is complete */
        int event_fd;
        char *host;
        char port[8];
        int gai, system; /* the outcome */
        struct sockaddr_storage addresses[RESOLVE_ADDRESSES];
        size_t n;
} Job;

struct Resolve {
        Job *job;
        LoopSource *source;
        ResolveDone done;
        void *userdata;
};

static atomic_uint threads_running;

static void job_unref(Job *j)
{
        if (!j || atomic_fetch_sub(&j->refs, 1) > 1)
                return;
        if (j->event_fd >= 0)
                close(j->event_fd);
        free(j->host);
        free(j);
}

static void look_up(Job *j, int flags)
{
        struct addrinfo hints = {
                .ai_family = AF_UNSPEC,
                .ai_socktype = SOCK_STREAM,
                .ai_flags = AI_NUMERICSERV | flags,
        };
        struct addrinfo *list = NULL;
        j->gai = getaddrinfo(j->host, j->port, &hints, &list);
        j->system = errno;
        if (j->gai != 0)
                return;
        for (struct addrinfo *i = list; i && j->n < RESOLVE_ADDRESSES; i = i->ai_next)
                memcpy(&j->addresses[j->n++], i->ai_addr, i->ai_addrlen);
        freeaddrinfo(list);
}

static int tell(Job *j)
{
        atomic_store(&j->answered, true);
        return eventfd_write(j->event_fd, 1) < 0 ? -errno : 0;
}

static void *thread_main(void *userdata)
{
        Job *j = userdata;
        pthread_setname_np(pthread_self(), "resolve");
        look_up(j, AI_ADDRCONFIG);
        tell(j);
        job_unref(j);
        atomic_fetch_sub(&threads_running, 1);
        return NULL;
}

static int start_thread(Job *j)
{
        if (atomic_fetch_add(&threads_running, 1) >= RESOLVE_THREADS_MAX) {
                atomic_fetch_sub(&threads_running, 1);
                return -EBUSY;
        }
        sigset_t all, before;
        pthread_attr_t attr;
        pthread_t thread;
        sigfillset(&all);
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        atomic_fetch_add(&j->refs, 1);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int r = pthread_create(&thread, &attr, thread_main, j);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attr);
        if (r != 0) {
                atomic_fetch_sub(&threads_running, 1);
                job_unref(j);
        }
        return -r;
}

static int outcome(const Job *j)
{
        switch (j->gai) {
        case 0:
                return j->n > 0 ? 0 : -ENOENT;
        case EAI_NONAME:
        case EAI_NODATA:
        case EAI_ADDRFAMILY:
                return -ENOENT;
        case EAI_AGAIN:
                return -EAGAIN;
        case EAI_MEMORY:
                return -ENOMEM;
        case EAI_SYSTEM:
                return j->system > 0 ? -j->system : -EIO;
        default:
                return -EIO;
        }
}

static int on_answer(int fd, unsigned events, void *userdata)
{
        Resolve *r = userdata;
        if (!atomic_load(&r->job->answered))
                return 0;
        Job *j = TAKE_PTR(r->job);
        ResolveDone done = r->done;
        void *done_userdata = r->userdata;
        resolve_cancel(r);
        int error = outcome(j);
        const char *reason = j->gai == EAI_SYSTEM ? strerror(j->system) : gai_strerror(j->gai);
        done(error, reason, j->addresses, error == 0 ? j->n : 0, done_userdata);
        job_unref(j);
        return 0;
}

static Job *job_new(const char *host, uint16_t port)
{
        Job *j = calloc(1, sizeof(*j));
        if (!j)
                return NULL;
        j->refs = 1;
        snprintf(j->port, sizeof(j->port), "%u", port);
        j->host = strdup(host);
        j->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (j->host && j->event_fd >= 0)
                return j;
        job_unref(j);
        return NULL;
}

int resolve_start(Loop *l, const char *host, uint16_t port, ResolveDone done, void *userdata,
                  Resolve **ret)
{
        Resolve *q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->done = done;
        q->userdata = userdata;
        q->job = job_new(host, port);
        int r = q->job ? loop_add_io(l, &q->source, q->job->event_fd, LOOP_READ, LOOP_PEER,
                                     on_answer, q)
                       : -ENOMEM;
        if (r == 0) {
                look_up(q->job, AI_NUMERICHOST); /* never asks anybody */
                if (q->job->gai == 0)
                        r = tell(q->job);
                else
                        r = start_thread(q->job);
        }
        if (r < 0) {
                resolve_cancel(q);
                return r;
        }
        *ret = q;
        return 0;
}

Resolve *resolve_cancel(Resolve *r)
{
        if (!r)
                return NULL;
        loop_source_free(r->source);
        job_unref(r->job);
        free(r);
        return NULL;
}
