/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by renewal.c and renewal-status.c. */

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

struct Renewal {
        Gateway *gateway;
        LoopSource *timer;
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
