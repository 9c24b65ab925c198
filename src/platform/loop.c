/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "platform/loop-gaps.h"

struct Loop {
        sd_event *event;
        LoopClock clock;
        List deferred; /* sources that were asked for */
        int wake_fd;   /* an eventfd, readable while there are any */
        sd_event_source *wake;
};

struct LoopSource {
        Loop *loop;
        List deferred;
        LoopGapSource *gaps;
        sd_event_source *source;
        LoopFlags flags;
        LoopHandler handler;
        LoopIoHandler io_handler;
        LoopSignalHandler signal_handler;
        void *userdata;
};

/* sd-event runs first what has been pending for longest, and a deferred source of its own is so
 * from its birth: enabled, it would come before all that is ready. The descriptor becomes ready
 * with the next look at what is, and so comes after that, and before what becomes ready later. */
static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Loop *l = userdata;
        eventfd_t ignored;
        if (eventfd_read(fd, &ignored) < 0 && errno != EAGAIN)
                return -errno;
        while (!list_empty(&l->deferred)) {
                LoopSource *s = LIST_ENTRY(list_first(&l->deferred), LoopSource, deferred);
                list_remove(&s->deferred);
                int r = sd_event_source_set_enabled(s->source, SD_EVENT_ONESHOT);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int open_wake(Loop *l)
{
        l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (l->wake_fd < 0)
                return -errno;
        int r = sd_event_add_io(l->event, &l->wake, l->wake_fd, EPOLLIN, on_wake, l);
        return r < 0 ? r : sd_event_source_set_exit_on_failure(l->wake, true);
}

int loop_new(Loop **ret)
{
        _cleanup_(loop_freep) Loop *l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->wake_fd = -1;
        list_init(&l->deferred);
        int r = sd_event_new(&l->event);
        if (r >= 0)
                r = open_wake(l);
        if (r < 0)
                return r;
        loop_clock_init(&l->clock);
        *ret = TAKE_PTR(l);
        return 0;
}

Loop *loop_free(Loop *l)
{
        if (!l)
                return NULL;
        sd_event_source_disable_unref(l->wake);
        if (l->wake_fd >= 0)
                close(l->wake_fd);
        sd_event_unref(l->event);
        free(l);
        return NULL;
}

struct sd_event *loop_sd_event(Loop *l)
{
        return l->event;
}

void loop_gaps(Loop *l, LoopGaps *ret)
{
        loop_clock_read(&l->clock, ret);
}

/* sd_event_loop() taken apart, so that the time of every handler is seen. */
int loop_run(Loop *l)
{
        loop_clock_start(&l->clock);
        while (sd_event_get_state(l->event) != SD_EVENT_FINISHED) {
                int r = sd_event_prepare(l->event);
                if (r == 0)
                        r = sd_event_wait(l->event, UINT64_MAX);
                if (r > 0) {
                        loop_clock_begin(&l->clock);
                        r = sd_event_dispatch(l->event);
                        loop_clock_end(&l->clock);
                }
                if (r < 0)
                        return r;
        }
        int code = 0;
        int r = sd_event_get_exit_code(l->event, &code);
        return r < 0 ? r : code;
}

void loop_exit(Loop *l, int code)
{
        sd_event_exit(l->event, code);
}

usec_t loop_now(Loop *l)
{
        uint64_t t;
        return sd_event_now(l->event, CLOCK_BOOTTIME, &t) < 0 ? now_boottime() : t;
}

int loop_watch(Loop *l)
{
        int r = sd_event_set_watchdog(l->event, true);
        return r < 0 ? r : 0;
}

/* What a handler's result means to sd-event. The handler may have freed its source: only what
 * was copied before may be looked at. */
static int verdict(LoopFlags flags, int r)
{
        if (r >= 0)
                return 0;
        if (flags & LOOP_FATAL)
                return log_error_errno(r, "An event source of the daemon itself failed");
        log_warning_errno(r, "An event handler failed, ignoring");
        return 0;
}

/* The handler that runs now. */
static LoopFlags begin(LoopSource *s)
{
        s->loop->clock.running = s->gaps;
        return s->flags;
}

static int source_new(Loop *l, LoopFlags flags, void *userdata, const char *name, LoopSource **ret)
{
        LoopSource *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->loop = l;
        list_init(&s->deferred);
        s->gaps = loop_clock_source(&l->clock, name);
        s->flags = flags;
        s->userdata = userdata;
        *ret = s;
        return 0;
}

/* Ends every loop_add_*: `r` is sd-event's answer. */
static int source_finish(LoopSource *s, int r, LoopSource **ret)
{
        if (r >= 0 && s->flags & LOOP_FATAL)
                r = sd_event_source_set_exit_on_failure(s->source, true);
        if (r < 0) {
                loop_source_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

LoopSource *loop_source_free(LoopSource *s)
{
        if (!s)
                return NULL;
        list_remove(&s->deferred);
        sd_event_source_disable_unref(s->source);
        free(s);
        return NULL;
}

static uint32_t to_epoll(unsigned events)
{
        return (events & LOOP_READ ? (uint32_t)EPOLLIN : 0) |
               (events & LOOP_WRITE ? (uint32_t)EPOLLOUT : 0);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        LoopSource *s = userdata;
        LoopFlags flags = begin(s);
        unsigned events = (revents & EPOLLIN ? (unsigned)LOOP_READ : 0) |
                          (revents & EPOLLOUT ? (unsigned)LOOP_WRITE : 0) |
                          (revents & EPOLLHUP ? (unsigned)LOOP_HANGUP : 0) |
                          (revents & EPOLLERR ? (unsigned)LOOP_ERROR : 0);
        return verdict(flags, s->io_handler(fd, events, s->userdata));
}

int loop_add_io_named(Loop *l, LoopSource **ret, int fd, unsigned events, LoopFlags flags,
                      LoopIoHandler handler, void *userdata, const char *name)
{
        LoopSource *s;
        int r = source_new(l, flags, userdata, name, &s);
        if (r < 0)
                return r;
        s->io_handler = handler;
        r = sd_event_add_io(l->event, &s->source, fd, to_epoll(events), on_io, s);
        return source_finish(s, r, ret);
}

int loop_source_set_io_events(LoopSource *s, unsigned events)
{
        int r = sd_event_source_set_io_events(s->source, to_epoll(events));
        return r < 0 ? r : 0;
}

static int on_timer(sd_event_source *source, uint64_t due, void *userdata)
{
        LoopSource *s = userdata;
        LoopFlags flags = begin(s);
        return verdict(flags, s->handler(s->userdata));
}

int loop_add_timer_named(Loop *l, LoopSource **ret, LoopFlags flags, LoopHandler handler,
                         void *userdata, const char *name)
{
        LoopSource *s;
        int r = source_new(l, flags, userdata, name, &s);
        if (r < 0)
                return r;
        s->handler = handler;
        r = sd_event_add_time(l->event, &s->source, CLOCK_BOOTTIME, UINT64_MAX, USEC_PER_MSEC,
                              on_timer, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->source, SD_EVENT_OFF);
        return source_finish(s, r, ret);
}

int loop_timer_arm(LoopSource *s, usec_t at)
{
        if (at == USEC_INFINITY) {
                loop_timer_disarm(s);
                return 0;
        }
        int r = sd_event_source_set_time(s->source, at);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->source, SD_EVENT_ONESHOT);
        return r < 0 ? r : 0;
}

int loop_timer_arm_relative(LoopSource *s, usec_t delay)
{
        return loop_timer_arm(s, usec_add(now_boottime(), delay));
}

void loop_timer_disarm(LoopSource *s)
{
        sd_event_source_set_enabled(s->source, SD_EVENT_OFF);
}

static int on_deferred(sd_event_source *source, void *userdata)
{
        LoopSource *s = userdata;
        LoopFlags flags = begin(s);
        return verdict(flags, s->handler(s->userdata));
}

int loop_add_deferred_named(Loop *l, LoopSource **ret, LoopFlags flags, LoopHandler handler,
                            void *userdata, const char *name)
{
        LoopSource *s;
        int r = source_new(l, flags, userdata, name, &s);
        if (r < 0)
                return r;
        s->handler = handler;
        r = sd_event_add_defer(l->event, &s->source, on_deferred, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->source, SD_EVENT_OFF);
        return source_finish(s, r, ret);
}

int loop_defer(LoopSource *s)
{
        Loop *l = s->loop;
        if (!list_empty(&s->deferred))
                return 0;
        bool first = list_empty(&l->deferred);
        list_append(&l->deferred, &s->deferred);
        return first && eventfd_write(l->wake_fd, 1) < 0 ? -errno : 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
        LoopSource *s = userdata;
        LoopFlags flags = begin(s);
        return verdict(flags, s->signal_handler((int)si->ssi_signo, s->userdata));
}

int loop_add_signal_named(Loop *l, LoopSource **ret, int signo, LoopSignalHandler handler,
                          void *userdata, const char *name)
{
        LoopSource *s;
        int r = source_new(l, LOOP_FATAL, userdata, name, &s);
        if (r < 0)
                return r;
        s->signal_handler = handler;
        r = sd_event_add_signal(l->event, &s->source, signo, on_signal, s);
        return source_finish(s, r, ret);
}
