/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/quota.h"

#define MICRO ((int64_t)1000000)

/* More than any packet has; a debt of so much does not overflow. */
#define LEN_MAX ((size_t)UINT32_MAX)

static int64_t full(const QuotaBucket *b)
{
        return (int64_t)b->burst * MICRO;
}

static void set_limits(QuotaBucket *b, uint64_t per_second, uint64_t burst)
{
        b->per_second = per_second;
        b->burst = burst;
        b->micro = MIN(b->micro, full(b));
}

void quota_set_limits(Quota *q, const QuotaLimits *limits)
{
        set_limits(&q->messages, limits->messages_per_second, limits->messages_burst);
        set_limits(&q->bytes, limits->bytes_per_second, limits->bytes_burst);
}

void quota_init(Quota *q, const QuotaLimits *limits)
{
        *q = (Quota){ .messages.micro = INT64_MAX, .bytes.micro = INT64_MAX };
        quota_set_limits(q, limits);
}

/* One token a second is one millionth a microsecond: no rounding, whatever `elapsed` is. */
static void refill_bucket(QuotaBucket *b, usec_t elapsed)
{
        uint64_t fresh, missing = (uint64_t)(full(b) - b->micro);
        if (__builtin_mul_overflow(elapsed, b->per_second, &fresh) || fresh >= missing)
                b->micro = full(b);
        else
                b->micro += (int64_t)fresh;
}

static void refill(Quota *q, usec_t now)
{
        if (now <= q->last)
                return;
        refill_bucket(&q->messages, now - q->last);
        refill_bucket(&q->bytes, now - q->last);
        q->last = now;
}

static int64_t cost(size_t n)
{
        return (int64_t)MIN(n, LEN_MAX) * MICRO;
}

/* What `b` lacks for `n` tokens; a full one lacks nothing. */
static int64_t lacking(const QuotaBucket *b, size_t n)
{
        return MAX(MIN(cost(n), full(b)) - b->micro, (int64_t)0);
}

bool quota_charge(Quota *q, size_t len, usec_t now)
{
        refill(q, now);
        if (lacking(&q->messages, 1) > 0 || lacking(&q->bytes, len) > 0)
                return false;
        q->messages.micro -= cost(1);
        q->bytes.micro -= cost(len);
        return true;
}

/* Rounded up: not a microsecond too early. */
static usec_t time_for(const QuotaBucket *b, size_t n)
{
        uint64_t micro = (uint64_t)lacking(b, n);
        return micro / b->per_second + (micro % b->per_second > 0);
}

usec_t quota_delay(Quota *q, size_t len, usec_t now)
{
        refill(q, now);
        return MAX(time_for(&q->messages, 1), time_for(&q->bytes, len));
}
