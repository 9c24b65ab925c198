/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/log.h"

/* Values apart from their keys: a tree by key that holds them too takes four pages for three
 * values of 1.1 KB, and a third longer for those of 256 bytes. */
#define KEPT_TABLE                                                                                 \
        "CREATE TABLE kept(kind INTEGER NOT NULL, a INTEGER NOT NULL, b INTEGER NOT NULL,"         \
        " value BLOB NOT NULL, PRIMARY KEY(kind, a, b)) STRICT;"

/* Reports and audit records are few and are looked for ahead of telemetry: they alone carry an
 * index entry, so that telemetry costs one b-tree insertion. */
static const char schema[] =
        "CREATE TABLE state(id INTEGER PRIMARY KEY CHECK(id = 1), epoch INTEGER NOT NULL,"
        " records INTEGER NOT NULL, bytes INTEGER NOT NULL,"
        " kept INTEGER NOT NULL DEFAULT 0, kept_bytes INTEGER NOT NULL DEFAULT 0) STRICT;"
        "CREATE TABLE device(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
        " sequence INTEGER NOT NULL) STRICT;"
        "CREATE TABLE record(id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,"
        " device INTEGER NOT NULL, sequence INTEGER NOT NULL, received INTEGER NOT NULL,"
        " topic TEXT NOT NULL, content_type TEXT, posture TEXT NOT NULL,"
        " payload BLOB NOT NULL) STRICT;"
        "CREATE INDEX record_special ON record(kind, id) WHERE kind <> 1;" KEPT_TABLE;

/* From version 1, which had no values. */
static const char migration[] =
        "BEGIN IMMEDIATE;"
        "ALTER TABLE state ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE state ADD COLUMN kept_bytes INTEGER NOT NULL DEFAULT 0;" KEPT_TABLE
        "PRAGMA user_version = 2; COMMIT;";

#define READ_COLUMNS                                                                               \
        "SELECT r.id, r.kind, d.name, r.sequence, r.received, r.topic, r.content_type,"            \
        " r.posture, r.payload FROM record r JOIN device d ON d.id = r.device WHERE "

static const char *const queries[_SQL_MAX] = {
        [SQL_BEGIN] = "BEGIN IMMEDIATE",
        [SQL_COMMIT] = "COMMIT",
        [SQL_ROLLBACK] = "ROLLBACK",
        [SQL_SEQUENCE_READ] = "SELECT id, sequence FROM device WHERE name = ?1",
        [SQL_SEQUENCE_NEW] = "INSERT INTO device(name, sequence) VALUES(?1, 0)",
        [SQL_SEQUENCE_WRITE] = "UPDATE device SET sequence = ?2 WHERE id = ?1",
        [SQL_INSERT] =
                "INSERT INTO record(id, kind, device, sequence, received, topic,"
                " content_type, posture, payload) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        [SQL_SIZE] = "SELECT count(*), sum(length(CAST(topic AS BLOB)) + length(payload))"
                     " FROM record WHERE id BETWEEN ?1 AND ?2",
        [SQL_DELETE] = "DELETE FROM record WHERE id BETWEEN ?1 AND ?2",
        [SQL_READ_ALL] = READ_COLUMNS "r.id > ?1 ORDER BY r.id LIMIT ?2",
        [SQL_READ_TELEMETRY] = READ_COLUMNS "r.kind = 1 AND r.id > ?1 ORDER BY r.id LIMIT ?2",
        [SQL_READ_SPECIAL] =
                READ_COLUMNS "r.kind <> 1 AND r.kind = ?3 AND r.id > ?1 ORDER BY r.id LIMIT ?2",
        [SQL_OLDEST] = "SELECT received FROM record ORDER BY id LIMIT 1",
        [SQL_KEPT_SIZE] = "SELECT length(value) FROM kept WHERE kind = ?1 AND a = ?2 AND b = ?3",
        [SQL_KEPT_PUT] = "INSERT INTO kept(kind, a, b, value) VALUES(?1, ?2, ?3, ?4)"
                         " ON CONFLICT DO UPDATE SET value = excluded.value",
        [SQL_KEPT_REMOVE] = "DELETE FROM kept WHERE kind = ?1 AND a = ?2 AND b = ?3"
                            " RETURNING length(value)",
        [SQL_KEPT_EACH] = "SELECT a, b, value FROM kept WHERE kind = ?1 AND a >= 0 AND b >= 0"
                          " ORDER BY a, b",
        [SQL_STATE_WRITE] = "UPDATE state SET records = ?1, bytes = ?2, kept = ?3, kept_bytes = ?4",
        [SQL_PAGES] = "PRAGMA page_count",
        [SQL_FREE_PAGES] = "PRAGMA freelist_count",
};

