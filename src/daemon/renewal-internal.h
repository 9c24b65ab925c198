/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the files of daemon/renewal. */

#include "daemon/renewal-schedule.h"
#include "daemon/renewal.h"
#include "platform/est.h"
#include "platform/identity-candidate.h"

typedef enum RenewalState {
        RENEWAL_IDLE,
        RENEWAL_ASKING,  /* the EST server */
        RENEWAL_TRYING,  /* the candidate upstream */
        RENEWAL_FAILING, /* the last attempt; `reason` */
        RENEWAL_REFUSED, /* the last candidate; `reason` */
        _RENEWAL_STATE_MAX,
} RenewalState;

/* What takes the disk, and so a fiber. */
typedef enum RenewalTask {
        RENEWAL_NOTHING,
        RENEWAL_SAVE,    /* the candidate, and then try it */
        RENEWAL_PROMOTE, /* it */
        RENEWAL_REFUSE,  /* it, for `why` */
        RENEWAL_ADOPT,   /* what somebody may have installed */
} RenewalTask;

struct Renewal {
        Gateway *gateway;
        LoopSource *timer;
        LoopSource *turn; /* begins and ends the task, on the loop's own stack */
        RenewalTask task; /* while there is one nothing else begins */
        char why[300];
        bool written; /* the fiber has ended, with this: */
        int outcome;
        Reason said;
        IdentityCandidate *found; /* of RENEWAL_ADOPT */
        bool reloaded;            /* to be looked at after the task */
        bool stopped;
        uint32_t jitter; /* of the certificate in force */

        Est *est;
        unsigned failures; /* in a row */
        usec_t ask_at;     /* CLOCK_BOOTTIME, not before */
        bool wanted;       /* now, by the operator */

        IdentityCandidate *candidate;
        Credential *credential; /* of the candidate */
        bool trying;            /* a trial is under way */
        bool told;              /* that it waits for the upstream */
        unsigned tries;         /* in a row that found no upstream */
        unsigned doubts;        /* trials in a row that ended without a word */
        usec_t try_at;          /* CLOCK_BOOTTIME, not before */

        RenewalState state;
        char reason[300];
        usec_t warned_at; /* CLOCK_BOOTTIME; 0: never */
        Validity warned_of;
};

Lifetime renewal_lifetime(const Renewal *r);
/* Once a day, and when it changes: what is wrong with the certificate. */
void renewal_warn(Renewal *r);
/* Whether leaves are minted, so that a new certificate has to be that of a CA. */
bool renewal_must_certify(const Renewal *r);

/* renewal-write.c */
int renewal_write_init(Renewal *r);
/* Begins a task when the loop turns; `why` of RENEWAL_REFUSE. There is none under way. */
void renewal_write(Renewal *r, RenewalTask task, const char *why);
/* renewal.c: that task has ended, with r->outcome. */
void renewal_written(Renewal *r, RenewalTask task);
