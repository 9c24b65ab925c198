/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What one device may hand over to this gateway: messages and bytes over time. */

#include "base/time.h"
#include "base/util.h"

/* What it may at most, of one class of devices. */
typedef struct QuotaLimits {
        uint32_t messages_per_second;
        uint32_t messages_burst;
        uint64_t bytes_per_second;
        uint64_t bytes_burst;
} QuotaLimits;

/* So many seconds' worth may come at once: reports after an outage. */
#define QUOTA_MESSAGES_BURST_SECONDS 10
#define QUOTA_BYTES_BURST_SECONDS    8

/* A bucket of tokens that come back at a steady rate. */
typedef struct QuotaBucket {
        uint64_t per_second;
        uint64_t burst;
        int64_t micro; /* tokens there are, in millionths; below 0: a message was larger than it */
} QuotaBucket;

typedef struct Quota {
        QuotaBucket messages, bytes;
        usec_t last; /* when it was refilled */
} Quota;

/* Full buckets. Limits are at least 1 token a second and at most 2^40 of burst. */
void quota_init(Quota *q, const QuotaLimits *limits);
/* Other limits from now on; what is used up stays so. */
void quota_set_limits(Quota *q, const QuotaLimits *limits);

/* Takes one message of `len` bytes: true when both allowances have room, nothing is taken
 * otherwise. A message larger than the burst goes when the allowance is full; what it has too much
 * is taken from what comes later, so that the rate holds. `now` is CLOCK_BOOTTIME. */
bool quota_charge(Quota *q, size_t len, usec_t now);

/* How long until quota_charge() takes such a message, if nothing else is charged: 0 for now. */
usec_t quota_delay(Quota *q, size_t len, usec_t now);
