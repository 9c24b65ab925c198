/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reference values that change while verdicts by others are in force. The evidence that earned a
 * verdict is kept with it: judged once more it tells who is concerned, so that everybody else is
 * left alone. Only for the worse: to be trusted more takes a fresh report. */
#include "base/log.h"
#include "base/str.h"
#include "daemon/attest-internal.h"
#include "daemon/gateway.h"

#define CHANGED "the reference values changed"

static bool worse(Posture now, Posture before)
{
        switch (before) {
        case POSTURE_AFFIRMING:
        case POSTURE_WARNING:
                return now > before || now == POSTURE_UNATTESTED;
        case POSTURE_UNATTESTED:
        case POSTURE_CONTRAINDICATED:
        case _POSTURE_MAX:
                break;
        }
        return false; /* there is nothing to lose */
}

/* By the reference values of now. Where the report cannot be believed any more, or not be judged,
 * there is no verdict: posture unattested. */
static void appraise_again(Attest *a, const Device *d, const AttestRecord *record, Verdict *ret)
{
        PsaEvidence evidence;
        const char *why = NULL;
        *ret = (Verdict){ .reason = "it could not be judged anew" };
        if (psa_evidence_read(BYTES(record->evidence, record->evidence_len), &evidence, &why) &&
            attest_appraise(a, d, &evidence, ret) >= 0 && !ret->authentic)
                ret->tier = AR4SI_NONE;
        verdict_preface(ret, CHANGED);
}

/* True with a verdict that is to replace the one on `record`, which came to `before`. */
static bool revise(Attest *a, const Device *d, AttestRecord *record, Posture before, Verdict *ret)
{
        if (record->references == a->generation)
                return false;
        record->references = a->generation;
        appraise_again(a, d, record, ret);
        return worse(verdict_posture(ret), before);
}

static void replace(EvidenceTicket *t, const Verdict *v)
{
        Gateway *g = t->attest->gateway;
        free(TAKE_PTR(t->record->ear));
        t->verdict = *v;
        t->posture = verdict_posture(v);
        if (t->posture != POSTURE_UNATTESTED)
                return attest_enforce(t);
        registry_set_posture(g->registry, t->device, t->posture, v->reason, USEC_INFINITY,
                             loop_now(g->loop));
        attest_decide(t, EVIDENCE_FAILED, t->verdict.reason);
}

void attest_review_ticket(EvidenceTicket *t)
{
        Verdict v;
        bool judged = t->step == STEP_SIGN || (t->step == STEP_ANSWER && !t->failure);
        if (judged && t->origin != ORIGIN_REPEATED && t->device &&
            revise(t->attest, t->device->device, t->record, t->posture, &v))
                replace(t, &v);
}

static void review_device(Attest *a, DeviceState *d)
{
        Bytes name = bytes_from_str(d->device->name);
        AttestRecord *record = hashmap_get(a->records, name);
        Verdict v;
        if (!record || !revise(a, d->device, record, d->posture, &v))
                return;
        hashmap_remove(a->records, name);
        replays_forget(a->replays, d->device->name);
        EvidenceTicket *t = attest_ticket_new(a, d, ORIGIN_REVIEWED, record);
        if (t) {
                t->expires = d->expires;
                replace(t, &v);
                return;
        }
        log_message(LOG_ERR, LOG_FIELDS({ "DEVICE", d->device->name }),
                    "Out of memory: the new verdict on %s is that there is none", d->device->name);
        registry_set_posture(a->gateway->registry, d, POSTURE_UNATTESTED, CHANGED, USEC_INFINITY,
                             loop_now(a->gateway->loop));
}

void attest_review(Attest *a)
{
        const Registry *r = a->gateway->registry;
        for (size_t i = 0; i < registry_size(r); i++)
                review_device(a, registry_at(r, i));
        loop_defer(a->deferred);
}
