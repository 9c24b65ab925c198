/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/notify.h"

#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

void notify_ready(void)
{
        sd_notify(0, "READY=1");
}

/* Type=notify-reload wants the monotonic time; Type=notify ignores it. */
void notify_reloading(void)
{
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                   (unsigned long long)ts.tv_sec * 1000000ULL +
                           (unsigned long long)ts.tv_nsec / 1000ULL);
}

void notify_stopping(void)
{
        sd_notify(0, "STOPPING=1");
}

void notify_status(const char *format, ...)
{
        char line[256];
        va_list ap;
        va_start(ap, format);
        int n = vsnprintf(line, sizeof(line), format, ap);
        va_end(ap);
        if (n > 0)
                sd_notifyf(0, "STATUS=%s", line);
}
