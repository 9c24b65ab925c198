/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The records of one kind that are to go: the next of them in memory, the others in the store. What
 * comes in while nothing else waits goes from memory, and is not read back; what has piled up is
 * read ahead, so that the window does not run empty while the store's thread writes. */

#include "base/list.h"
#include "platform/store.h"

/* Read at once. */
#define BACKLOG_PAGE 256
/* With all that they take, beyond which records stay in the store; a page that was read may exceed
 * it by as much. */
#define BACKLOG_BYTES ((size_t)1 << 20)

typedef struct Backlog {
        List records; /* in the order of their ids */
        size_t n, bytes;
        uint64_t after; /* id up to which all are in memory or were looked at */
        bool dry;       /* none was in the store beyond `after` when last asked, nor came since */
} Backlog;

void backlog_init(Backlog *b);
void backlog_done(Backlog *b);
/* Forgets what is in memory; what is not yet gone, and all above `after`, is looked at again. */
void backlog_rewind(Backlog *b, uint64_t after);
/* Whether the next page should be read. */
bool backlog_wants(const Backlog *b);
/* A page that was read, or a failure to: takes the records over. -ENOMEM: those that are missing
 * will be read again. */
int backlog_read(Backlog *b, StoreRecord *records, size_t n);
/* A record that has become durable: takes it over where it is the next and there is room. */
void backlog_appended(Backlog *b, StoreRecord *record);
/* The next to go, NULL: none in memory. */
const StoreRecord *backlog_first(const Backlog *b);
/* The first is on its way, or was dealt with otherwise. */
void backlog_pop(Backlog *b);
