/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The uplink's memory of one connection: what is on its way, and whose records have to wait. */

#include "base/hashmap.h"
#include "base/list.h"
#include "base/time.h"

typedef struct InFlight {
        List link;
        int mid;
        uint64_t id;
        size_t bytes;  /* of payload */
        char device[]; /* "" for the gateway itself */
} InFlight;

typedef struct Window {
        List entries; /* in the order they were sent in */
        size_t n, bytes;
        uint64_t highest; /* id */
} Window;

void window_init(Window *w);
void window_clear(Window *w);
/* -ENOMEM */
int window_add(Window *w, int mid, uint64_t id, size_t bytes, const char *device);
/* The entry is the caller's to free; NULL when there is none. */
InFlight *window_take(Window *w, int mid);
/* All of `from` that `to` has not yet; `from` is empty then. */
void window_move(Window *to, Window *from);
/* Takes out and frees the entry with this id, if there is one. */
void window_forget(Window *w, uint64_t id);

/* Devices whose records the broker refused for now. */
typedef struct Holds {
        Hashmap *devices;
} Holds;

int holds_init(Holds *h);
void holds_done(Holds *h);
size_t holds_count(const Holds *h);
/* The record `id` was refused: the device waits, each time twice as long. -ENOMEM */
int holds_refuse(Holds *h, const char *device, uint64_t id, usec_t now);
bool holds_blocks(const Holds *h, const char *device);
/* Whether the record `id` has to wait with its device; if so its release will not pass it over. */
bool holds_keep(Holds *h, const char *device, uint64_t id);
/* A record of the device got through: its history is forgotten. */
void holds_accept(Holds *h, const char *device);
/* Lets go of those whose time has come: true, and `ret_lowest` the first id to look at again.
 * What gets through or is refused next decides on their history. */
bool holds_release(Holds *h, usec_t now, uint64_t *ret_lowest);
/* CLOCK_BOOTTIME of the next release, USEC_INFINITY without one. */
usec_t holds_next(const Holds *h);