int store_sql_errno(sqlite3 *sql, int rc)
{
        int system = sql ? sqlite3_system_errno(sql) : 0;
        switch (rc & 0xff) {
        case SQLITE_OK:
        case SQLITE_DONE:
        case SQLITE_ROW:
                return 0;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return -EUCLEAN;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_READONLY:
                return -EROFS;
        case SQLITE_CANTOPEN:
        case SQLITE_PERM:
                return system > 0 ? -system : -EACCES;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_CONSTRAINT:
                return -EEXIST;
        case SQLITE_IOERR:
                return system == ENOSPC || system == EDQUOT || system == EROFS ? -system : -EIO;
        default:
                return -EIO;
        }
}

int store_sql_step(StoreDb *db, StoreStatement which)
{
        int rc = sqlite3_step(db->statements[which]);
        if (rc == SQLITE_ROW)
                return 1;
        return store_sql_errno(db->sql, rc);
}

int store_sql_run(StoreDb *db, StoreStatement which)
{
        int r = store_sql_step(db, which);
        sqlite3_reset(db->statements[which]);
        return MIN(r, 0);
}

int store_sql_integer(sqlite3 *sql, const char *query, int64_t *ret)
{
        sqlite3_stmt *statement = NULL;
        int rc = sqlite3_prepare_v2(sql, query, -1, &statement, NULL);
        if (rc == SQLITE_OK)
                rc = sqlite3_step(statement);
        int r = rc == SQLITE_DONE ? -ENOENT : store_sql_errno(sql, rc);
        if (rc == SQLITE_ROW)
                *ret = sqlite3_column_int64(statement, 0);
        sqlite3_finalize(statement);
        return r;
}

static int execute(sqlite3 *sql, const char *text)
{
        return store_sql_errno(sql, sqlite3_exec(sql, text, NULL, NULL, NULL));
}

/* SQLite would create the file readable for others and tell less about what failed. */
static int create_file(const char *path)
{
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return log_error_errno(-errno, "Cannot open the store %s", path);
        struct stat st;
        if (fstat(fd, &st) < 0)
                return log_error_errno(-errno, "Cannot examine the store %s", path);
        if (!S_ISREG(st.st_mode)) {
                log_error("The store %s is not a regular file", path);
                return -EBADMSG;
        }
        return 0;
}

