/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/submit.h"

#include <errno.h>
#include <stdio.h>

#include "base/list.h"
#include "base/log.h"
#include "daemon/admission.h"
#include "daemon/gateway.h"
#include "daemon/submissions.h"

struct Submissions {
        Gateway *gateway;
        List decided; /* tickets whose outcome is known without the disk */
        List storing; /* tickets that the store has */
        LoopSource *deferred;
};

struct SubmitTicket {
        Gateway *gateway;
        char device[DEVICE_NAME_MAX + 1]; /* it may be gone before the disk has answered */
        size_t len;
        List link;             /* in one of the two */
        SubmitOutcome outcome; /* once decided */
        SubmitDone done;
        void *userdata;
};

const char *submit_outcome_to_string(SubmitOutcome o)
{
        switch (o) {
        case SUBMIT_STORED:
                return "stored";
        case SUBMIT_DENIED:
                return "denied";
        case SUBMIT_QUOTA:
                return "quota-exceeded";
        case SUBMIT_FULL:
                return "store-full";
        case SUBMIT_FAILED:
                return "store-failed";
        case _SUBMIT_MAX:
                break;
        }
        return "unknown";
}

static int answer_decided(void *userdata)
{
        Submissions *s = userdata;
        for (List *node; (node = list_first(&s->decided));) {
                SubmitTicket *t = LIST_ENTRY(node, SubmitTicket, link);
                list_remove(&t->link);
                if (t->done)
                        t->done(t->outcome, t->userdata);
                free(t);
        }
        return 0;
}

int submissions_new(Gateway *g, Submissions **ret)
{
        _cleanup_(submissions_freep) Submissions *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->gateway = g;
        list_init(&s->decided);
        list_init(&s->storing);
        int r = loop_add_deferred(g->loop, &s->deferred, LOOP_FATAL, answer_decided, s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

static void free_tickets(List *tickets)
{
        for (List *node; (node = list_first(tickets));) {
                list_remove(node);
                free(LIST_ENTRY(node, SubmitTicket, link));
        }
}

Submissions *submissions_free(Submissions *s)
{
        if (!s)
                return NULL;
        free_tickets(&s->decided);
        free_tickets(&s->storing);
        loop_source_free(s->deferred);
        free(s);
        return NULL;
}

static SubmitOutcome outcome_of(int error)
{
        switch (error) {
        case 0:
                return SUBMIT_STORED;
        case -ENOSPC:
        case -ENOBUFS:
        case -EDQUOT:
                return SUBMIT_FULL;
        default:
                return SUBMIT_FAILED;
        }
}

/* Posture and quota: may this device hand over so much now? */
static SubmitOutcome judge(Gateway *g, const Submission *s)
{
        DeviceState *d = s->device;
        if (!(d->device->class->telemetry & 1U << device_state_effective(d)))
                return SUBMIT_DENIED;
        if (!quota_charge(&d->quota, s->payload.len, loop_now(g->loop)))
                return SUBMIT_QUOTA;
        return SUBMIT_STORED;
}

/* A device that sends on and on must not fill the journal, nor may it hush another one. */
static void log_refused(Gateway *g, DeviceState *d, SubmitOutcome outcome)
{
        if (!gateway_may_log(g, d))
                return;
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", d->device->name },
                               { "REASON", submit_outcome_to_string(outcome) },
                               { "POSTURE", posture_to_string(device_state_effective(d)) }),
                    "A message of %s was not taken: %s (posture %s%s)", d->device->name,
                    submit_outcome_to_string(outcome), posture_to_string(d->posture),
                    d->quarantined ? ", quarantined"
                    : d->revoked   ? ", its certificate revoked"
                                   : "");
}

static void count(Gateway *g, DeviceState *d, SubmitOutcome outcome, size_t len)
{
        if (outcome == SUBMIT_STORED) {
                d->messages_in++;
                d->bytes_in += len;
        } else {
                d->messages_refused++;
                log_refused(g, d, outcome);
        }
}

static void on_stored(int error, uint64_t id, void *userdata)
{
        SubmitTicket *t = userdata;
        SubmitOutcome outcome = outcome_of(error);
        DeviceState *d = registry_get(t->gateway->registry, t->device);
        list_remove(&t->link);
        if (d)
                count(t->gateway, d, outcome, t->len);
        if (t->done)
                t->done(outcome, t->userdata);
        free(t);
}

static void decide_later(Submissions *s, SubmitTicket *t, SubmitOutcome outcome)
{
        t->outcome = outcome;
        list_append(&s->decided, &t->link);
        loop_defer(s->deferred);
}

static int hand_to_store(Gateway *g, const Submission *s, SubmitTicket *t)
{
        StoreRecord record = {
                .kind = STORE_TELEMETRY,
                .device = s->device->device->name,
                .topic = s->topic,
                .content_type = s->content_type,
                .posture = posture_to_string(s->device->posture),
                .received = now_realtime(),
                .payload = s->payload,
        };
        int r = store_append(g->store, &record, on_stored, t, NULL);
        if (r == 0)
                list_append(&g->submissions->storing, &t->link);
        return r;
}

int gateway_submit(Gateway *g, const Submission *s, SubmitDone done, void *userdata,
                   SubmitTicket **ret_ticket)
{
        SubmitTicket *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        *t = (SubmitTicket){
                .gateway = g, .len = s->payload.len, .done = done, .userdata = userdata
        };
        snprintf(t->device, sizeof(t->device), "%s", s->device->device->name);
        list_init(&t->link);

        SubmitOutcome outcome = judge(g, s);
        if (outcome == SUBMIT_STORED)
                outcome = outcome_of(hand_to_store(g, s, t));
        if (outcome != SUBMIT_STORED) {
                count(g, s->device, outcome, s->payload.len);
                decide_later(g->submissions, t, outcome);
        }
        s->device->last_seen = loop_now(g->loop);
        if (ret_ticket)
                *ret_ticket = t;
        return 0;
}

void submit_ticket_cancel(SubmitTicket *t)
{
        if (t)
                t->done = NULL;
}
