/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-count.h"

#include <err.h>
#include <string.h>

#define MAGIC 0x73706c79u

/* Latencies: exact below SUB, then SUB/2 steps for each power of two. */
#define SUB_BITS 7
#define SUB      (1u << SUB_BITS)
#define STEPS    ((64 - SUB_BITS) * (SUB / 2) + SUB)

/* A set of numbers that begin at 0. */
typedef struct Bits {
        uint64_t *words;
        size_t n;
} Bits;

typedef struct Line {
        Bits seen, acknowledged;
        uint64_t received, next; /* one past the highest that was seen */
} Line;

struct Count {
        uint32_t run;
        unsigned n;
        Line *lines;
        CountSummary sums; /* what is counted as it comes */
        usec_t total;
        uint64_t steps[STEPS];
};

/* ---- sets ---- */

static bool bits_test(const Bits *b, uint64_t i)
{
        return i / 64 < b->n && (b->words[i / 64] >> i % 64 & 1);
}

static void bits_set(Bits *b, uint64_t i)
{
        size_t need = (size_t)(i / 64) + 1;
        if (need > b->n) {
                need = MAX(need, b->n * 2);
                b->words = realloc(b->words, need * sizeof(*b->words));
                if (!b->words)
                        err(2, "cannot count");
                memset(b->words + b->n, 0, (need - b->n) * sizeof(*b->words));
                b->n = need;
        }
        b->words[i / 64] |= (uint64_t)1 << i % 64;
}

/* ---- latencies ---- */

static unsigned step_of(usec_t t)
{
        if (t < SUB)
                return (unsigned)t;
        unsigned shift = 63 - (unsigned)__builtin_clzll(t) - (SUB_BITS - 1);
        return SUB + (shift - 1) * (SUB / 2) + (unsigned)(t >> shift) - SUB / 2;
}

/* The most that falls into it. */
static usec_t step_end(unsigned step)
{
        if (step < SUB)
                return step;
        unsigned shift = (step - SUB) / (SUB / 2) + 1;
        usec_t base = (step - SUB) % (SUB / 2) + SUB / 2;
        return ((base + 1) << shift) - 1;
}

static usec_t percentile(const Count *c, double share)
{
        uint64_t want = (uint64_t)(share * (double)c->sums.received), have = 0;
        for (unsigned i = 0; i < STEPS; i++) {
                have += c->steps[i];
                if (have > want)
                        return MIN(step_end(i), c->sums.max);
        }
        return c->sums.max;
}

static void note_latency(Count *c, usec_t took)
{
        CountSummary *s = &c->sums;
        s->min = s->received == 1 ? took : MIN(s->min, took);
        s->max = MAX(s->max, took);
        c->total += took;
        c->steps[step_of(took)]++;
}

/* ---- messages ---- */

static void put(uint8_t *p, uint64_t v, size_t len)
{
        for (size_t i = 0; i < len; i++)
                p[i] = (uint8_t)(v >> 8 * (len - 1 - i));
}

static uint64_t get(const uint8_t *p, size_t len)
{
        uint64_t v = 0;
        for (size_t i = 0; i < len; i++)
                v = v << 8 | p[i];
        return v;
}

static uint8_t filler(const CountStamp *s)
{
        return (uint8_t)(s->connection * 31 + s->sequence * 7 + 1);
}

void count_stamp(const CountStamp *s, uint8_t *payload, size_t len)
{
        put(payload, MAGIC, 4);
        put(payload + 4, s->run, 4);
        put(payload + 8, s->connection, 4);
        put(payload + 12, len, 4);
        put(payload + 16, s->sequence, 8);
        put(payload + 24, s->sent, 8);
        memset(payload + COUNT_STAMP_SIZE, filler(s), len - COUNT_STAMP_SIZE);
}

