/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What became of every single message: each carries who sent it, as which of its messages, and
 * when; whoever receives them hands them in here and hears whether one is lost, came twice or out
 * of order. No I/O and no clock. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"

#define COUNT_STAMP_SIZE 32 /* bytes; the least that a message has */

typedef struct CountStamp {
        uint32_t run; /* tells what an earlier run left on the way */
        uint32_t connection;
        uint64_t sequence; /* from 0, for each connection */
        usec_t sent;       /* or, at a fixed rate, when it was due: a server that stands still does
                              not hide that */
} CountStamp;

/* Fills the payload, of at least COUNT_STAMP_SIZE bytes. */
void count_stamp(const CountStamp *s, uint8_t *payload, size_t len);

typedef struct Count Count;

Count *count_new(unsigned connections, uint32_t run);
Count *count_free(Count *c);

typedef enum CountOutcome {
        COUNT_FIRST,
        COUNT_LATE,      /* the first time, but a later one of its connection was here before */
        COUNT_DUPLICATE, /* not the first time */
        COUNT_FOREIGN,   /* of another run, or nobody's */
        COUNT_DAMAGED,   /* ours, with other bytes than it was sent with */
} CountOutcome;
/* `ret` (may be NULL) is filled for all but foreign ones. */
CountOutcome count_take(Count *c, Bytes payload, usec_t now, CountStamp *ret);
/* The server took it upon itself: from now on it must not be lost. */
void count_acknowledged(Count *c, unsigned connection, uint64_t sequence);
/* Different ones that were received, of one connection and of all. */
uint64_t count_received(const Count *c, unsigned connection);
uint64_t count_total(const Count *c);

typedef struct CountSummary {
        uint64_t received, duplicates, late, foreign, damaged;
        uint64_t missing;                           /* of those that were sent */
        uint64_t acknowledged;                      /* and of these: */
        uint64_t acknowledged_lost;                 /* were not received */
        usec_t first, last;                         /* when the first and the last new one came */
        usec_t min, mean, p50, p90, p99, p999, max; /* from sent to received; 1.6 % too much at
                                                       most, the extremes exact */
} CountSummary;
/* `sent`: how many of each connection, or NULL: up to the highest that was seen. */
void count_summarize(const Count *c, const uint64_t *sent, CountSummary *ret);
