/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A clock that has stood still since 1970 until this boot, for whoever is started with this library
 * in LD_PRELOAD; the other clocks go on as they are. */
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int clock_gettime(clockid_t clock, struct timespec *ret)
{
        int r = (int)syscall(SYS_clock_gettime, clock, ret);
        if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
                r = (int)syscall(SYS_clock_gettime, CLOCK_BOOTTIME, ret);
        return r;
}

EXPORT time_t time(time_t *ret)
{
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        if (ret)
                *ret = t.tv_sec;
        return t.tv_sec;
}

EXPORT int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        ret->tv_sec = t.tv_sec;
        ret->tv_usec = t.tv_nsec / 1000;
        return 0;
}