static CountOutcome read_stamp(const Count *c, Bytes payload, CountStamp *ret)
{
        const uint8_t *p = payload.data;
        if (payload.len < COUNT_STAMP_SIZE || get(p, 4) != MAGIC || get(p + 4, 4) != c->run ||
            get(p + 8, 4) >= c->n)
                return COUNT_FOREIGN;
        *ret = (CountStamp){ .run = c->run,
                             .connection = (uint32_t)get(p + 8, 4),
                             .sequence = get(p + 16, 8),
                             .sent = get(p + 24, 8) };
        if (get(p + 12, 4) != payload.len || ret->sequence > UINT32_MAX)
                return COUNT_DAMAGED;
        for (size_t i = COUNT_STAMP_SIZE; i < payload.len; i++)
                if (p[i] != filler(ret))
                        return COUNT_DAMAGED;
        return COUNT_FIRST;
}

static CountOutcome take_good(Count *c, const CountStamp *s, usec_t now)
{
        Line *l = &c->lines[s->connection];
        if (bits_test(&l->seen, s->sequence)) {
                c->sums.duplicates++;
                return COUNT_DUPLICATE;
        }
        bool late = s->sequence < l->next;
        bits_set(&l->seen, s->sequence);
        l->received++;
        l->next = MAX(l->next, s->sequence + 1);
        c->sums.received++;
        c->sums.late += late;
        c->sums.first = c->sums.received == 1 ? now : c->sums.first;
        c->sums.last = now;
        note_latency(c, now > s->sent ? now - s->sent : 0);
        return late ? COUNT_LATE : COUNT_FIRST;
}

CountOutcome count_take(Count *c, Bytes payload, usec_t now, CountStamp *ret)
{
        CountStamp s = { 0 };
        CountOutcome o = read_stamp(c, payload, &s);
        if (o == COUNT_FOREIGN)
                c->sums.foreign++;
        else if (o == COUNT_DAMAGED)
                c->sums.damaged++;
        else
                o = take_good(c, &s, now);
        if (ret && o != COUNT_FOREIGN)
                *ret = s;
        return o;
}

void count_acknowledged(Count *c, unsigned connection, uint64_t sequence)
{
        bits_set(&c->lines[connection].acknowledged, sequence);
}

uint64_t count_received(const Count *c, unsigned connection)
{
        return c->lines[connection].received;
}

uint64_t count_total(const Count *c)
{
        return c->sums.received;
}

static void add_line(const Line *l, uint64_t sent, CountSummary *s)
{
        s->missing += sent > l->received ? sent - l->received : 0;
        for (size_t i = 0; i < l->acknowledged.n; i++) {
                uint64_t a = l->acknowledged.words[i], seen = i < l->seen.n ? l->seen.words[i] : 0;
                s->acknowledged += (uint64_t)__builtin_popcountll(a);
                s->acknowledged_lost += (uint64_t)__builtin_popcountll(a & ~seen);
        }
}

void count_summarize(const Count *c, const uint64_t *sent, CountSummary *ret)
{
        *ret = c->sums;
        for (unsigned i = 0; i < c->n; i++)
                add_line(&c->lines[i], sent ? sent[i] : c->lines[i].next, ret);
        if (ret->received == 0)
                return;
        ret->mean = c->total / ret->received;
        ret->p50 = percentile(c, 0.5);
        ret->p90 = percentile(c, 0.9);
        ret->p99 = percentile(c, 0.99);
        ret->p999 = percentile(c, 0.999);
}

Count *count_new(unsigned connections, uint32_t run)
{
        Count *c = calloc(1, sizeof(*c));
        Line *lines = calloc(MAX(connections, 1u), sizeof(*lines));
        if (!c || !lines)
                err(2, "cannot count");
        c->run = run;
        c->n = connections;
        c->lines = lines;
        return c;
}

Count *count_free(Count *c)
{
        if (!c)
                return NULL;
        for (unsigned i = 0; i < c->n; i++) {
                free(c->lines[i].seen.words);
                free(c->lines[i].acknowledged.words);
        }
        free(c->lines);
        free(c);
        return NULL;
}
