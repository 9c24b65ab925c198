/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A damaged store: put aside as it is, for whoever wants to examine it, and what can still be
 * read goes into the new one. Ids are kept; sequences begin anew in the new file's epoch. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "platform/store-sql.h"

#define SALVAGE_BATCH 1000
/* Gaps that are jumped over before the rest is given up. */
#define SALVAGE_GAPS 64

static int move(const char *path, const char *suffix, const char *aside)
{
        _cleanup_free_ char *from = NULL, *to = NULL;
        if (asprintf(&from, "%s%s", path, suffix) < 0) {
                from = NULL;
                return -ENOMEM;
        }
        if (asprintf(&to, "%s%s", aside, suffix) < 0) {
                to = NULL;
                return -ENOMEM;
        }
        return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

static char *aside_name(const char *path, unsigned attempt)
{
        time_t now = (time_t)(now_realtime() / USEC_PER_SEC);
        struct tm tm;
        char utc[32], number[16] = "";
        char *name;
        strftime(utc, sizeof(utc), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
        if (attempt > 0)
                snprintf(number, sizeof(number), ".%u", attempt);
        return asprintf(&name, "%s.damaged-%s%s", path, utc, number) < 0 ? NULL : name;
}

int store_set_aside(StoreDb *db, char **ret)
{
        for (unsigned attempt = 0; attempt < 100; attempt++) {
                _cleanup_free_ char *aside = aside_name(db->path, attempt);
                if (!aside)
                        return -ENOMEM;
                int r = move(db->path, "", aside);
                if (r == -EEXIST)
                        continue;
                if (r < 0)
                        return log_error_errno(r, "Cannot set the damaged store %s aside",
                                               db->path);
                /* The log belongs to it: without it the last transactions are missing. */
                r = move(db->path, "-wal", aside);
                if (r < 0 && r != -ENOENT)
                        return log_error_errno(r, "Cannot set the log of the damaged store aside");
                log_message(LOG_CRIT, NULL,
                            "The store %s is damaged: set aside as %s, beginning a new one",
                            db->path, aside);
                *ret = TAKE_PTR(aside);
                return 0;
        }
        return log_error_errno(-EEXIST, "Cannot set the damaged store %s aside", db->path);
}

static sqlite3 *open_damaged(const char *path)
{
        sqlite3 *sql = NULL;
        if (sqlite3_open_v2(path, &sql,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                            NULL) != SQLITE_OK) {
                sqlite3_close(sql);
                return NULL;
        }
        sqlite3_db_config(sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        /* Leave the evidence as it is. */
        sqlite3_db_config(sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_exec(sql, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON;", NULL, NULL,
                     NULL);
        return sql;
}

/* What a hostile file could say instead is refused: the new store takes only what it would have
 * written itself. */
static bool view_record(sqlite3_stmt *st, StoreRecord *ret)
{
        int64_t id = sqlite3_column_int64(st, 0), kind = sqlite3_column_int64(st, 1);
        *ret = (StoreRecord){
                .id = (uint64_t)id,
                .kind = (uint8_t)kind,
                .device = (const char *)sqlite3_column_text(st, 2),
                .received = (usec_t)sqlite3_column_int64(st, 3),
                .topic = (const char *)sqlite3_column_text(st, 4),
                .content_type = (const char *)sqlite3_column_text(st, 5),
                .posture = (const char *)sqlite3_column_text(st, 6),
        };
        const void *payload = sqlite3_column_blob(st, 7);
        ret->payload = BYTES(payload, (size_t)sqlite3_column_bytes(st, 7));
        return id > 0 && kind >= STORE_TELEMETRY && kind <= STORE_AUDIT && ret->device &&
               ret->topic && ret->posture;
}

static int take_record(StoreDb *db, sqlite3_stmt *row)
{
        StoreRecord rec;
        return view_record(row, &rec) ? store_db_append(db, &rec) : -EEXIST;
}

static bool view_value(sqlite3_stmt *st, StoreKey *ret_key, Bytes *ret_value)
{
        for (int i = 1; i <= 3; i++)
                if (sqlite3_column_type(st, i) != SQLITE_INTEGER || sqlite3_column_int64(st, i) < 0)
                        return false;
        int64_t kind = sqlite3_column_int64(st, 1);
        if (kind == 0 || kind > UINT8_MAX || sqlite3_column_type(st, 4) != SQLITE_BLOB)
                return false;
        *ret_key = (StoreKey){
                .kind = (uint8_t)kind,
                .a = (uint64_t)sqlite3_column_int64(st, 2),
                .b = (uint64_t)sqlite3_column_int64(st, 3),
        };
        const void *value = sqlite3_column_blob(st, 4);
        *ret_value = BYTES(value, (size_t)sqlite3_column_bytes(st, 4));
        return value || ret_value->len == 0;
}

/* No more of them than were promised room: the file could claim any number. */
static int take_value(StoreDb *db, sqlite3_stmt *row)
{
        StoreKey key;
        Bytes value;
        if (!view_value(row, &key, &value) || value.len > store_db_batch_bytes(db))
                return -EEXIST;
        if (store_value_cost(value.len) > store_db_kept_reserve(db))
                return -ENOSPC;
        int r = store_db_put(db, &key, value);
        return MIN(r, 0);
}

/* 0, -EEXIST for a row that makes no sense, others as the new store's. */
typedef int (*TakeRow)(StoreDb *db, sqlite3_stmt *row);

typedef struct Salvage {
        sqlite3_stmt *rows; /* above id ?1, in the order of their ids, which are column 0 */
        TakeRow take;
        int64_t after; /* the scan's place: where the next batch begins */
        uint64_t taken;
        bool lost; /* some rows made no sense */
} Salvage;

/* Takes some rows above `s->after`, to the end or damage: 0 at the end, 1 when there are more,
 * -EUCLEAN at damage, others when the new store cannot take more. */
static int take_rows(StoreDb *db, Salvage *s, uint64_t *taken)
{
        sqlite3_reset(s->rows);
        sqlite3_bind_int64(s->rows, 1, s->after);
        /* One transaction has its share of the log. */
        for (size_t i = 0; i < SALVAGE_BATCH && db->growth < store_db_batch_bytes(db); i++) {
                int rc = sqlite3_step(s->rows);
                if (rc == SQLITE_DONE)
                        return 0;
                int64_t seen = rc == SQLITE_ROW ? sqlite3_column_int64(s->rows, 0) : INT64_MAX;
                if (seen > STORE_ID_MAX)
                        return -EUCLEAN;
                s->after = MAX(s->after + 1, seen);
                int r = s->take(db, s->rows);
                if (r < 0 && r != -EEXIST)
                        return r;
                *taken += r == 0;
                s->lost = s->lost || r < 0; /* also the second of two with one id */
        }
        return 1;
}

static int take_batch(StoreDb *db, Salvage *s)
{
        uint64_t taken = 0;
        int r = store_db_begin(db);
        if (r < 0)
                return -EIO;
        int outcome = take_rows(db, s, &taken);
        sqlite3_reset(s->rows);
        if (outcome < 0 && outcome != -EUCLEAN && outcome != -ENOSPC) {
                store_db_rollback(db);
                return -EIO;
        }
        if (store_db_commit(db) < 0)
                return -EIO;
        s->taken += taken;
        return outcome;
}

/* Damage ends a scan, but a seek to a higher id may lead around it: jump in growing steps. */
static int take_all(StoreDb *db, Salvage *s)
{
        int64_t jump = 1;
        unsigned gaps = 0;
        int r;
        while ((r = take_batch(db, s)) != 0) {
                if (r == 1) {
                        jump = 1;
                        continue;
                }
                if (r != -EUCLEAN)
                        return r;
                if (++gaps > SALVAGE_GAPS || jump > STORE_ID_MAX - s->after)
                        return -EUCLEAN;
                s->after += jump;
                jump *= 2;
        }
        return gaps > 0 || s->lost ? -EUCLEAN : 0;
}

/* Ids are never reused, not even those of records that were deleted in the old file. */
static void continue_ids(StoreDb *db, sqlite3 *old)
{
        int64_t last = 0;
        char text[160];
        if (old)
                store_sql_integer(old, "SELECT seq FROM sqlite_sequence WHERE name = 'record'",
                                  &last);
        last = MAX(last > STORE_ID_MAX ? 0 : last, (int64_t)db->last_id);
        if (last <= 0)
                return;
        snprintf(text, sizeof(text),
                 "DELETE FROM sqlite_sequence WHERE name = 'record';"
                 "INSERT INTO sqlite_sequence VALUES('record', %lld);",
                 (long long)last);
        if (sqlite3_exec(db->sql, text, NULL, NULL, NULL) != SQLITE_OK)
                log_warning("Cannot continue the record numbers of the old store, ignoring: %s",
                            sqlite3_errmsg(db->sql));
}

static int salvage_table(StoreDb *db, sqlite3 *old, const char *query, TakeRow take,
                         uint64_t *ret_taken)
{
        Salvage s = { .take = take };
        if (!old || sqlite3_prepare_v2(old, query, -1, &s.rows, NULL) != SQLITE_OK)
                return -EUCLEAN;
        int r = take_all(db, &s);
        sqlite3_finalize(s.rows);
        *ret_taken = s.taken;
        return r;
}

/* A file of version 1 has no values; one whose schema cannot be read has no records either, and
 * that is told with them. */
static bool has_values(sqlite3 *old)
{
        int64_t tables = 0;
        return old &&
               store_sql_integer(old, "SELECT count(*) FROM sqlite_schema WHERE name = 'kept'",
                                 &tables) == 0 &&
               tables > 0;
}

void store_salvage(StoreDb *db, const char *path)
{
        static const char records[] =
                "SELECT r.id, r.kind, d.name, r.received, r.topic, r.content_type, r.posture,"
                " r.payload FROM record r JOIN device d ON d.id = r.device"
                " WHERE r.id > ?1 ORDER BY r.id";
        static const char values[] = "SELECT rowid, kind, a, b, value FROM kept NOT INDEXED"
                                     " WHERE rowid > ?1 ORDER BY rowid";
        sqlite3 *old = open_damaged(path);
        uint64_t n_records = 0, n_values = 0;
        continue_ids(db, old);
        int r = salvage_table(db, old, records, take_record, &n_records);
        int k = has_values(old) ? salvage_table(db, old, values, take_value, &n_values) : 0;
        sqlite3_close(old);
        r = r == 0 || k == -EIO ? k : r;
        log_message(r == 0 ? LOG_WARNING : LOG_CRIT, NULL,
                    "%llu records and %llu values of the damaged store were taken over%s",
                    (unsigned long long)n_records, (unsigned long long)n_values,
                    r == 0          ? ", all that it held"
                    : r == -ENOSPC  ? "; there was no room for more"
                    : r == -EUCLEAN ? "; others could not be read and stay in the file set aside"
                                    : "; the new store failed");
}