static int configure(sqlite3 *sql)
{
        sqlite3_extended_result_codes(sql, 1);
        sqlite3_db_config(sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        /* Exclusive before the log is first touched: then no shared memory file is needed, and a
         * second process is told that the store is in use. */
        return execute(sql, "PRAGMA locking_mode = EXCLUSIVE;"
                            "PRAGMA cell_size_check = ON;"
                            "PRAGMA temp_store = MEMORY;"
                            "PRAGMA cache_size = -4096;"
                            "PRAGMA journal_mode = WAL;"
                            "PRAGMA synchronous = FULL;"
                            "BEGIN EXCLUSIVE; COMMIT;");
}

static int create_tables(StoreDb *db)
{
        uint64_t epoch;
        if (getrandom(&epoch, sizeof(epoch), 0) != sizeof(epoch))
                return -EIO;
        epoch >>= 1; /* SQLite's integers are signed */
        char text[sizeof(schema) + 256];
        snprintf(text, sizeof(text),
                 "BEGIN IMMEDIATE; %s INSERT INTO state VALUES(1, %llu, 0, 0, 0, 0);"
                 "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;",
                 schema, (unsigned long long)epoch, STORE_APPLICATION_ID, STORE_VERSION);
        return execute(db->sql, text);
}

static int migrate(StoreDb *db)
{
        int rc = sqlite3_exec(db->sql, migration, NULL, NULL, NULL);
        /* The tables have version 1 on them, but are not ours. */
        if ((rc & 0xff) == SQLITE_ERROR)
                return -EUCLEAN;
        return store_sql_errno(db->sql, rc);
}

/* Ours, of this version? A file without any content is new. */
static int check_identity(StoreDb *db)
{
        int64_t application, version, schema_version, pages;
        int r = store_sql_integer(db->sql, "PRAGMA application_id", &application);
        if (r == 0)
                r = store_sql_integer(db->sql, "PRAGMA user_version", &version);
        if (r == 0)
                r = store_sql_integer(db->sql, "PRAGMA schema_version", &schema_version);
        if (r == 0)
                r = store_sql_integer(db->sql, "PRAGMA page_count", &pages);
        if (r < 0)
                return r;
        if (application == 0 && version == 0 && schema_version == 0)
                return create_tables(db);
        if (application != STORE_APPLICATION_ID) {
                log_error("%s is a database, but not a store of sallyport", db->path);
                return -EBADMSG;
        }
        if (version > STORE_VERSION) {
                log_error("The store %s was written by a newer sallyport (its format is %lld, this"
                          " one knows %d)",
                          db->path, (long long)version, STORE_VERSION);
                return -EBADMSG;
        }
        if (version == 1)
                return migrate(db);
        return version == STORE_VERSION ? 0 : -EUCLEAN;
}

static int check_integrity(StoreDb *db)
{
        bool all = db->pages * db->page_size <= STORE_CHECK_MAX;
        sqlite3_stmt *statement = NULL;
        int rc = sqlite3_prepare_v2(db->sql,
                                    all ? "PRAGMA quick_check(1)" : "PRAGMA quick_check(kept)", -1,
                                    &statement, NULL);
        if (rc == SQLITE_OK)
                rc = sqlite3_step(statement);
        int r = store_sql_errno(db->sql, rc);
        if (rc == SQLITE_ROW) {
                const char *text = (const char *)sqlite3_column_text(statement, 0);
                if (!text || strcmp(text, "ok") != 0) {
                        log_error("The store %s fails its check: %s", db->path, text ? text : "?");
                        r = -EUCLEAN;
                }
        }
        sqlite3_finalize(statement);
        return r;
}

/* The log may grow to what starts a checkpoint plus one transaction: both come out of the bound.
 * The main file gets the rest. */
static int bound_file(StoreDb *db)
{
        int64_t page_size = 0;
        int r = store_sql_integer(db->sql, "PRAGMA page_size", &page_size);
        if (r < 0)
                return r;
        db->page_size = (uint64_t)page_size;
        uint64_t batch = store_db_batch_bytes(db);
        db->max_pages = (db->max_bytes - 4 * batch) / db->page_size;
        char text[256];
        snprintf(text, sizeof(text),
                 "PRAGMA max_page_count = %llu; PRAGMA wal_autocheckpoint = %llu;"
                 "PRAGMA journal_size_limit = %llu;",
                 (unsigned long long)db->max_pages, (unsigned long long)(batch / db->page_size),
                 (unsigned long long)(2 * batch));
        return execute(db->sql, text);
}

static int prepare_statements(StoreDb *db)
{
        for (size_t i = 0; i < _SQL_MAX; i++) {
                int rc = sqlite3_prepare_v3(db->sql, queries[i], -1, SQLITE_PREPARE_PERSISTENT,
                                            &db->statements[i], NULL);
                /* The tables have our version on them, but are not ours. */
                if (rc == SQLITE_ERROR)
                        return -EUCLEAN;
                if (rc != SQLITE_OK)
                        return store_sql_errno(db->sql, rc);
        }
        return 0;
}

enum {
        EPOCH,
        RECORDS,
        COUNTED,
        KEPT,
        KEPT_COUNTED,
        OLDEST,
        LAST_ID,
        PAGES,
        FREE_PAGES,
        _STATE_MAX
};

static int read_state(StoreDb *db, int64_t ret[static _STATE_MAX])
{
        static const char *const state[_STATE_MAX] = {
                [EPOCH] = "SELECT epoch FROM state",
                [RECORDS] = "SELECT records FROM state",
                [COUNTED] = "SELECT bytes FROM state",
                [KEPT] = "SELECT kept FROM state",
                [KEPT_COUNTED] = "SELECT kept_bytes FROM state",
                [OLDEST] = "SELECT coalesce((SELECT received FROM record ORDER BY id LIMIT 1), 0)",
                [LAST_ID] = "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'record'",
                [PAGES] = "PRAGMA page_count",
                [FREE_PAGES] = "PRAGMA freelist_count",
        };
        for (size_t i = 0; i < _STATE_MAX; i++) {
                int r = store_sql_integer(db->sql, state[i], &ret[i]);
                if (r < 0)
                        return r == -ENOENT ? -EUCLEAN : r;
        }
        return 0;
}

static int load_state(StoreDb *db)
{
        int64_t v[_STATE_MAX];
        int r = read_state(db, v);
        if (r < 0)
                return r;
        if (v[RECORDS] < 0 || v[COUNTED] < 0 || v[KEPT] < 0 || v[KEPT_COUNTED] < 0 ||
            v[LAST_ID] < 0 || v[FREE_PAGES] > v[PAGES])
                return -EUCLEAN;
        db->epoch = (uint64_t)v[EPOCH];
        db->now = (StoreCounts){
                .records = (uint64_t)v[RECORDS],
                .bytes = (uint64_t)v[COUNTED],
                .kept = (uint64_t)v[KEPT],
                .kept_bytes = (uint64_t)v[KEPT_COUNTED],
        };
        db->oldest = (usec_t)v[OLDEST];
        db->last_id = (uint64_t)v[LAST_ID];
        db->pages = (uint64_t)(v[PAGES] - v[FREE_PAGES]);
        return 0;
}

static int sync_directory(const char *directory)
{
        _cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return log_error_errno(-errno, "Cannot write the directory %s to disk", directory);
        return 0;
}

static int open_connection(StoreDb *db)
{
        int rc = sqlite3_open_v2(db->path, &db->sql,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                                 NULL);
        if (rc != SQLITE_OK)
                return store_sql_errno(db->sql, rc);
        int r = configure(db->sql);
        if (r == 0)
                r = check_identity(db);
        if (r == 0)
                r = bound_file(db);
        if (r == 0)
                r = prepare_statements(db);
        if (r == 0)
                r = load_state(db);
        if (r == 0)
                r = check_integrity(db);
        if (r < 0)
                return r;
        db->sequences = store_sequences_new(db);
        return db->sequences ? 0 : -ENOMEM;
}

int store_sql_open(StoreDb *db)
{
        int r = create_file(db->path);
        if (r < 0)
                return r;
        r = open_connection(db);
        if (r == -EBUSY)
                log_error("The store %s is in use by another process", db->path);
        else if (r < 0 && r != -EUCLEAN && r != -EBADMSG)
                log_error_errno(r, "Cannot open the store %s (%s)", db->path,
                                db->sql ? sqlite3_errmsg(db->sql) : "no memory");
        if (r == 0)
                r = sync_directory(db->directory);
        if (r < 0)
                store_sql_close(db);
        return r;
}

void store_sql_close(StoreDb *db)
{
        db->sequences = store_sequences_free(db->sequences);
        for (size_t i = 0; i < _SQL_MAX; i++) {
                sqlite3_finalize(db->statements[i]);
                db->statements[i] = NULL;
        }
        sqlite3_close(db->sql);
        db->sql = NULL;
}
