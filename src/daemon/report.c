/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/report.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/gateway.h"
#include "daemon/report-internal.h"
#include "platform/boot-id.h"
#include "platform/crypto.h"
#include "platform/fiber.h"
#include "sallyport/attestation.h"

#define REPORT_TOPIC "rats/report"
#define NONCE_TOPIC  "rats/nonce"
/* A report that fails is tried again after this, twice as long each time. A verdict or a nonce that
 * comes meanwhile tries at once. */
#define RETRY_MIN USEC_PER_SEC
#define RETRY_MAX (64 * USEC_PER_SEC)

struct Reports {
        Gateway *gateway;
        LoopSource *deferred, *retry;
        Composition *current; /* one report at a time: it is made, then stored */
        ReportNonces nonces;
        ReportNonce asked; /* upstream's, until all that it asked for was shown; empty: none */
        size_t next;       /* device that has its turn: those before it had theirs last */
        bool wanted;       /* a report is due even if no device is */
        usec_t pause;      /* 0: the last report did not fail */
        usec_t retry_at;   /* CLOCK_BOOTTIME */
        uint8_t boot_id[BOOT_ID_SIZE];
};

static AttestRecord *record_at(const Gateway *g, size_t i)
{
        return attest_record(g->attest, registry_at(g->registry, i)->device->name);
}

static bool any_due(const Gateway *g)
{
        for (size_t i = 0; i < registry_size(g->registry); i++) {
                const AttestRecord *record = record_at(g, i);
                if (record && record->due)
                        return true;
        }
        return false;
}

static bool any_asked(const Gateway *g)
{
        for (size_t i = 0; i < registry_size(g->registry); i++) {
                const AttestRecord *record = record_at(g, i);
                if (record && record->asked)
                        return true;
        }
        return false;
}

/* Upstream wants to see all that there is now. What is judged later is not waited for: devices that
 * report on and on would keep upstream's next nonce waiting. */
static void next_nonce(Reports *r)
{
        if (r->asked.len > 0 || !report_nonces_next(&r->nonces, &r->asked))
                return;
        r->wanted = true;
        for (size_t i = 0; i < registry_size(r->gateway->registry); i++) {
                AttestRecord *record = record_at(r->gateway, i);
                if (record)
                        record->due = record->asked = true;
        }
}

/* ---- begin ---- */

/* Upstream's nonce proves to upstream that the report is fresh; a report that upstream has not
 * asked for carries one of the gateway's own. */
static int choose_nonce(const Reports *r, ReportNonce *ret)
{
        *ret = r->asked;
        if (ret->len > 0)
                return 0;
        ret->len = NONCE_DEFAULT;
        return crypto_random(ret->bytes, ret->len);
}

/* As many of those that are due as one report holds; the others first the next time. */
static int take_records(Reports *r, Composition *c)
{
        size_t n = registry_size(r->gateway->registry), first = r->next;
        for (size_t i = 0; i < n && c->n_records < RELAY_DEVICES_MAX; i++) {
                size_t at = (first + i) % n;
                AttestRecord *record = record_at(r->gateway, at);
                if (!record || !record->due)
                        continue;
                int k = composition_add(c, record);
                if (k < 0)
                        return k;
                record->due = record->asked = false;
                r->next = at + 1;
        }
        return 0;
}

/* What a report that failed was to show waits for the next one. */
static void give_back(const Composition *c)
{
        for (size_t i = 0; i < c->n_records; i++) {
                AttestRecord *record =
                        attest_record(c->reports->gateway->attest, c->records[i].device);
                if (!record)
                        continue;
                record->due = true;
                record->asked = record->asked || c->records[i].asked;
        }
}

static int compose(Reports *r, Composition **ret)
{
        _cleanup_(composition_freep) Composition *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->reports = r;
        int k = choose_nonce(r, &c->nonce);
        if (k >= 0)
                k = take_records(r, c);
        if (k < 0) {
                give_back(c);
                return k;
        }
        *ret = TAKE_PTR(c);
        return 0;
}

/* ---- end ---- */

