/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/crl-fetch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/trusted.h"
#include "platform/crypto.h"
#include "platform/file.h"
#include "platform/http.h"
#include "platform/job.h"

#define LIST_MAX  ((size_t)16 << 20)
#define FIRST     (2 * USEC_PER_SEC) /* after a start or a reload, up to */
#define RETRY_MIN USEC_PER_MIN

struct CrlFetch {
        Gateway *gateway;
        LoopSource *timer;
        Http *http;
        Job *job;         /* writes what came */
        bool handed_over; /* daemon/trusted has it */
        bool moved;       /* what is on its way is from another URL than the one of now */
        bool asked_etag;  /* whether another list is to be had than that of `etag` */
        char url[HTTP_URL_MAX];
        char etag[256];     /* of the list in force; "" when that is not known */
        char new_etag[256]; /* of the one that is on its way */
        unsigned failures;  /* in a row */
        usec_t fetched; /* CLOCK_BOOTTIME, when the server last confirmed or sent one; 0: never */
        Reason error;   /* of the last attempt, or "" */
};

/* A tenth more or less, so that gateways that were started together do not ask together. */
static usec_t about(usec_t span)
{
        return span - span / 10 + (usec_t)crypto_jitter() % (span / 5 + 1);
}

static void arm(CrlFetch *f, usec_t span)
{
        int r = loop_timer_arm_relative(f->timer, span);
        if (r < 0)
                log_warning_errno(r, "The revocation list is not fetched again, ignoring");
}

static void succeeded(CrlFetch *f)
{
        if (f->failures > 0)
                log_notice("The revocation list is to be had again");
        f->failures = 0;
        f->error.text[0] = 0;
        f->fetched = now_boottime();
        arm(f, about(f->gateway->settings->crl.interval));
}

static void failed(CrlFetch *f, const char *why)
{
        bool news = !streq(f->error.text, why);
        usec_t pause = RETRY_MIN << MIN(f->failures, 10U);
        f->failures++;
        reason_set(&f->error, 0, "%s", why);
        log_message(news ? LOG_WARNING : LOG_DEBUG, LOG_FIELDS({ "REASON", "revocation-list" }),
                    "The revocation list at %s is not taken, the one before stays: %s", f->url,
                    why);
        arm(f, about(MIN(pause, f->gateway->settings->crl.interval)));
}

/* ---- what came goes to a file, and from there to daemon/trusted ---- */

typedef struct Received {
        char *path;
        uint8_t *data;
        size_t len;
        int error;
} Received;

static void received_write(void *data)
{
        Received *r = data;
        r->error = file_write_atomic(r->path, BYTES(r->data, r->len), 0600);
}

static void received_free(void *data)
{
        Received *r = data;
        free(r->path);
        free(r->data);
        free(r);
}

/* What came may well be in force, but says nothing of the server that is to be asked now. */
static bool moved_on(CrlFetch *f)
{
        bool moved = f->moved;
        f->moved = false;
        if (moved)
                arm(f, 0);
        return moved;
}

static void on_taken(int error, const char *reason, void *userdata)
{
        CrlFetch *f = userdata;
        f->handed_over = false;
        if (moved_on(f))
                return;
        if (error < 0) {
                failed(f, reason);
                return;
        }
        memcpy(f->etag, f->new_etag, sizeof(f->etag));
        succeeded(f);
}

static void on_written(void *data, void *userdata)
{
        CrlFetch *f = userdata;
        const Received *r = data;
        char text[256];
        f->job = NULL;
        if (moved_on(f))
                return;
        int error = r->error;
        if (error == 0)
                error = gateway_trust_changed(f->gateway, r->path, on_taken, f);
        f->handed_over = error == 0;
        if (error == 0)
                return;
        snprintf(text, sizeof(text), "it cannot be kept: %s", strerror(-error));
        failed(f, text);
}

static int keep(CrlFetch *f, Bytes body)
{
        static const JobWork work = { received_write, received_free, on_written };
        Received *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->len = body.len;
        r->data = malloc(body.len);
        if (r->data)
                memcpy(r->data, body.data, body.len);
        if (asprintf(&r->path, "%s/" TRUSTED_FETCHED ".new",
                     f->gateway->settings->state_directory) < 0)
                r->path = NULL;
        int error = r->data && r->path
                            ? job_start(f->gateway->loop, "revocation", &work, r, f, &f->job)
                            : -ENOMEM;
        if (error < 0)
                received_free(r);
        return error;
}

static void on_answer(const HttpAnswer *a, void *userdata)
{
        CrlFetch *f = userdata;
        char text[256];
        f->http = NULL;
        if (!a->answered) {
                failed(f, a->reason);
        } else if (a->status == 304 && f->asked_etag) {
                succeeded(f);
        } else if (a->status != 200) {
                snprintf(text, sizeof(text), "the server answers with status %u", a->status);
                failed(f, text);
        } else if (a->body.len == 0) {
                failed(f, "the server sends nothing");
        } else {
                snprintf(f->new_etag, sizeof(f->new_etag), "%s",
                         strlen(a->etag) < sizeof(f->new_etag) ? a->etag : "");
                if (keep(f, a->body) < 0)
                        failed(f, "there is no memory for it");
        }
}

static int on_timer(void *userdata)
{
        CrlFetch *f = userdata;
        const Settings *s = f->gateway->settings;
        Reason reason;
        if (!s->crl.url || f->http || f->job || f->handed_over)
                return 0;
        const HttpRequest q = {
                .url = s->crl.url,
                .ca = s->crl.ca,
                .accept = "application/pkix-crl, application/x-pem-file, */*;q=0.5",
                .etag = f->etag[0] ? f->etag : NULL,
                .maximum = LIST_MAX,
        };
        f->asked_etag = q.etag != NULL;
        if (http_start(f->gateway->loop, &q, on_answer, f, &f->http, &reason) < 0)
                failed(f, reason.text);
        return 0;
}

void crl_fetch_reloaded(CrlFetch *f)
{
        const Settings *s = f->gateway->settings;
        f->etag[0] = '\0'; /* the list in force is that of the file, which may be gone */
        if (!streq(strempty(s->crl.url), f->url)) {
                snprintf(f->url, sizeof(f->url), "%s", strempty(s->crl.url));
                f->http = http_cancel(f->http);
                f->moved = f->job || f->handed_over;
                f->error.text[0] = 0;
                f->fetched = 0;
                f->failures = 0;
        }
        if (s->crl.url)
                arm(f, (usec_t)crypto_jitter() % FIRST);
}

int crl_fetch_new(Gateway *g, CrlFetch **ret)
{
        _cleanup_(crl_fetch_freep) CrlFetch *f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->gateway = g;
        int r = loop_add_timer(g->loop, &f->timer, LOOP_FATAL, on_timer, f);
        if (r < 0)
                return r;
        crl_fetch_reloaded(f);
        *ret = TAKE_PTR(f);
        return 0;
}

CrlFetch *crl_fetch_free(CrlFetch *f)
{
        if (!f)
                return NULL;
        http_cancel(f->http);
        job_cancel(f->job);
        loop_source_free(f->timer);
        free(f);
        return NULL;
}

json_t *crl_fetch_status(const CrlFetch *f)
{
        if (!f->url[0])
                return json_null();
        usec_t now = now_boottime();
        return json_pack("{s:s, s:o, s:s*}", "url", f->url, "fetched_seconds",
                         f->fetched == 0 ? json_null()
                                         : json_real((double)(now - f->fetched) / USEC_PER_SEC),
                         "error", f->error.text[0] ? f->error.text : NULL);
}
