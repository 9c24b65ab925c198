/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/conntrack-thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/list.h"
#include "base/log.h"

/* How often CONNTRACK_FOUND_MAX connections: an address cannot keep the thread for itself. */
#define ROUNDS_MAX 16

/* Of an address; in the list and in the map until it is done or held. */
typedef struct Job {
        List node;
        uint8_t key[17]; /* family, address */
        bool running;    /* the thread frees it */
        bool held;
        size_t n_keep;
        ConntrackPeer keep[];
} Job;

struct ConntrackThread {
        Conntrack *conntrack; /* the thread's alone */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        List jobs;
        Hashmap *by_address;
        bool stopping;
};

static bool is_held(ConntrackThread *t, const Job *j)
{
        bool held;

        pthread_mutex_lock(&t->lock);
        held = j->held;
        pthread_mutex_unlock(&t->lock);
        return held;
}

/* What was found before it was looked whether the job is held began before that, too. */
static int forget_some(ConntrackThread *t, const Job *j, bool *ret_more)
{
        _cleanup_conntrack_found_ ConntrackFound found = { 0 };
        int r = conntrack_find(t->conntrack, j->key[0], j->key + 1, j->keep, j->n_keep, &found);

        if (r < 0)
                return r;
        *ret_more = found.more && !is_held(t, j);
        return is_held(t, j) ? 0 : conntrack_delete(t->conntrack, &found);
}

/* The filter drops the packets of these connections all the same. */
static void forget(ConntrackThread *t, const Job *j)
{
        char text[INET6_ADDRSTRLEN] = "?";
        bool more = true;
        int r = 0;

        for (unsigned i = 0; i < ROUNDS_MAX && r == 0 && more; i++)
                r = forget_some(t, j, &more);
        if (r == 0 && more)
                r = -EAGAIN;
        if (r == 0)
                return;
        inet_ntop(j->key[0] == 4 ? AF_INET : AF_INET6, j->key + 1, text, sizeof(text));
        log_warning_errno(r, "Cannot delete the connections of %s, ignoring", text);
}

static void take_out(ConntrackThread *t, Job *j)
{
        list_remove(&j->node);
        hashmap_remove(t->by_address, BYTES(j->key, sizeof(j->key)));
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
                j->running = true;
        }
        pthread_mutex_unlock(&t->lock);
        return j;
}

static void *thread_main(void *userdata)
{
        ConntrackThread *t = userdata;
        Job *j;

        while ((j = next_job(t))) {
                forget(t, j);
                pthread_mutex_lock(&t->lock);
                if (!j->held)
                        take_out(t, j);
                pthread_mutex_unlock(&t->lock);
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
        t->by_address = hashmap_new();
        r = t->by_address ? conntrack_open(&t->conntrack) : -ENOMEM;
        if (r == 0)
                r = start(t);
        if (r < 0) {
                hashmap_free(t->by_address);
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
        hashmap_free(t->by_address);
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->lock);
        conntrack_free(t->conntrack);
        free(t);
        return NULL;
}

static void make_key(uint8_t ret[static 17], uint8_t family, const uint8_t *address)
{
        memset(ret, 0, 17);
        ret[0] = family;
        memcpy(ret + 1, address, family == 4 ? 4 : 16);
}

static bool hold(ConntrackThread *t, Bytes key)
{
        Job *j = hashmap_get(t->by_address, key);

        if (!j)
                return false;
        take_out(t, j);
        j->held = true;
        if (!j->running)
                free(j);
        return true;
}

bool conntrack_thread_hold(ConntrackThread *t, uint8_t family, const uint8_t *address)
{
        uint8_t key[17];
        bool held;

        make_key(key, family, address);
        pthread_mutex_lock(&t->lock);
        held = hold(t, BYTES(key, sizeof(key)));
        pthread_mutex_unlock(&t->lock);
        return held;
}

int conntrack_thread_forget(ConntrackThread *t, uint8_t family, const uint8_t *address,
                            const ConntrackPeer *keep, size_t n_keep)
{
        Job *j = calloc(1, sizeof(*j) + n_keep * sizeof(*keep));
        int r;

        if (!j)
                return -ENOMEM;
        make_key(j->key, family, address);
        j->n_keep = n_keep;
        if (n_keep > 0)
                memcpy(j->keep, keep, n_keep * sizeof(*keep));
        pthread_mutex_lock(&t->lock);
        hold(t, BYTES(j->key, sizeof(j->key)));
        r = hashmap_put(t->by_address, BYTES(j->key, sizeof(j->key)), j);
        if (r == 0)
                list_append(&t->jobs, &j->node);
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->lock);
        if (r < 0)
                free(j);
        return r;
}
