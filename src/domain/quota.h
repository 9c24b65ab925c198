/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What one device may hand over to this gateway: messages and bytes over time. */

#include "base/time.h"
#include "base/util.h"

/* A tenth of what one small gateway can store in a second; bursts are reports after an outage. */
#define QUOTA_MESSAGES_PER_SECOND 200
#define QUOTA_MESSAGES_BURST      2000
#define QUOTA_BYTES_PER_SECOND    (1024 * 1024)
#define QUOTA_BYTES_BURST         (8 * 1024 * 1024)

/* A bucket of tokens that come back at a steady rate. */
typedef struct QuotaBucket {
        uint64_t per_second;
        uint64_t burst;
        uint64_t micro; /* tokens there are, in millionths */
} QuotaBucket;

typedef struct Quota {
        QuotaBucket messages, bytes;
        usec_t last; /* when it was refilled */
} Quota;

/* Full buckets with the limits above. */
void quota_init(Quota *q);

/* Takes one message of `len` bytes: true when both allowances have room, nothing is taken
 * otherwise. `now` is CLOCK_BOOTTIME. */
bool quota_charge(Quota *q, size_t len, usec_t now);
