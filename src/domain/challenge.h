/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Nonces that are out with devices. Each is good for one report of the device it was given to,
 * within its lifetime. A peer is known here by its device's name: a device that renewed its
 * certificate, or changed from MQTT to CoAP between the question and its report, is the same peer.
 *
 * The table has a fixed size. A peer holds two nonces at most and a third takes the place of its
 * own oldest one, so that no peer can push another's out. Randomness and time are arguments. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"

#define CHALLENGE_NONCE_MIN 8
#define CHALLENGE_NONCE_MAX 64
#define CHALLENGE_PER_PEER  2
/* A peer may ask once in this time. */
#define CHALLENGE_INTERVAL USEC_PER_SEC

typedef struct Challenges Challenges;

/* `capacity` nonces in all (CHALLENGE_PER_PEER for each device is enough); `random` fills a buffer
 * or returns a negative errno. 0 or -ENOMEM. */
int challenges_new(size_t capacity, int (*random)(void *p, size_t len), Challenges **ret);
Challenges *challenges_free(Challenges *c);
/* Makes room for `capacity` nonces; what is out stays out, and a table never shrinks. 0, or -ENOMEM
 * and the table is as before. */
int challenges_reserve(Challenges **c, size_t capacity);
DEFINE_CLEANUP(Challenges, challenges_free)

/* Gives `peer` a new nonce of `len` bytes that is good until `now` + `lifetime`. 0;
 * -EAGAIN: the peer asked again too soon, or the table is full of other peers' live nonces;
 * -ERANGE: not a length from CHALLENGE_NONCE_MIN to _MAX; -EIO: no randomness, nothing issued. */
int challenges_issue(Challenges *c, const char *peer, size_t len, usec_t lifetime, usec_t now,
                     uint8_t ret[static CHALLENGE_NONCE_MAX]);

/* Takes `nonce` out of the table if it is outstanding for `peer`: true once, whatever becomes of
 * the report that carried it; `ret_issued` (may be NULL) tells when it was given out. An expired
 * nonce is gone as well, but false. */
bool challenges_consume(Challenges *c, const char *peer, Bytes nonce, usec_t now,
                        usec_t *ret_issued);

/* The same for evidence that cannot be read: every nonce that is outstanding for `peer` and stands
 * anywhere in these bytes is used up. A peer reaches its own nonces alone, so all that it can spoil
 * is its own next report. How many of them were still good. */
size_t challenges_spend(Challenges *c, const char *peer, Bytes evidence, usec_t now);

/* No nonce of the peer is good any more. How often it may ask is not forgotten. */
void challenges_forget(Challenges *c, const char *peer);
