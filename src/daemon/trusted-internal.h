/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the files of daemon/trusted; nobody else's. */

#include "base/hashmap.h"
#include "daemon/gateway.h"
#include "daemon/trusted.h"
#include "platform/job.h"

/* The chain that a device was last let in with. */
typedef struct Shown {
        char device[DEVICE_NAME_MAX + 1];
        PeerChain chain;
} Shown;

struct Trusted {
        Gateway *gateway;
        Trust *now, *next;   /* in force; prepared, or NULL */
        unsigned generation; /* of `now`: a list is read for the one that was in force then */
        Hashmap *shown;      /* by the device's name */
        Job *job;            /* reads a list that was fetched */
        Job *keeping;        /* writes who is revoked */
        bool dirty;          /* that has changed since */
        bool overdue;        /* was told of `now` */
};

/* Where a fetched list is kept; NULL without memory. */
char *trusted_fetched_path(const Settings *s);
/* Somebody was revoked, or is so no more. */
void trusted_save(Trusted *t);
/* At the end: writes what is not written yet. */
void trusted_save_last(Trusted *t);
/* Makes ready to take `trust` into force, with TLS 1.3 alone or 1.2 too. */
int trusted_take(Trusted *t, Trust *trust, bool tls13, Reason *reason);
