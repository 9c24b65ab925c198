/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What enforcer.c (the outside) and enforcer-commit.c (the kernel) share. */

#include "base/hashmap.h"
#include "base/list.h"
#include "daemon/enforcer.h"
#include "platform/conntrack-thread.h"
#include "platform/neighbours.h"

#define ENFORCER_RETRY_MIN (1 * USEC_PER_SEC)
#define ENFORCER_RETRY_MAX (60 * USEC_PER_SEC)

/* A device as the filter knows it. */
typedef struct Record {
        char name[DEVICE_NAME_MAX + 1];
        EgressPlan installed; /* what the kernel has been told */
        EgressPlan desired;   /* what it is to be told, while `queued` */
        EgressPlan closed;    /* what it is told when it does not take `desired` */
        bool queued;
        bool held;  /* closed since the kernel refused, or memory failed */
        bool tried; /* in the present flush */
        bool loose; /* held, and not closed yet: the kernel did not take that either */
        bool uncut; /* enforcer_hold_cut() took back a deletion that must be asked for again */
} Record;

typedef struct Waiter {
        List node;
        Record *record;
        EnforcerDone done;
        void *userdata;
        int error;
        bool finished;
} Waiter;

struct Enforcer {
        Loop *loop;
        Nft *nft;
        ConntrackThread *conntrack;
        Neighbours *neighbours;
        LoopSource *flush; /* at the end of a turn */
        LoopSource *retry;
        bool retry_armed;
        usec_t retry_delay; /* the next one */

        uint32_t generation; /* of the kernel's tables after our last commit */
        bool generation_known;

        RulesetFrame frame;
        Record *records;
        size_t n_records;
        Hashmap *by_name;
        List waiters;
};

/* The whole table of `frame` and `records`; logs a refusal. */
int enforcer_commit_table(Enforcer *e, const RulesetFrame *frame, const Record *records, size_t n);
/* One transaction; logs a refusal. */
int enforcer_commit_change(Enforcer *e, const EgressChange *c);
/* From what is loaded to another load, by what differs if that can be. */
int enforcer_commit_load(Enforcer *e, const RulesetFrame *frame, const Record *records, size_t n,
                         const Hashmap *by_name);
/* All but the doors. */
bool enforcer_same_frame(const RulesetFrame *a, const RulesetFrame *b);
/* Deletes the connections that `keep` (NULL: nothing) does not allow the device; soon, and
 * elsewhere than on the loop. */
void enforcer_cut(Enforcer *e, const Record *c, const EgressPlan *keep);
/* Before each commit of a plan: what the device opens after it is not deleted for an older one. */
void enforcer_hold_cut(Enforcer *e, Record *c);
/* Closes a device that did not get the posture it was to have; what is queued for it, or else its
 * closing where that failed, is tried again later. */
void enforcer_hold(Enforcer *e, Record *c, int error);
/* What is queued for a device is not what it is to get any more. */
void enforcer_withdraw(Enforcer *e, Record *c, int error);
/* Loop handlers: the end of a turn, and another try for devices that are held. */
int enforcer_flush(void *userdata);
int enforcer_retry(void *userdata);
