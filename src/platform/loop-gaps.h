/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* For platform/loop alone: how long turns of the loop took, in all and by source. */

#include "platform/loop.h"

/* Handler times in buckets of powers of two microseconds. */
#define LOOP_GAP_BUCKETS 40

typedef struct LoopSpans {
        uint64_t buckets[LOOP_GAP_BUCKETS];
        usec_t max;
} LoopSpans;

typedef struct LoopClock {
        LoopSpans wall, cpu;
        LoopGapSource sources[LOOP_GAP_SOURCES]; /* the first: of no LoopSource, D-Bus */
        size_t n_sources;
        LoopGapSource *running;
        usec_t began, cpu_before;
} LoopClock;

void loop_clock_init(LoopClock *c);
/* The row of a source; one is shared by those that come when there is no room. */
LoopGapSource *loop_clock_source(LoopClock *c, const char *name);
/* What the thread has worked until now is no turn's. */
void loop_clock_start(LoopClock *c);
/* Around each turn. */
void loop_clock_begin(LoopClock *c);
void loop_clock_end(LoopClock *c);
void loop_clock_read(LoopClock *c, LoopGaps *ret);
