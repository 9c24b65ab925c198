/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/renewal-schedule.h"

#define PAUSE_FIRST      USEC_PER_MIN
#define PAUSE_MAX        (6 * USEC_PER_HOUR)
#define PAUSE_AFTER_END  USEC_PER_HOUR
#define TICK_MAX         USEC_PER_MIN
#define TICK_MIN         (200 * USEC_PER_MSEC)
#define JITTER_PERCENT   2
#define DOUBLINGS_MAX    16
#define SHARE_OF_THE_END 8

static usec_t length(const Lifetime *l)
{
        return l->not_after > l->not_before ? l->not_after - l->not_before : 0;
}

/* `t` times `random` / 2^32; t is below 2^54 for all that a certificate can say. */
static usec_t share(usec_t t, uint32_t random)
{
        return (usec_t)((double)t * ((double)random / 4294967296.0));
}

Validity lifetime_validity(const Lifetime *l, usec_t now)
{
        if (now < l->not_before)
                return VALIDITY_NOT_YET;
        return now < l->not_after ? VALIDITY_OK : VALIDITY_EXPIRED;
}

usec_t renewal_due(const Lifetime *l, unsigned percent, uint32_t random)
{
        usec_t part = length(l) / 100;
        return usec_add(l->not_before, part * percent + share(part * JITTER_PERCENT, random));
}

static usec_t first_pause(const Lifetime *l)
{
        return MIN(PAUSE_FIRST, MAX(length(l) / 100, USEC_PER_SEC));
}

usec_t renewal_pause(const Lifetime *l, usec_t now, unsigned failures, uint32_t random)
{
        usec_t first = first_pause(l);
        unsigned doublings = MIN(failures > 0 ? failures - 1 : 0, (unsigned)DOUBLINGS_MAX);
        usec_t longest = now >= l->not_after
                                 ? PAUSE_AFTER_END
                                 : MIN(PAUSE_MAX, (l->not_after - now) / SHARE_OF_THE_END);
        usec_t pause = MIN(first << doublings, MAX(first, longest));
        return pause / 2 + share(pause, random);
}

usec_t renewal_tick(const Lifetime *l)
{
        return MIN(TICK_MAX, MAX(length(l) / 100, TICK_MIN));
}
