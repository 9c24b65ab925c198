/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the parts of attestation share: attest.c takes a report through its steps, attest-judge.c is
 * the first of them; attest-repeat.c knows evidence that comes again. */

#include "base/hashmap.h"
#include "base/list.h"
#include "base/ratelimit.h"
#include "daemon/evidence.h"
#include "domain/challenge.h"
#include "domain/replay.h"
#include "domain/verdict.h"
#include "platform/loop.h"

struct Attest {
        Gateway *gateway;
        Challenges *challenges;
        ReferenceSet *references;
        Hashmap *records; /* by device name */
        Replays *replays;
        List in_flight;
        size_t n_in_flight;
        LoopSource *deferred; /* starts the fibers and answers what was decided at once */
        RateLimit failures;
};

typedef enum Step {
        STEP_ANSWER, /* only the answer is missing */
        STEP_ENFORCE,
        STEP_SIGN,
        STEP_SIGNING,
        STEP_FOLLOW, /* the same evidence is under way already: its answer is this one's too */
} Step;

/* What became of the nonce in evidence that could not be read. */
typedef enum Spent {
        SPENT_UNKNOWN, /* it could be read, or nobody looked */
        SPENT_NONE,
        SPENT_NONCE,
} Spent;

struct EvidenceTicket {
        List in_flight;
        Attest *attest;
        DeviceState *device; /* NULL once it is no longer configured */
        Step step;
        EvidenceOutcome outcome;
        Verdict verdict;
        Posture posture;
        usec_t expires;      /* CLOCK_BOOTTIME, of the verdict */
        const char *failure; /* a constant, instead of the verdict's reason */
        Spent spent;
        AttestRecord *record;
        uint8_t digest[REPLAY_DIGEST]; /* of content format and body as received */
        bool repeated;                 /* not judged: answered as the same evidence was before */
        EvidenceTicket *first;         /* of STEP_FOLLOW */
        EvidenceDone done;
        void *userdata;
};

/* Has the device sent this very evidence before, and its nonce was used up by that? Then `t` gets
 * the same answer, now or as soon as there is one. */
bool attest_repeats(EvidenceTicket *t);
/* `t` is about to be answered with `result`: for whoever sends the same again. */
void attest_answered(EvidenceTicket *t, const EvidenceResult *result);

/* Decides at once, or leaves a verdict that is to be enforced. */
void attest_judge(EvidenceTicket *t);
/* There is no verdict: only the answer is missing. */
void attest_decide(EvidenceTicket *t, EvidenceOutcome outcome, const char *failure);
