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
        List storing; /* tickets that the store has */
};

struct SubmitTicket {
        Gateway *gateway;
        char device[DEVICE_NAME_MAX + 1]; /* it may be gone before the disk has answered */
        size_t len;
        bool will;
        List link;
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

int submissions_new(Gateway *g, Submissions **ret)
{
        _cleanup_(submissions_freep) Submissions *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->gateway = g;
        list_init(&s->storing);
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
        free_tickets(&s->storing);
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
        if (s->will) /* an expired verdict denies it nothing; the operator does */
                return d->quarantined || d->revoked ? SUBMIT_DENIED : SUBMIT_STORED;
        if (!(d->device->class->telemetry & 1U << device_state_effective(d)))
                return SUBMIT_DENIED;
        if (!s->charged && !quota_charge(&d->quota, s->payload.len, loop_now(g->loop)))
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
        if (d && (outcome == SUBMIT_STORED || !t->will))
                count(t->gateway, d, outcome, t->len);
        if (t->done)
                t->done(outcome, t->userdata);
        free(t);
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

static SubmitTicket *ticket_new(Gateway *g, const Submission *s, SubmitDone done, void *userdata)
{
        SubmitTicket *t = calloc(1, sizeof(*t));
        if (!t)
                return NULL;
        *t = (SubmitTicket){
                .gateway = g,
                .len = s->payload.len,
                .will = s->will,
                .done = done,
                .userdata = userdata,
        };
        snprintf(t->device, sizeof(t->device), "%s", s->device->device->name);
        list_init(&t->link);
        return t;
}

SubmitOutcome gateway_submit(Gateway *g, const Submission *s, SubmitDone done, void *userdata,
                             SubmitTicket **ret_ticket)
{
        _cleanup_free_ SubmitTicket *t = ticket_new(g, s, done, userdata);
        SubmitOutcome outcome = t ? judge(g, s) : SUBMIT_FAILED;
        if (outcome == SUBMIT_STORED)
                outcome = outcome_of(hand_to_store(g, s, t));
        if (!s->will)
                s->device->last_seen = loop_now(g->loop);
        if (outcome != SUBMIT_STORED) {
                if (!s->will) /* it comes again */
                        count(g, s->device, outcome, s->payload.len);
                return outcome;
        }
        if (ret_ticket)
                *ret_ticket = t;
        TAKE_PTR(t);
        return SUBMIT_STORED;
}

usec_t gateway_charge(Gateway *g, DeviceState *d, size_t len)
{
        usec_t now = loop_now(g->loop), delay = quota_delay(&d->quota, len, now);
        if (delay == 0)
                quota_charge(&d->quota, len, now);
        return delay;
}

void submit_ticket_cancel(SubmitTicket *t)
{
        if (t)
                t->done = NULL;
}
