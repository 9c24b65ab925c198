/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/time.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"

static usec_t now(clockid_t clock)
{
        struct timespec ts = { 0 };
        /* Cannot fail for the clocks below. */
        clock_gettime(clock, &ts);
        return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

usec_t now_boottime(void)
{
        return now(CLOCK_BOOTTIME);
}

usec_t now_realtime(void)
{
        return now(CLOCK_REALTIME);
}

int64_t usec_days_left(usec_t until, usec_t now)
{
        return until >= now ? (int64_t)((until - now) / USEC_PER_DAY)
                            : -(int64_t)((now - until) / USEC_PER_DAY) - 1;
}

usec_t usec_add(usec_t a, usec_t b)
{
        return a > USEC_INFINITY - b ? USEC_INFINITY : a + b;
}

char *usec_format_span(usec_t t, char ret[static USEC_FORMAT_MAX])
{
        static const struct {
                const char *name;
                usec_t usec;
        } units[] = {
                { "d", USEC_PER_DAY }, { "h", USEC_PER_HOUR },  { "min", USEC_PER_MIN },
                { "s", USEC_PER_SEC }, { "ms", USEC_PER_MSEC }, { "us", 1 },
        };

        if (t == USEC_INFINITY || t == 0) {
                snprintf(ret, USEC_FORMAT_MAX, "%s", t ? "infinity" : "0");
                return ret;
        }
        size_t i = 0;
        while (t < units[i].usec)
                i++;
        int n = snprintf(ret, USEC_FORMAT_MAX, "%" PRIu64 "%s", t / units[i].usec, units[i].name);

        /* Two units say enough for a person, and beside milliseconds one. */
        t %= units[i].usec;
        if (++i < ELEMENTSOF(units) - 1 && t >= units[i].usec)
                snprintf(ret + n, USEC_FORMAT_MAX - (size_t)n, " %" PRIu64 "%s", t / units[i].usec,
                         units[i].name);
        return ret;
}

char *usec_format_utc(usec_t realtime, char ret[static USEC_FORMAT_MAX])
{
        time_t seconds = (time_t)(realtime / USEC_PER_SEC);
        struct tm tm;
        if (realtime == USEC_INFINITY || !gmtime_r(&seconds, &tm) ||
            strftime(ret, USEC_FORMAT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                snprintf(ret, USEC_FORMAT_MAX, "never");
        return ret;
}
