/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The store's file: SQLite behind synchronous calls, for the store's thread alone. Errors are
 * negative errnos; -EUCLEAN says that the file is damaged: store_db_replace() it. */

#include "platform/store.h"

/* The part of the bound that is promised to values. */
#define STORE_KEPT_SHARE 4

typedef struct StoreDb StoreDb;

/* As store_open(); reasons are logged. */
int store_db_open(const char *directory, uint64_t max_bytes, StoreDb **ret);
StoreDb *store_db_free(StoreDb *db);
DEFINE_CLEANUP(StoreDb, store_db_free)
/* Sets the file aside, begins a new one and takes over what can be read. On failure `*db` is
 * NULL. */
int store_db_replace(StoreDb **db);

/* Bytes that one transaction may take. */
size_t store_db_batch_bytes(const StoreDb *db);
uint64_t store_db_epoch(const StoreDb *db);

int store_db_begin(StoreDb *db);
/* On return 0 the transaction is on disk. Otherwise it is rolled back. */
int store_db_commit(StoreDb *db);
void store_db_rollback(StoreDb *db);

/* Within a transaction; the record has its id (where it had none), its sequence and its epoch then.
 * -ENOSPC beyond the bound, or where too little of the disk would be left: the transaction is still
 * good. After any other error (-EDQUOT: the disk itself is full) it has to be rolled back. */
int store_db_append(StoreDb *db, StoreRecord *record);
/* Within a transaction. Ids that are not there are ignored. */
int store_db_delete(StoreDb *db, const uint64_t *ids, size_t n);

/* Within a transaction: 1 when something changed, 0 otherwise. After an error (as above) it has to
 * be rolled back. */
int store_db_put(StoreDb *db, const StoreKey *key, Bytes value);
int store_db_remove(StoreDb *db, const StoreKey *key);
/* As store_each(). */
int store_db_each(StoreDb *db, uint8_t kind, StoreEach each, void *userdata);
/* Bytes of the bound that values may yet come to need. */
uint64_t store_db_kept_reserve(const StoreDb *db);

/* As store_read(); the records belong to the caller. */
int store_db_read(StoreDb *db, uint8_t kind, uint64_t after, size_t n, size_t max_bytes,
                  StoreRecord **ret, size_t *ret_n);

/* Fills in what stands in the file: `records` to `oldest`, and `last_id`. */
void store_db_stats(StoreDb *db, StoreStats *ret);

/* A copy whose texts and payload live in one block. -ENOMEM. */
int store_record_copy(const StoreRecord *src, StoreRecord *ret);
void store_records_free(StoreRecord *records, size_t n);
/* What the record takes on disk, about. */
size_t store_record_size(const StoreRecord *r);
