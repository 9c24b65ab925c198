/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A list that somebody fetched: read on a thread, taken into force on the loop. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/trusted-internal.h"

/* The settings may change while the thread reads: it has copies of what they name. */
typedef struct Fetch {
        char *authorities, *path, *keep;
        char **lists;
        size_t n_lists;
        Trust *before; /* in force when it began */
        unsigned generation;
        TrustedDone done;
        void *userdata;
        /* The outcome. */
        int error;
        Reason reason;
        Trust *trust;
} Fetch;

static void fetch_free(void *data)
{
        Fetch *f = data;
        for (size_t i = 0; f->lists && i < f->n_lists; i++)
                free(f->lists[i]);
        free(f->lists);
        free(f->authorities);
        free(f->path);
        free(f->keep);
        trust_unref(f->trust);
        trust_unref(f->before);
        free(f);
}

static bool fill(Fetch *f, const Settings *s, const char *path)
{
        f->authorities = strdup(s->devices_ca);
        f->path = strdup(path);
        f->keep = trusted_fetched_path(s);
        f->lists = calloc(s->devices_crl.n + 1, sizeof(*f->lists));
        if (!f->authorities || !f->path || !f->keep || !f->lists)
                return false;
        for (; f->n_lists < s->devices_crl.n; f->n_lists++)
                if (!(f->lists[f->n_lists] = strdup(s->devices_crl.words[f->n_lists])))
                        return false;
        return true;
}

static Fetch *fetch_new(const Settings *s, const char *path)
{
        Fetch *f = calloc(1, sizeof(*f));
        if (f && fill(f, s, path))
                return f;
        if (f)
                fetch_free(f);
        return NULL;
}

/* So that it counts after a restart too. */
static int keep(const Fetch *f)
{
        _cleanup_close_ int fd = open(f->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return -errno;
        if (strcmp(f->path, f->keep) != 0 && rename(f->path, f->keep) < 0)
                return -errno;
        return 0;
}

/* An old list is signed as well as a new one: whoever stands between could let those in again who
 * were revoked since. The same goes for one list of several that is old, or left out. */
static int check_age(Fetch *f)
{
        const char *word = trust_goes_back(f->trust, f->before);
        return word ? reason_set(&f->reason, -ESTALE, "%s %s", f->path, word) : 0;
}

static void run(void *data)
{
        Fetch *f = data;
        const TrustFiles files = { .authorities = f->authorities,
                                   .lists = (const char *const *)f->lists,
                                   .n_lists = f->n_lists,
                                   .fetched = f->path,
                                   .fresh = true };
        f->error = trust_new(&files, &f->reason, &f->trust);
        if (f->error == 0)
                f->error = check_age(f);
        if (f->error < 0)
                return;
        f->error = keep(f);
        if (f->error < 0)
                reason_set(&f->reason, f->error, "%s cannot become %s: %s", f->path, f->keep,
                           strerror(-f->error));
}

static int start(Gateway *g, const char *path, TrustedDone done, void *userdata);

/* One line for each new list, not for each time that the same was fetched. */
static void take(Trusted *t, usec_t before)
{
        TrustFacts now;
        trusted_commit(t);
        trust_facts(trusted_now(t), now_realtime(), &now);
        if (now.fetched != before)
                log_notice("A fetched revocation list is in force: lists %zu, revoked %zu",
                           now.lists, now.revoked);
}

static void on_read(void *data, void *userdata)
{
        Fetch *f = data;
        Trusted *t = userdata;
        const Settings *s = t->gateway->settings;
        TrustFacts before;
        t->job = NULL;
        trust_facts(trusted_now(t), now_realtime(), &before);
        /* A reload came in between, which may have read the file or not. */
        if (f->error == 0 && f->generation != t->generation) {
                f->error = start(t->gateway, f->keep, f->done, f->userdata);
                if (f->error == 0)
                        return;
                reason_set(&f->reason, f->error, "no thread to read it again");
        } else if (f->error == 0) {
                f->error = trusted_take(t, f->trust, s->mqtt.minimum_tls == TLS_MINIMUM_1_3,
                                        &f->reason);
        }
        if (f->error == 0)
                take(t, before.fetched);
        else
                log_message(LOG_ERR, LOG_FIELDS({ "REASON", "list-refused" }),
                            "The fetched revocation list is not taken, what was in force stays: %s",
                            f->reason.text);
        if (f->done)
                f->done(f->error, f->error == 0 ? "" : f->reason.text, f->userdata);
}

static const JobWork work = { .run = run, .free = fetch_free, .done = on_read };

static int start(Gateway *g, const char *path, TrustedDone done, void *userdata)
{
        Trusted *t = g->trusted;
        Fetch *f = fetch_new(g->settings, path);
        if (!f)
                return -ENOMEM;
        f->before = trust_ref(t->now);
        f->generation = t->generation;
        f->done = done;
        f->userdata = userdata;
        int r = job_start(g->loop, "trust", &work, f, t, &t->job);
        if (r < 0)
                fetch_free(f);
        return r;
}

int gateway_trust_changed(Gateway *g, const char *path, TrustedDone done, void *userdata)
{
        return g->trusted->job ? -EBUSY : start(g, path, done, userdata);
}
