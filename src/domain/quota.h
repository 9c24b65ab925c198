/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What one device may take of this gateway: messages and bytes over time, and things that it
 * holds for a while (a session, a message on its way to disk). */

#include "base/time.h"
#include "base/util.h"

/* A tenth of what one small gateway can store in a second; bursts are reports after an outage. */
#define QUOTA_MESSAGES_PER_SECOND 200
#define QUOTA_MESSAGES_BURST      2000
#define QUOTA_BYTES_PER_SECOND    (1024 * 1024)
#define QUOTA_BYTES_BURST         (8 * 1024 * 1024)
#define QUOTA_HELD_MAX            1024

/* A bucket of tokens that come back at a steady rate. */
typedef struct QuotaBucket {
        uint64_t per_second;
        uint64_t burst;
        uint64_t micro; /* tokens there are, in millionths */
} QuotaBucket;

typedef struct Quota {
        QuotaBucket messages, bytes;
        usec_t last; /* when it was refilled */
        size_t held, held_max;
} Quota;

/* Full buckets with the limits above. */
void quota_init(Quota *q);

/* Takes one message of `len` bytes: true when both allowances have room, nothing is taken
 * otherwise. `now` is CLOCK_BOOTTIME. */
bool quota_charge(Quota *q, size_t len, usec_t now);

/* A charge for something that is held: it sits in what it was charged for and is given back when
 * that goes. Zero-initialised it holds nothing. The quota must outlive it. */
typedef struct QuotaCharge {
        Quota *quota;
} QuotaCharge;

/* True with a charge that quota_charge_done() gives back; false when too much is held. */
bool quota_hold(Quota *q, QuotaCharge *ret);
/* Harmless for a charge that holds nothing. */
void quota_charge_done(QuotaCharge *c);
#define _cleanup_quota_charge_ _cleanup_(quota_charge_done)
