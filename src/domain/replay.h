/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The last answer that each peer got to a report. A peer that lost it sends the same bytes again,
 * in a new message, and is told the same; nothing is judged anew and no verdict lasts longer. One
 * answer a peer, for as long as CoAP may repeat an exchange. Time is an argument. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "domain/registry.h"

#define REPLAY_LIFETIME (247 * USEC_PER_SEC) /* EXCHANGE_LIFETIME, RFC 7252 section 4.8.2 */
#define REPLAY_DIGEST   32

typedef struct ReplayAnswer {
        int outcome; /* the caller's */
        Posture posture;
        char reason[REASON_MAX];
        Bytes result; /* empty: there was none */
} ReplayAnswer;

typedef struct Replays Replays;

int replays_new(Replays **ret);
Replays *replays_free(Replays *r);
DEFINE_CLEANUP(Replays, replays_free)

/* Keeps a copy of the answer to the report with this digest in place of the peer's last one, until
 * `until` (CLOCK_BOOTTIME) and for REPLAY_LIFETIME at most. 0 or -ENOMEM: the peer has none. */
int replays_keep(Replays *r, const char *peer, const uint8_t digest[static REPLAY_DIGEST],
                 const ReplayAnswer *answer, usec_t now, usec_t until);
/* NULL when the peer's last report was another one, or was answered too long ago. Holds until the
 * next call. */
const ReplayAnswer *replays_find(const Replays *r, const char *peer,
                                 const uint8_t digest[static REPLAY_DIGEST], usec_t now);
void replays_forget(Replays *r, const char *peer);
