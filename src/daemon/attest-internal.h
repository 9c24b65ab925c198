/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the parts of attestation share: attest.c takes a report through its steps, attest-judge.c is
 * the first of them; attest-repeat.c knows evidence that comes again, attest-review.c judges by
 * new reference values what was judged by others. */

#include "base/hashmap.h"
#include "base/list.h"
#include "base/ratelimit.h"
#include "daemon/evidence.h"
#include "domain/appraisal.h"
#include "domain/challenge.h"
#include "domain/replay.h"
#include "platform/loop.h"

struct Attest {
        Gateway *gateway;
        Challenges *challenges;
        ReferenceSet *references;
        unsigned generation; /* of the references: other ones, another number */
        Hashmap *records;    /* by device name */
        Replays *replays;
        List in_flight;
        size_t n_in_flight;   /* sent by devices */
        size_t n_signing;     /* fibers */
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

typedef enum Origin {
        ORIGIN_SENT,     /* by the device, for the first time */
        ORIGIN_REPEATED, /* not judged: answered as the same evidence was before */
        ORIGIN_REVIEWED, /* judged once more, for nobody waits */
} Origin;

/* What became of the nonce in evidence that could not be read. */
typedef enum Spent {
        SPENT_UNKNOWN, /* it could be read, or nobody looked */
        SPENT_NONE,
        SPENT_NONCE,
} Spent;

struct EvidenceTicket {
        List in_flight;
        Attest *attest;
        DeviceState *device; /* NULL once it is no longer configured as it was */
        Step step;
        EvidenceOutcome outcome;
        Verdict verdict;
        Posture posture;
        usec_t expires;      /* CLOCK_BOOTTIME, of the verdict */
        const char *failure; /* why there is no verdict; a constant, or the verdict's own reason */
        Spent spent;
        AttestRecord *record;
        uint8_t digest[REPLAY_DIGEST]; /* of content format and body as received */
        Origin origin;
        EvidenceTicket *first; /* of STEP_FOLLOW */
        EvidenceDone done;
        void *userdata;
};

/* Has the device sent this very evidence before, and its nonce was used up by that? Then `t` gets
 * the same answer, now or as soon as there is one. */
bool attest_repeats(EvidenceTicket *t);
/* `t` is about to be answered with `result`: for whoever sends the same again. */
void attest_answered(EvidenceTicket *t, const EvidenceResult *result);

/* A new report on its way; takes `record`. NULL without memory, and then it is freed. */
EvidenceTicket *attest_ticket_new(Attest *a, DeviceState *d, Origin origin, AttestRecord *record);
/* Puts the verdict in force. */
void attest_enforce(EvidenceTicket *t);
/* Judges it by the reference values of now where it was judged by others. */
void attest_review_ticket(EvidenceTicket *t);

int attest_appraise(Attest *a, const Device *d, const PsaEvidence *evidence, Verdict *ret);
/* Decides at once, or leaves a verdict that is to be enforced. */
void attest_judge(EvidenceTicket *t);
/* There is no verdict: only the answer is missing. */
void attest_decide(EvidenceTicket *t, EvidenceOutcome outcome, const char *failure);
