/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What waits for the upstream, on disk, and state that belongs to it. SQLite in a thread of its
 * own: the loop never waits for fsync. Everything appended in one turn of the loop is one
 * transaction (large turns: a few); `done` is called after the commit is on disk and not before.
 * Results come back on the loop in the order asked for, but for those of reading, which does not
 * wait for what is to be written. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "platform/loop.h"

typedef enum StoreKind {
        STORE_TELEMETRY = 1,
        STORE_REPORT = 2, /* attestation reports and verdicts: overtake telemetry */
        STORE_AUDIT = 3,
} StoreKind;

typedef struct StoreRecord {
        uint64_t id; /* ascending, never reused, given by the store */
        uint8_t kind;
        const char *device;       /* "" for the gateway itself */
        uint64_t device_sequence; /* per device and epoch, from 1, without gaps, given by the store
                                   */
        uint64_t epoch;           /* given by the store, as below */
        const char *topic;        /* below the device or gateway */
        const char *content_type; /* or NULL */
        const char *posture;      /* of the device when it was taken in */
        usec_t received;          /* CLOCK_REALTIME */
        Bytes payload;
} StoreRecord;

/* Frees what a record that the store gave out consists of. */
void store_record_done(StoreRecord *r);
/* The record is the caller's now, to be given to store_record_done(). */
static inline StoreRecord store_record_take(StoreRecord *r)
{
        StoreRecord taken = *r;
        *r = (StoreRecord){ 0 };
        return taken;
}

typedef struct StoreStats {
        uint64_t records, bytes;             /* waiting; bytes of payload and topic */
        uint64_t kept, kept_bytes;           /* values on disk; bytes as for store_kept_max() */
        uint64_t disk_bytes;                 /* of the files */
        uint64_t appended, deleted, refused; /* since start */
        usec_t oldest;                       /* received time of the first record, 0 when empty */
        uint64_t last_id;                    /* the highest that was ever given in this file */
        uint64_t commits;
        usec_t commit_max; /* longest commit since start */
} StoreStats;

typedef struct Store Store;
typedef struct StoreOp StoreOp;

/* 0 durable; -ENOSPC the bound or the disk is full; -EIO and others: not stored. */
typedef void (*StoreDone)(int error, uint64_t id, void *userdata);
/* `records` hold during the call, apart from those that are taken out by store_record_take(). */
typedef void (*StoreReadDone)(int error, StoreRecord *records, size_t n, void *userdata);

/* The smallest bound: below it the write-ahead log alone would not fit. */
#define STORE_BYTES_MIN ((uint64_t)8 << 20)

/* What one transaction, and so one record with its texts, may have in a store of this bound. */
static inline uint64_t store_record_max(uint64_t max_bytes)
{
        return MIN(max_bytes / 16, ((uint64_t)4 << 20) + 65536);
}

/* Opens or creates `store.db` below `directory`, bounded to `max_bytes` on disk, the write-ahead
 * log included. Blocks: at start only. A file that is damaged is set aside as
 * `store.db.damaged-<utc time>`, loudly, a new one is begun and what can be read is taken over;
 * the same happens when damage shows while running. The reason of a failure is logged:
 * -EBADMSG for a file of something else or of a newer version, -EBUSY when another process holds
 * it, -EACCES, -EROFS, -ERANGE for a bound below STORE_BYTES_MIN. */
int store_open(Loop *loop, const char *directory, uint64_t max_bytes, Store **ret);
/* Commits what was appended and deleted, ends the thread. Blocks. No callback is called any
 * more. Must not be called from a callback of the store. */
Store *store_free(Store *s);
DEFINE_CLEANUP(Store, store_free)

/* Copies the record; its id, device_sequence and epoch are ignored. `done` and `ret` may be NULL.
 * -ENOBUFS when too much waits for the thread already: push back on the peer. -EMSGSIZE for a
 * record beyond store_record_max(). `done` says -ENOSPC, too, where records would take the room
 * that values may come to need (store_kept_max()). */
int store_append(Store *s, const StoreRecord *record, StoreDone done, void *userdata,
                 StoreOp **ret);
