/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/loop-gaps.h"

#include <string.h>
#include <time.h>

#include "base/log.h"

/* Own work of a turn that is told at LogLevel=debug. */
#define LONG_TURN (10 * USEC_PER_MSEC)

static usec_t read_clock(clockid_t id)
{
        struct timespec ts;
        clock_gettime(id, &ts);
        return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

void loop_clock_init(LoopClock *c)
{
        loop_clock_source(c, "D-Bus");
        loop_clock_source(c, "others");
}

void loop_clock_start(LoopClock *c)
{
        c->cpu_before = read_clock(CLOCK_THREAD_CPUTIME_ID);
}

LoopGapSource *loop_clock_source(LoopClock *c, const char *name)
{
        for (size_t i = 0; i < c->n_sources; i++)
                if (strcmp(c->sources[i].name, name) == 0)
                        return &c->sources[i];
        if (c->n_sources == LOOP_GAP_SOURCES)
                return &c->sources[1];
        c->sources[c->n_sources].name = name;
        return &c->sources[c->n_sources++];
}

void loop_clock_begin(LoopClock *c)
{
        c->running = &c->sources[0];
        c->began = read_clock(CLOCK_MONOTONIC);
}

static void note(LoopSpans *s, usec_t took)
{
        unsigned bucket = took == 0 ? 0 : 64 - (unsigned)__builtin_clzll(took);
        s->buckets[MIN(bucket, LOOP_GAP_BUCKETS - 1U)]++;
        s->max = MAX(s->max, took);
}

/* The thread's clock costs a system call: it is read once a turn, so what sd-event does between two
 * turns counts as well. */
void loop_clock_end(LoopClock *c)
{
        LoopGapSource *s = c->running;
        usec_t wall = read_clock(CLOCK_MONOTONIC) - c->began;
        usec_t cpu_now = read_clock(CLOCK_THREAD_CPUTIME_ID), cpu = cpu_now - c->cpu_before;
        c->cpu_before = cpu_now;
        note(&c->wall, wall);
        note(&c->cpu, cpu);
        s->handlers++;
        s->max = MAX(s->max, wall);
        s->cpu_max = MAX(s->cpu_max, cpu);
        if (cpu >= LONG_TURN)
                log_debug("%s held the loop for %llu us, at work for %llu us", s->name,
                          (unsigned long long)wall, (unsigned long long)cpu);
}

/* The upper bound of the bucket below which 99 of 100 turns are. */
static usec_t p99(const LoopSpans *s, uint64_t total)
{
        uint64_t seen = 0;
        size_t i = 0;
        if (total == 0)
                return 0;
        for (; i < LOOP_GAP_BUCKETS; i++) {
                seen += s->buckets[i];
                if (seen * 100 >= total * 99)
                        break;
        }
        return MIN((usec_t)1 << i, s->max);
}

void loop_clock_read(LoopClock *c, LoopGaps *ret)
{
        uint64_t total = 0;
        *ret = (LoopGaps){ 0 };
        for (size_t i = 0; i < LOOP_GAP_BUCKETS; i++)
                total += c->wall.buckets[i];
        ret->handlers = total;
        ret->max = c->wall.max;
        ret->p99 = p99(&c->wall, total);
        ret->cpu_max = c->cpu.max;
        ret->cpu_p99 = p99(&c->cpu, total);
        for (size_t i = 0; i < c->n_sources; i++) {
                LoopGapSource *s = &c->sources[i];
                if (s->handlers > 0)
                        ret->sources[ret->n_sources++] = *s;
                *s = (LoopGapSource){ .name = s->name };
        }
        memset(&c->wall, 0, sizeof(c->wall));
        memset(&c->cpu, 0, sizeof(c->cpu));
}
