/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Between the files of the store: the connection and its statements. */

#include <sqlite3.h>

#include "platform/store-db.h"
#include "platform/store-sequences.h"

#define STORE_APPLICATION_ID 0x53505354 /* "SPST" */
#define STORE_VERSION        2
/* Ids are given from 1 on: no store ever comes this far. */
#define STORE_ID_MAX (INT64_MAX / 2)
/* Transactions that a disk which is about to be full has yet room for: without it nothing could be
 * deleted. */
#define STORE_RECORDS_LEAVE 2
#define STORE_VALUES_LEAVE  1
/* Of a larger file only the values are checked at start, which are all read then: other damage
 * shows when it is read. */
#define STORE_CHECK_MAX ((uint64_t)64 << 20)

typedef enum StoreStatement {
        SQL_BEGIN,
        SQL_COMMIT,
        SQL_ROLLBACK,
        SQL_SEQUENCE_READ,
        SQL_SEQUENCE_NEW,
        SQL_SEQUENCE_WRITE,
        SQL_INSERT,
        SQL_SIZE,
        SQL_DELETE,
        SQL_READ_ALL,
        SQL_READ_TELEMETRY,
        SQL_READ_SPECIAL,
        SQL_OLDEST,
        SQL_KEPT_SIZE,
        SQL_KEPT_PUT,
        SQL_KEPT_REMOVE,
        SQL_KEPT_EACH,
        SQL_STATE_WRITE,
        SQL_PAGES,
        SQL_FREE_PAGES,
        _SQL_MAX,
} StoreStatement;

/* What the file holds; the row `state` has them as well. */
typedef struct StoreCounts {
        uint64_t records, bytes;
        uint64_t kept, kept_bytes; /* by store_value_cost() */
} StoreCounts;

struct StoreDb {
        char *directory, *path;
        uint64_t max_bytes;
        sqlite3 *sql;
        sqlite3_stmt *statements[_SQL_MAX];
        StoreSequences *sequences;
        uint64_t page_size, max_pages;
        uint64_t pages;  /* in use when the transaction began */
        uint64_t growth; /* bytes that the transaction may add, estimated */
        uint64_t disk;   /* bytes that the file system had for it then, beside what it owes */
        uint64_t epoch;
        uint64_t last_id;  /* the last that was given, or 0 */
        StoreCounts now;   /* with the open transaction */
        StoreCounts saved; /* what a rollback goes back to */
        usec_t oldest;
};

/* Whether the file system has room for `cost` more bytes, in the log and then in the main file, and
 * for `spare` transactions of any kind after that. */
bool store_disk_has(const StoreDb *db, uint64_t cost, unsigned spare);

/* Opens the connection, checks identity and integrity, makes the tables when new: 0, -EUCLEAN
 * for a damaged file, others. Logged, apart from -EUCLEAN. */
int store_sql_open(StoreDb *db);
void store_sql_close(StoreDb *db);
/* The errno for what the last call on `sql` returned. */
int store_sql_errno(sqlite3 *sql, int rc);
/* Runs a statement to its first row: 1 row, 0 done, negative errno. Reset it afterwards. */
int store_sql_step(StoreDb *db, StoreStatement which);
/* Runs a statement whose rows do not matter: 0 or negative errno. */
int store_sql_run(StoreDb *db, StoreStatement which);
/* One integer from a query that has no parameters. */
int store_sql_integer(sqlite3 *sql, const char *query, int64_t *ret);

/* Moves the file and its log to another name; `ret` is that name. Logged. */
int store_set_aside(StoreDb *db, char **ret);
/* Copies what can be read of the file `path` into `db`. Logs what came of it. */
void store_salvage(StoreDb *db, const char *path);
