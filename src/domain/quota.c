/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/quota.h"

#define MICRO ((uint64_t)1000000)

static QuotaBucket full_bucket(uint64_t per_second, uint64_t burst)
{
        return (QuotaBucket){ per_second, burst, burst * MICRO };
}

void quota_init(Quota *q)
{
        *q = (Quota){
                .messages = full_bucket(QUOTA_MESSAGES_PER_SECOND, QUOTA_MESSAGES_BURST),
                .bytes = full_bucket(QUOTA_BYTES_PER_SECOND, QUOTA_BYTES_BURST),
        };
}

/* One token a second is one millionth a microsecond: no rounding, whatever `elapsed` is. */
static void refill(QuotaBucket *b, usec_t elapsed)
{
        uint64_t fresh, full = b->burst * MICRO;
        if (__builtin_mul_overflow(elapsed, b->per_second, &fresh) || fresh >= full - b->micro)
                b->micro = full;
        else
                b->micro += fresh;
}

static bool has(const QuotaBucket *b, uint64_t n)
{
        return n <= b->micro / MICRO;
}

bool quota_charge(Quota *q, size_t len, usec_t now)
{
        if (now > q->last) {
                refill(&q->messages, now - q->last);
                refill(&q->bytes, now - q->last);
                q->last = now;
        }
        if (!has(&q->messages, 1) || !has(&q->bytes, len))
                return false;
        q->messages.micro -= MICRO;
        q->bytes.micro -= len * MICRO;
        return true;
}
