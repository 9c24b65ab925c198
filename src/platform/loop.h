/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The event loop: sd-event behind types of our own. One loop, one thread, no callback waits.
 *
 * A peer's callback returns 0 whatever the peer sent. A source of the infrastructure (listener,
 * netlink, TPM, store) is added with LOOP_FATAL: a negative return then ends the loop and systemd
 * starts the daemon afresh, instead of sd-event silently switching the source off. */

#include <signal.h>

#include "base/time.h"
#include "base/util.h"

typedef struct Loop Loop;
typedef struct LoopSource LoopSource;

enum {
        LOOP_READ = 1 << 0,
        LOOP_WRITE = 1 << 1,
        LOOP_HANGUP = 1 << 2, /* only ever reported, never asked for */
        LOOP_ERROR = 1 << 3,  /* likewise */
};

typedef enum LoopFlags {
        LOOP_PEER = 0,       /* a negative return is logged and ignored */
        LOOP_FATAL = 1 << 0, /* a negative return ends the loop */
} LoopFlags;

typedef int (*LoopIoHandler)(int fd, unsigned events, void *userdata);
typedef int (*LoopHandler)(void *userdata);
typedef int (*LoopSignalHandler)(int signo, void *userdata);

int loop_new(Loop **ret);
Loop *loop_free(Loop *l);
DEFINE_CLEANUP(Loop, loop_free)

/* Runs until loop_exit(); returns its code, or a negative errno. */
int loop_run(Loop *l);
void loop_exit(Loop *l, int code);
/* CLOCK_BOOTTIME at the start of this turn. */
usec_t loop_now(Loop *l);

/* Each source has a name for loop_gaps(): the file and the handler, "store.c:on_flush". */
#define LOOP_NAME(handler) __FILE_NAME__ ":" #handler

/* Watches `fd`, which stays the caller's. Every source must be freed by its owner. */
#define loop_add_io(l, ret, fd, events, flags, handler, userdata)                                  \
        loop_add_io_named(l, ret, fd, events, flags, handler, userdata, LOOP_NAME(handler))
int loop_add_io_named(Loop *l, LoopSource **ret, int fd, unsigned events, LoopFlags flags,
                      LoopIoHandler handler, void *userdata, const char *name);
int loop_source_set_io_events(LoopSource *s, unsigned events);

/* A one-shot timer on CLOCK_BOOTTIME, disarmed at birth; arm it as often as wanted. */
#define loop_add_timer(l, ret, flags, handler, userdata)                                           \
        loop_add_timer_named(l, ret, flags, handler, userdata, LOOP_NAME(handler))
int loop_add_timer_named(Loop *l, LoopSource **ret, LoopFlags flags, LoopHandler handler,
                         void *userdata, const char *name);
int loop_timer_arm(LoopSource *s, usec_t at);
int loop_timer_arm_relative(LoopSource *s, usec_t delay);
void loop_timer_disarm(LoopSource *s);

/* Runs once, after everything that is ready by now, each time it is asked for: the place for
 * group commits, socket flushes and filter batches. Asking twice in a turn runs it once. */
#define loop_add_deferred(l, ret, flags, handler, userdata)                                        \
        loop_add_deferred_named(l, ret, flags, handler, userdata, LOOP_NAME(handler))
int loop_add_deferred_named(Loop *l, LoopSource **ret, LoopFlags flags, LoopHandler handler,
                            void *userdata, const char *name);
int loop_defer(LoopSource *s);

/* The signal must be blocked in every thread. */
#define loop_add_signal(l, ret, signo, handler, userdata)                                          \
        loop_add_signal_named(l, ret, signo, handler, userdata, LOOP_NAME(handler))
int loop_add_signal_named(Loop *l, LoopSource **ret, int signo, LoopSignalHandler handler,
                          void *userdata, const char *name);

LoopSource *loop_source_free(LoopSource *s);
DEFINE_CLEANUP(LoopSource, loop_source_free)

/* How long single handlers held the loop since the last call; resets. `max` is what others waited:
 * it counts what the machine gave to other programs meanwhile. `cpu_max` is our own work. */
typedef struct LoopGapSource {
        const char *name;
        uint64_t handlers; /* that ran */
        usec_t max, cpu_max;
} LoopGapSource;
#define LOOP_GAP_SOURCES 48
typedef struct LoopGaps {
        uint64_t handlers;
        usec_t max, cpu_max;
        usec_t p99, cpu_p99; /* upper bounds of their power-of-two buckets */
        LoopGapSource sources[LOOP_GAP_SOURCES];
        size_t n_sources;
} LoopGaps;
void loop_gaps(Loop *l, LoopGaps *ret);

/* Pings the service manager's watchdog from the loop when the unit asks for it. 0 or -errno. */
int loop_watch(Loop *l);

/* For platform/ alone: the sd-event behind. */
struct sd_event;
struct sd_event *loop_sd_event(Loop *l);
