/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A device that lost the answer to its report sends the same bytes in a new message. It hears what
 * it would have heard: nothing is verified again, no verdict lasts longer, upstream hears nothing
 * new. Other bytes with a nonce that was used are not fresh, whoever sends them. */
#include <stdio.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/attest-internal.h"
#include "daemon/gateway.h"
#include "platform/crypto.h"

/* Without memory the sender hears that this gateway could not, which is true. */
static void take_answer(EvidenceTicket *t, EvidenceOutcome outcome, Posture posture,
                        const char *reason, Bytes ear)
{
        t->origin = ORIGIN_REPEATED;
        t->outcome = outcome;
        t->posture = posture;
        snprintf(t->verdict.reason, sizeof(t->verdict.reason), "%s", reason);
        t->step = STEP_ANSWER;
        if (ear.len > 0 && !(t->record->ear = bytes_to_str(ear)))
                attest_decide(t, EVIDENCE_FAILED, "out of memory");
}

/* Its nonce is used up by the other, and the device has not been answered yet. */
static EvidenceTicket *find_under_way(const EvidenceTicket *t)
{
        LIST_FOREACH (node, &t->attest->in_flight) {
                EvidenceTicket *other = LIST_ENTRY(node, EvidenceTicket, in_flight);
                if (other != t && other->device == t->device && other->origin == ORIGIN_SENT &&
                    other->record->nonce_len > 0 &&
                    memcmp(other->digest, t->digest, sizeof(t->digest)) == 0)
                        return other;
        }
        return NULL;
}

static int digest(const AttestRecord *r, uint8_t ret[static REPLAY_DIGEST])
{
        _cleanup_buf_ Buf b = BUF_INIT(r->evidence_len + sizeof(r->content_format));
        int k = buf_append(&b, BYTES(&r->content_format, sizeof(r->content_format)));
        if (k >= 0)
                k = buf_append(&b, BYTES(r->evidence, r->evidence_len));
        return k < 0 ? k : crypto_sha256(buf_view(&b), ret);
}

bool attest_repeats(EvidenceTicket *t)
{
        const char *name = t->record->device;
        usec_t now = loop_now(t->attest->gateway->loop);
        if (digest(t->record, t->digest) < 0) {
                attest_decide(t, EVIDENCE_FAILED, "the gateway could not appraise");
                return true;
        }
        t->first = find_under_way(t);
        const ReplayAnswer *a =
                t->first ? NULL : replays_find(t->attest->replays, name, t->digest, now);
        if (t->first)
                t->step = STEP_FOLLOW;
        else if (a)
                take_answer(t, (EvidenceOutcome)a->outcome, a->posture, a->reason, a->result);
        else
                return false;
        log_message(LOG_DEBUG, LOG_FIELDS({ "DEVICE", name }),
                    "%s sent the same evidence again: it is answered as before", name);
        return true;
}

static void keep(EvidenceTicket *t, const EvidenceResult *result)
{
        ReplayAnswer a = { .outcome = (int)result->outcome,
                           .posture = result->posture,
                           .result = result->ear };
        snprintf(a.reason, sizeof(a.reason), "%s", result->reason);
        int r = replays_keep(t->attest->replays, t->record->device, t->digest, &a,
                             loop_now(t->attest->gateway->loop), t->expires);
        if (r < 0)
                log_message_errno(LOG_WARNING, r, LOG_FIELDS({ "DEVICE", t->record->device }),
                                  "The answer to %s cannot be kept, ignoring", t->record->device);
}

void attest_answered(EvidenceTicket *t, const EvidenceResult *result)
{
        LIST_FOREACH (node, &t->attest->in_flight) {
                EvidenceTicket *other = LIST_ENTRY(node, EvidenceTicket, in_flight);
                if (other->step == STEP_FOLLOW && other->first == t)
                        take_answer(other, result->outcome, result->posture, result->reason,
                                    result->ear);
        }
        if (t->device && t->origin == ORIGIN_SENT && t->record->nonce_len > 0)
                keep(t, result);
}
