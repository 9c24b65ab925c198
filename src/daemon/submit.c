/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/submit.h"

#include <errno.h>

#include "base/list.h"
#include "base/log.h"
#include "daemon/admission.h"
#include "daemon/gateway.h"
#include "daemon/submissions.h"

struct Submissions {
        Gateway *gateway;
        List decided; /* tickets whose outcome is known without the disk */
        LoopSource *deferred;
};

struct SubmitTicket {
        List decided;
        SubmitOutcome outcome;
        StoreOp *op; /* while the store has it */
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
                SubmitTicket *t = LIST_ENTRY(node, SubmitTicket, decided);
                list_remove(&t->decided);
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
        int r = loop_add_deferred(g->loop, &s->deferred, LOOP_FATAL, answer_decided, s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Submissions *submissions_free(Submissions *s)
{
        if (!s)
                return NULL;
        for (List *node; (node = list_first(&s->decided));) {
                list_remove(node);
                free(LIST_ENTRY(node, SubmitTicket, decided));
        }
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

static void on_stored(int error, uint64_t id, void *userdata)
{
        SubmitTicket *t = userdata;
        if (t->done)
                t->done(outcome_of(error), t->userdata);
        free(t);
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
                    d->quarantined ? ", quarantined" : "");
}

static void decide_later(Submissions *s, SubmitTicket *t, SubmitOutcome outcome)
{
        t->outcome = outcome;
        list_append(&s->decided, &t->decided);
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
        return store_append(g->store, &record, on_stored, t, &t->op);
}

int gateway_submit(Gateway *g, const Submission *s, SubmitDone done, void *userdata,
                   SubmitTicket **ret_ticket)
{
        SubmitTicket *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        *t = (SubmitTicket){ .done = done, .userdata = userdata };
        list_init(&t->decided);

        SubmitOutcome outcome = judge(g, s);
        if (outcome == SUBMIT_STORED)
                outcome = outcome_of(hand_to_store(g, s, t));
        if (outcome == SUBMIT_STORED) {
                s->device->messages_in++;
                s->device->bytes_in += s->payload.len;
        } else {
                s->device->messages_refused++;
                log_refused(g, s->device, outcome);
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
