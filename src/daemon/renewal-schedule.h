/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* When a certificate is renewed, and when that is tried again. No clock is read here. */

#include "base/time.h"
#include "base/util.h"

typedef enum Validity {
        VALIDITY_OK,
        VALIDITY_NOT_YET, /* most likely this machine's clock is wrong */
        VALIDITY_EXPIRED,
} Validity;

typedef struct Lifetime {
        usec_t not_before, not_after; /* CLOCK_REALTIME */
} Lifetime;

Validity lifetime_validity(const Lifetime *l, usec_t now);
/* From when on: `percent` of the lifetime, and up to 2 % of it more by `random`, so that gateways
 * that were enrolled together do not come back together. */
usec_t renewal_due(const Lifetime *l, unsigned percent, uint32_t random);
/* The pause after the nth failure in a row: from 1 min to 6 h, each about twice the last, by
 * `random`; shorter near the end and for short lifetimes, at most an hour after the end. */
usec_t renewal_pause(const Lifetime *l, usec_t now, unsigned failures, uint32_t random);
/* How often to look at the clock, which may jump. */
usec_t renewal_tick(const Lifetime *l);
