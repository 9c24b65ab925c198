/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Records that may be why the broker ends connections: sent first and alone on a connection, they
 * were all it carried when it ended. They stay in the store, set aside, and are tried again after
 * a wait that grows; meanwhile the others go on.
 *
 * Each such end is a strike. It counts when the broker ended the connection and has taken some
 * other record since the record's last strike: broker and connection do work, then. With enough
 * of them the record is guilty. When nothing is taken at all no strike counts but the first. A
 * suspect that the broker takes after all shows that connections end for other reasons too: the
 * strikes of the others are forgotten. */

#include "base/list.h"
#include "base/time.h"

#define SUSPECTS_MAX        64
#define SUSPECTS_PER_DEVICE 4
#define SUSPECT_STRIKES     4
/* The longest wait; the first is the owner's, each further is four times as long. */
#define SUSPECT_WAIT_MAX (60 * USEC_PER_MIN)

typedef struct Suspects {
        List entries;
        size_t n;
        usec_t first_wait;
} Suspects;

typedef enum SuspectVerdict {
        SUSPECT_AGAIN,   /* may be chance: due at once */
        SUSPECT_ASIDE,   /* waits */
        SUSPECT_GUILTY,  /* it is the cause; forgotten here */
        SUSPECT_NO_ROOM, /* it could not be noted: too many of the device, or of all; no memory */
} SuspectVerdict;

void suspects_init(Suspects *s, usec_t first_wait);
void suspects_done(Suspects *s);
bool suspects_has(const Suspects *s, uint64_t id);
/* Another strike. `by_broker`: it ended the connection, not the network. */
SuspectVerdict suspects_strike(Suspects *s, uint64_t id, const char *device, bool by_broker,
                               usec_t now);
/* The broker took the record, suspect or not. */
void suspects_taken(Suspects *s, uint64_t id, usec_t now);
/* Suspect no more, which says nothing of the others. */
void suspects_forget(Suspects *s, uint64_t id);
/* The id of the suspect whose wait ended first; 0: none has to be tried now. */
uint64_t suspects_due(const Suspects *s, usec_t now);
/* CLOCK_BOOTTIME when the next wait ends; USEC_INFINITY without suspects. */
usec_t suspects_next(const Suspects *s);
