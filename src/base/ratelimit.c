/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/ratelimit.h"

#include "base/util.h"

static uint64_t mul_saturated(uint64_t a, uint64_t b)
{
        uint64_t r;
        return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

static void refill(RateLimit *r, usec_t now)
{
        uint64_t full = mul_saturated(r->interval, r->burst);
        if (r->last == 0) {
                r->tokens = full; /* never used: a full bucket */
        } else if (now > r->last) {
                uint64_t fresh = mul_saturated(now - r->last, r->burst);
                r->tokens = fresh >= full - r->tokens ? full : r->tokens + fresh;
        }
        r->last = MAX(MAX(now, r->last), (usec_t)1);
}

bool ratelimit_take(RateLimit *r, usec_t now)
{
        if (r->interval == 0)
                return true;
        refill(r, now);
        if (r->burst == 0 || r->tokens < r->interval) {
                r->suppressed++;
                return false;
        }
        r->tokens -= r->interval;
        return true;
}

uint64_t ratelimit_suppressed(RateLimit *r)
{
        uint64_t n = r->suppressed;
        r->suppressed = 0;
        return n;
}
