/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Token bucket: `burst` at once, refilled over `interval`. */

#include <stdbool.h>

#include "base/time.h"

typedef struct RateLimit {
        usec_t interval; /* time in which `burst` tokens come back; 0: no limit */
        uint32_t burst;
        uint64_t tokens; /* in units of 1/interval tokens: exact, without floating point */
        usec_t last;
        uint64_t suppressed; /* takes refused since ratelimit_suppressed() was asked */
} RateLimit;

#define RATELIMIT_INIT(i, b) ((RateLimit){ .interval = (i), .burst = (b) })

/* Takes one token: true when there was one. */
bool ratelimit_take(RateLimit *r, usec_t now);
/* How many were refused since it was last asked. For "N similar messages suppressed". */
uint64_t ratelimit_suppressed(RateLimit *r);