/* One line when it begins to fail, one when it works again: the TPM may be away for long. */
static void failed(Reports *r, int error, const char *why)
{
        if (r->pause == 0)
                log_error_errno(error,
                                "Cannot make the attestation report for upstream, it is tried "
                                "again%s%s",
                                *why ? ": " : "", why);
        usec_t now = loop_now(r->gateway->loop);
        if (r->pause > 0 && now < r->retry_at)
                return; /* what failed came in between: the timer stands */
        r->pause = r->pause == 0 ? RETRY_MIN : MIN(2 * r->pause, RETRY_MAX);
        r->retry_at = usec_add(now, r->pause);
        if (loop_timer_arm(r->retry, r->retry_at) < 0)
                log_warning("There is no timer: the report waits for the next verdict");
}

static void succeeded(Reports *r)
{
        if (r->pause > 0)
                log_notice("Attestation reports for upstream are made again");
        r->pause = 0;
        loop_timer_disarm(r->retry);
        r->wanted = false;
        if (!any_asked(r->gateway))
                r->asked.len = 0;
        loop_defer(r->deferred); /* there may be more */
}

/* `c` is with the store, or failed. */
static void end(Reports *r, Composition *c, int error, const char *why)
{
        r->current = NULL;
        if (error < 0)
                give_back(c);
        composition_free(c);
        if (error < 0)
                failed(r, error, why);
        else
                succeeded(r);
}

static void on_stored(int error, uint64_t id, void *userdata)
{
        Composition *c = userdata;
        end(c->reports, c, error, "the store did not take it");
}

static int store_report(Gateway *g, Bytes report, Composition *c)
{
        StoreRecord record = {
                .kind = STORE_REPORT,
                .device = "",
                .topic = REPORT_TOPIC,
                .content_type = SALLYPORT_MEDIA_CMW_COSE,
                .posture = "",
                .received = now_realtime(),
                .payload = report,
        };
        return store_append(g->store, &record, on_stored, c, NULL);
}

static void on_fiber(void *userdata)
{
        Composition *c = userdata;
        Reports *r = c->reports;
        _cleanup_buf_ Buf report = BUF_INIT(RELAY_SIZE_MAX);
        Reason reason = { "" };
        int k = composition_make(c, r->gateway, BYTES(r->boot_id, sizeof(r->boot_id)), &report,
                                 &reason);
        if (k >= 0)
                k = store_report(r->gateway, buf_view(&report), c);
        if (k < 0)
                end(r, c, k, reason.text);
        else
                c->storing = true;
}

static int on_turn(void *userdata)
{
        Reports *r = userdata;
        if (r->current)
                return 0;
        next_nonce(r);
        if (!r->wanted && !any_due(r->gateway))
                return 0;
        Composition *c = NULL;
        int k = compose(r, &c);
        if (k < 0) {
                failed(r, k, "");
                return 0;
        }
        r->current = c;
        if (fiber_spawn(on_fiber, c) < 0)
                end(r, c, -ENOMEM, "");
        return 0;
}

/* ---- the doors ---- */

void report_device(Gateway *g, AttestRecord *record)
{
        record->due = true;
        loop_defer(g->reports->deferred);
}

static void on_nonce(const char *topic, const MqttClientMessage *message, void *userdata)
{
        Reports *r = userdata;
        if (report_nonces_take(&r->nonces, message->payload, message->retained,
                               loop_now(r->gateway->loop)))
                loop_defer(r->deferred);
}

int reports_new(Gateway *g, Reports **ret)
{
        _cleanup_(reports_freep) Reports *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->gateway = g;
        report_nonces_init(&r->nonces);
        boot_id_read(r->boot_id);
        int k = loop_add_deferred(g->loop, &r->deferred, LOOP_FATAL, on_turn, r);
        if (k >= 0)
                k = loop_add_timer(g->loop, &r->retry, LOOP_FATAL, on_turn, r);
        if (k >= 0 && g->uplink)
                k = uplink_subscribe(g->uplink, "gateway/" NONCE_TOPIC, on_nonce, r);
        if (k < 0)
                return k;
        *ret = TAKE_PTR(r);
        return 0;
}

/* The store is closed, and calls nobody any more. A report that the TPM is at stays with its
 * fiber. */
Reports *reports_free(Reports *r)
{
        if (!r)
                return NULL;
        if (r->current && r->current->storing)
                composition_free(r->current);
        loop_source_free(r->deferred);
        loop_source_free(r->retry);
        free(r);
        return NULL;
}
