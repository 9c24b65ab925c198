/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the uplink learns from the end of a connection, so that a record which the broker answers
 * by ending it does not hold up the others for ever, and no other record is lost for it.
 *
 * - Several were on their way: one may be the cause. They go one at a time on the next connection,
 *   each until it is acknowledged.
 * - One was on its way, not the first of its connection: it goes first on the next one, alone, so
 *   that nothing else (many messages, a long silence before) can be the cause.
 * - It was the first and only one: a strike (uplink-suspects.h). It is set aside, and tried again
 *   alone when its wait is over. */

#include "daemon/uplink-suspects.h"
#include "daemon/uplink-window.h"
#include "platform/mqtt-client.h"

typedef struct Caution {
        Suspects suspects;
        Window doubted;    /* on their way when a connection ended, not acknowledged since */
        uint64_t trial;    /* to be sent next, or on its way; 0: none */
        usec_t trial_from; /* no suspect is tried before: the others have their turn */
        uint64_t sent;     /* on this connection */
        bool answered;     /* something was acknowledged on this connection */
} Caution;

typedef enum CautionVerdict {
        CAUTION_NOTHING, /* or what sends it again */
        CAUTION_ASIDE,   /* the record is set aside */
        CAUTION_HOLD,    /* the records of its device should wait */
        CAUTION_DROP,    /* the record is the cause, beyond doubt */
} CautionVerdict;

/* `wait`: for how long a record is set aside at first; 0 is 10 s. */
void caution_init(Caution *c, usec_t wait);
void caution_done(Caution *c);

void caution_connected(Caution *c, usec_t now);
/* `window` is what was on its way; may be emptied. The verdict is about its only entry. */
CautionVerdict caution_ended(Caution *c, Window *window, MqttEnd end, usec_t now);

/* Whether records go one at a time: some of those that were doubted are not acknowledged yet. */
bool caution_alone(const Caution *c);
/* The id of the record that goes before all others, when nothing is on its way; 0: none. */
uint64_t caution_trial(Caution *c, usec_t now);
/* CLOCK_BOOTTIME when to ask for a trial again, USEC_INFINITY: no need. */
usec_t caution_next(const Caution *c);
/* Whether the record is set aside: it goes by trial only. */
bool caution_keeps(const Caution *c, uint64_t id);
size_t caution_count(const Caution *c);

void caution_sent(Caution *c);
/* The broker has the record. */
void caution_taken(Caution *c, uint64_t id, usec_t now);
/* The record was refused, dropped, held back or is gone: its answer is not awaited any more. */
void caution_passed(Caution *c, uint64_t id);
/* Everything was looked at and nothing is on its way. */
void caution_idle(Caution *c);
