/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Time in microseconds. What decides takes `now` as an argument; only edges read a clock. */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef uint64_t usec_t;

#define USEC_INFINITY UINT64_MAX
#define USEC_PER_MSEC ((usec_t)1000)
#define USEC_PER_SEC  ((usec_t)1000000)
#define USEC_PER_MIN  (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MIN)
#define USEC_PER_DAY  (24 * USEC_PER_HOUR)

/* CLOCK_BOOTTIME: goes on in suspend, never jumps. The clock of timeouts and verdicts. */
usec_t now_boottime(void);
/* CLOCK_REALTIME: for what leaves this machine. May jump. */
usec_t now_realtime(void);
/* `a + b`, USEC_INFINITY when it would overflow or either is infinite. */
usec_t usec_add(usec_t a, usec_t b);
/* Whole days from `now` to `until`; negative once it is over. */
int64_t usec_days_left(usec_t until, usec_t now);
/* "2h 5min", "850ms", "0", "infinity"; `ret` holds USEC_FORMAT_MAX. Returns `ret`. */
#define USEC_FORMAT_MAX 64
char *usec_format_span(usec_t t, char ret[static USEC_FORMAT_MAX]);
/* RFC 3339 in UTC: "2026-01-31T12:00:00Z"; "never" for USEC_INFINITY. Returns `ret`. */
char *usec_format_utc(usec_t realtime, char ret[static USEC_FORMAT_MAX]);
