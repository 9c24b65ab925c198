/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/conntrack-thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"

/* How often CONNTRACK_FORGET_MAX connections: an address cannot keep the thread for itself. */
#define ROUNDS_MAX 16

typedef struct Job {
        List node;
        uint8_t family;
        uint8_t address[16];
} Job;

struct ConntrackThread {
        Conntrack *conntrack; /* the thread's alone */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        List jobs;
        bool stopping;
};

/* The filter drops the packets of these connections all the same. */
static void forget(Conntrack *c, const Job *j)
{
        char text[INET6_ADDRSTRLEN] = "?";
        size_t deleted;
        int r = -EAGAIN;

        for (unsigned i = 0; i < ROUNDS_MAX && r == -EAGAIN; i++)
                r = conntrack_forget(c, j->family, j->address, &deleted);
        if (r == 0)
                return;
        inet_ntop(j->family == 4 ? AF_INET : AF_INET6, j->address, text, sizeof(text));
        log_warning_errno(r, "Cannot delete the connections of %s, ignoring", text);
}

/* The next job; NULL at the end. */
static Job *next_job(ConntrackThread *t)
{
        Job *j = NULL;

        pthread_mutex_lock(&t->lock);
        while (!t->stopping && list_empty(&t->jobs))
                pthread_cond_wait(&t->wake, &t->lock);
        if (!t->stopping) {
                j = LIST_ENTRY(t->jobs.next, Job, node);
                list_remove(&j->node);
        }
        pthread_mutex_unlock(&t->lock);
        return j;
}

static void *thread_main(void *userdata)
{
        ConntrackThread *t = userdata;
        Job *j;

        while ((j = next_job(t))) {
                forget(t->conntrack, j);
                free(j);
        }
        return NULL;
}

/* No signal is ever delivered here: the loop's signal sources need them blocked. */
static int start(ConntrackThread *t)
{
        sigset_t all, before;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&t->thread, NULL, thread_main, t);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}

int conntrack_thread_new(ConntrackThread **ret)
{
        ConntrackThread *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        list_init(&t->jobs);
        pthread_mutex_init(&t->lock, NULL);
        pthread_cond_init(&t->wake, NULL);
        r = conntrack_open(&t->conntrack);
        if (r == 0)
                r = start(t);
        if (r < 0) {
                conntrack_free(t->conntrack);
                free(t);
                return r;
        }
        *ret = t;
        return 0;
}

ConntrackThread *conntrack_thread_free(ConntrackThread *t)
{
        if (!t)
                return NULL;
        pthread_mutex_lock(&t->lock);
        t->stopping = true;
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->thread, NULL);
        LIST_FOREACH_SAFE (i, &t->jobs)
                free(LIST_ENTRY(i, Job, node));
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->lock);
        conntrack_free(t->conntrack);
        free(t);
        return NULL;
}

int conntrack_thread_forget(ConntrackThread *t, uint8_t family, const uint8_t *address)
{
        Job *j = calloc(1, sizeof(*j));

        if (!j)
                return -ENOMEM;
        j->family = family;
        memcpy(j->address, address, family == 4 ? 4 : 16);
        pthread_mutex_lock(&t->lock);
        list_append(&t->jobs, &j->node);
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->lock);
        return 0;
}