/* `done` will not be called; a record is stored all the same. Not after `done` was called. */
void store_op_cancel(StoreOp *op);
/* Called on the loop with each record that has become durable, after its `done`, in the order of
 * their ids. It holds during the call, unless it is taken out. NULL: nobody. */
typedef void (*StoreWatch)(StoreRecord *record, void *userdata);
void store_watch(Store *s, StoreWatch watch, void *userdata);

/* Up to `n` records of `kind` (0: all) with ids above `after`, in order, at most `max_bytes` of
 * payload and texts (but at least one record). Sees what is on disk: not what is still to be
 * written, nor what was to be deleted before. `ret` may be NULL. */
int store_read(Store *s, uint8_t kind, uint64_t after, size_t n, size_t max_bytes,
               StoreReadDone done, void *userdata, StoreOp **ret);
/* Forgets records; batched, durable some time later (a crash may bring them back). */
int store_delete(Store *s, const uint64_t *ids, size_t n);

void store_stats(Store *s, StoreStats *ret);
/* A random number chosen when this store's file was created: sequences are unique within it. */
uint64_t store_epoch(Store *s);

/* Besides records the store keeps small values: state of the loop's that must survive with the
 * records that it belongs to. */
typedef struct StoreKey {
        uint8_t kind;  /* the caller's, from 1 */
        uint64_t a, b; /* at most INT64_MAX */
} StoreKey;

/* What a value takes beside its own bytes, about: its key, and what trees of pages leave empty. */
#define STORE_VALUE_OVERHEAD 256
#define STORE_VALUE_PAGE     4096
/* Of a page, what SQLite needs for a value that is in it. */
#define STORE_VALUE_CELL 60

/* All that a value of `len` bytes takes. Only what is small fills a page that it shares: the others
 * have an even part of it, or whole ones (each of those links to the next). */
static inline uint64_t store_value_cost(uint64_t len)
{
        uint64_t in_page = STORE_VALUE_PAGE / (len + STORE_VALUE_CELL);
        if (in_page > 3)
                return STORE_VALUE_OVERHEAD + len;
        if (in_page > 0)
                return STORE_VALUE_OVERHEAD + STORE_VALUE_PAGE / in_page;
        uint64_t pages = (len + STORE_VALUE_CELL) / (STORE_VALUE_PAGE - 4) + 1;
        return STORE_VALUE_OVERHEAD + pages * STORE_VALUE_PAGE;
}

/* Begins a group: what is asked for until the next call comes into one transaction. At most one
 * append is in a group, first: an append begins a group by itself as well. When that append is
 * not taken (no room), nothing of its group is done: the caller has been told by the append's
 * `done`. A barrier, a read, an append that was refused at once and the end of the loop's turn
 * end a group too. A group is one transaction however large: the log grows by each page that it
 * touches, beyond the bound where that is more than twice store_record_max(). */
void store_group(Store *s);
/* Sets or replaces; copies. Durable with the next append or barrier, or some time (1 s) later.
 * What cannot be written (the disk is full) is kept in memory and tried again, unless it is in
 * the group of an append. -ENOMEM, -EMSGSIZE beyond store_record_max(), -ERANGE for a bad key. */
int store_put(Store *s, const StoreKey *key, Bytes value);
/* Harmless when there is none. Lazy like store_put(). */
int store_remove(Store *s, const StoreKey *key);
/* `done` (id 0) when everything asked for before is on disk, or could not be written: values that
 * are tried again may get there yet. */
int store_barrier(Store *s, StoreDone done, void *userdata, StoreOp **ret);
/* All values of a kind, in the order of their keys. Blocks: at start only, before anything else
 * is asked for (-EBUSY). Stops at the first negative return of `each` and returns it. `value`
 * holds during the call, in which the store must not be called. */
typedef int (*StoreEach)(const StoreKey *key, Bytes value, void *userdata);
int store_each(Store *s, uint8_t kind, StoreEach each, void *userdata);
/* Bytes that values may take together, each by store_value_cost(): a quarter of the bound, which
 * records leave free. The caller keeps within it. */
uint64_t store_kept_max(const Store *s);
