/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "platform/job.h"

/* A cancelled getaddrinfo() cannot be ended: it runs on with what it was given. */
typedef struct Lookup {
        char *host;
        char port[8];
        int gai, system; /* the outcome */
        struct sockaddr_storage addresses[RESOLVE_ADDRESSES];
        size_t n;
} Lookup;

struct Resolve {
        Job *job;
        Lookup *numeric; /* answered already: the loop still has to turn */
        LoopSource *deferred;
        ResolveDone done;
        void *userdata;
};

static atomic_uint threads_running;

static void lookup_free(void *data)
{
        Lookup *l = data;
        if (l)
                free(l->host);
        free(l);
}

static void look_up(Lookup *l, int flags)
{
        struct addrinfo hints = {
                .ai_family = AF_UNSPEC,
                .ai_socktype = SOCK_STREAM,
                .ai_flags = AI_NUMERICSERV | flags,
        };
        struct addrinfo *list = NULL;
        l->gai = getaddrinfo(l->host, l->port, &hints, &list);
        l->system = errno;
        if (l->gai != 0)
                return;
        for (struct addrinfo *i = list; i && l->n < RESOLVE_ADDRESSES; i = i->ai_next)
                memcpy(&l->addresses[l->n++], i->ai_addr, i->ai_addrlen);
        freeaddrinfo(list);
}

static void run(void *data)
{
        look_up(data, AI_ADDRCONFIG);
        atomic_fetch_sub(&threads_running, 1);
}

static int outcome(const Lookup *l)
{
        switch (l->gai) {
        case 0:
                return l->n > 0 ? 0 : -ENOENT;
        case EAI_NONAME:
        case EAI_NODATA:
        case EAI_ADDRFAMILY:
                return -ENOENT;
        case EAI_AGAIN:
                return -EAGAIN;
        case EAI_MEMORY:
                return -ENOMEM;
        case EAI_SYSTEM:
                return l->system > 0 ? -l->system : -EIO;
        default:
                return -EIO;
        }
}

static void answer(const Lookup *l, ResolveDone done, void *userdata)
{
        int error = outcome(l);
        const char *reason = l->gai == EAI_SYSTEM ? strerror(l->system) : gai_strerror(l->gai);
        done(error, reason, l->addresses, error == 0 ? l->n : 0, userdata);
}

static void on_looked_up(void *data, void *userdata)
{
        Resolve *r = userdata;
        ResolveDone done = r->done;
        void *done_userdata = r->userdata;
        r->job = NULL;
        resolve_cancel(r);
        answer(data, done, done_userdata);
}

static int on_numeric(void *userdata)
{
        Resolve *r = userdata;
        Lookup *l = TAKE_PTR(r->numeric);
        ResolveDone done = r->done;
        void *done_userdata = r->userdata;
        resolve_cancel(r);
        answer(l, done, done_userdata);
        lookup_free(l);
        return 0;
}

static const JobWork work = { .run = run, .free = lookup_free, .done = on_looked_up };

static int start_thread(Loop *l, Resolve *q, Lookup *lookup)
{
        if (atomic_fetch_add(&threads_running, 1) >= RESOLVE_THREADS_MAX) {
                atomic_fetch_sub(&threads_running, 1);
                return -EBUSY;
        }
        int r = job_start(l, "resolve", &work, lookup, q, &q->job);
        if (r < 0)
                atomic_fetch_sub(&threads_running, 1);
        return r;
}

static int start_numeric(Loop *l, Resolve *q, Lookup *lookup)
{
        int r = loop_add_deferred(l, &q->deferred, LOOP_PEER, on_numeric, q);
        if (r >= 0)
                r = loop_defer(q->deferred);
        if (r >= 0)
                q->numeric = lookup;
        return r;
}

static Lookup *lookup_new(const char *host, uint16_t port)
{
        Lookup *l = calloc(1, sizeof(*l));
        if (!l)
                return NULL;
        snprintf(l->port, sizeof(l->port), "%u", port);
        l->host = strdup(host);
        if (l->host)
                return l;
        free(l);
        return NULL;
}

int resolve_start(Loop *l, const char *host, uint16_t port, ResolveDone done, void *userdata,
                  Resolve **ret)
{
        Resolve *q = calloc(1, sizeof(*q));
        Lookup *lookup = lookup_new(host, port);
        int r = -ENOMEM;
        if (q && lookup) {
                q->done = done;
                q->userdata = userdata;
                look_up(lookup, AI_NUMERICHOST); /* never asks anybody */
                r = lookup->gai == 0 ? start_numeric(l, q, lookup) : start_thread(l, q, lookup);
        }
        if (r < 0) {
                lookup_free(lookup);
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
        job_cancel(r->job);
        loop_source_free(r->deferred);
        lookup_free(r->numeric);
        free(r);
        return NULL;
}
