/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-db.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "platform/store-sql.h"

/* What a row costs beside its texts and payload. */
#define ROW_OVERHEAD 64
/* Stay back for what changes without growing: sequences, free lists. */
#define SPARE_PAGES 16

size_t store_record_size(const StoreRecord *r)
{
        return ROW_OVERHEAD + strlen(r->topic) + strlen(r->posture) + r->payload.len +
               (r->content_type ? strlen(r->content_type) : 0);
}

/* `device` is the first text and so the address of the block. */
int store_record_copy(const StoreRecord *src, StoreRecord *ret)
{
        size_t device = strlen(src->device) + 1, topic = strlen(src->topic) + 1;
        size_t posture = strlen(src->posture) + 1;
        size_t type = src->content_type ? strlen(src->content_type) + 1 : 0;
        char *p = malloc(device + topic + posture + type + src->payload.len);
        if (!p)
                return -ENOMEM;
        *ret = *src;
        ret->device = memcpy(p, src->device, device);
        ret->topic = memcpy(p += device, src->topic, topic);
        ret->posture = memcpy(p += topic, src->posture, posture);
        p += posture;
        if (src->content_type)
                ret->content_type = memcpy(p, src->content_type, type);
        p += type;
        if (src->payload.len > 0)
                memcpy(p, src->payload.data, src->payload.len);
        ret->payload = BYTES(p, src->payload.len);
        return 0;
}

void store_record_done(StoreRecord *r)
{
        free((char *)r->device);
        *r = (StoreRecord){ 0 };
}

void store_records_free(StoreRecord *records, size_t n)
{
        for (size_t i = 0; i < n; i++)
                store_record_done(&records[i]);
        free(records);
}

size_t store_db_batch_bytes(const StoreDb *db)
{
        return (size_t)store_record_max(db->max_bytes);
}

uint64_t store_db_epoch(const StoreDb *db)
{
        return db->epoch;
}

static int open_or_set_aside(StoreDb *db)
{
        int r = store_sql_open(db);
        if (r != -EUCLEAN)
                return r;
        _cleanup_free_ char *aside = NULL;
        r = store_set_aside(db, &aside);
        if (r < 0)
                return r;
        r = store_sql_open(db);
        if (r < 0)
                return r;
        store_salvage(db, aside);
        return 0;
}

int store_db_open(const char *directory, uint64_t max_bytes, StoreDb **ret)
{
        if (max_bytes < STORE_BYTES_MIN) {
                log_error("A store needs at least %llu bytes", (unsigned long long)STORE_BYTES_MIN);
                return -ERANGE;
        }
        _cleanup_(store_db_freep) StoreDb *db = calloc(1, sizeof(*db));
        if (!db)
                return -ENOMEM;
        db->max_bytes = max_bytes;
        db->directory = strdup(directory);
        if (!db->directory || asprintf(&db->path, "%s/store.db", directory) < 0) {
                db->path = NULL;
                return -ENOMEM;
        }
        if (mkdir(directory, 0700) < 0 && errno != EEXIST)
                return log_error_errno(-errno, "Cannot make the directory %s", directory);
        int r = open_or_set_aside(db);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(db);
        return 0;
}

StoreDb *store_db_free(StoreDb *db)
{
        if (!db)
                return NULL;
        store_sql_close(db);
        free(db->directory);
        free(db->path);
        free(db);
        return NULL;
}

int store_db_replace(StoreDb **db)
{
        _cleanup_(store_db_freep) StoreDb *old = TAKE_PTR(*db);
        _cleanup_free_ char *aside = NULL;
        uint64_t last_id = old->last_id;
        store_db_rollback(old);
        store_sql_close(old);
        int r = store_set_aside(old, &aside);
        if (r < 0)
                return r;
        r = store_sql_open(old);
        if (r < 0)
                return r;
        /* Whoever asks for ids, or is about to delete some, has those of the old file. */
        old->last_id = MAX(old->last_id, MIN(last_id, (uint64_t)STORE_ID_MAX));
        store_salvage(old, aside);
        *db = TAKE_PTR(old);
        return 0;
}

static uint64_t file_size(const char *path, const char *suffix)
{
        char name[4096];
        struct stat st;
        if ((size_t)snprintf(name, sizeof(name), "%s%s", path, suffix) >= sizeof(name))
                return 0;
        return stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Where it is not known, the disk itself says when it is full. */
static void measure_disk(StoreDb *db, uint64_t pages)
{
        struct statvfs st;
        uint64_t size = file_size(db->path, ""), all = pages * db->page_size;
        db->disk = UINT64_MAX;
        if (statvfs(db->directory, &st) < 0)
                return;
        /* The next checkpoint brings the log's pages into the main file. */
        uint64_t room = (uint64_t)st.f_bavail * st.f_frsize, owed = all - MIN(all, size);
        db->disk = room - MIN(room, owed);
}

bool store_disk_has(const StoreDb *db, uint64_t cost, unsigned spare)
{
        return 2 * (db->growth + cost) + spare * store_db_batch_bytes(db) <= db->disk;
}

/* Free pages inside the file are room as well: it never shrinks. */
static int count_pages(StoreDb *db)
{
        static const StoreStatement which[] = { SQL_PAGES, SQL_FREE_PAGES };
        uint64_t value[2];
        for (size_t i = 0; i < 2; i++) {
                int r = store_sql_step(db, which[i]);
                if (r > 0)
                        value[i] = (uint64_t)sqlite3_column_int64(db->statements[which[i]], 0);
                sqlite3_reset(db->statements[which[i]]);
                if (r <= 0)
                        return r < 0 ? r : -EIO;
        }
        db->pages = value[0] - MIN(value[1], value[0]);
        measure_disk(db, value[0]);
        return 0;
}

int store_db_begin(StoreDb *db)
{
        db->saved = db->now;
        db->growth = 0;
        int r = store_sql_run(db, SQL_BEGIN);
        return r < 0 ? r : count_pages(db);
}

static int find_oldest(StoreDb *db)
{
        int r = store_sql_step(db, SQL_OLDEST);
        db->oldest = r > 0 ? (usec_t)sqlite3_column_int64(db->statements[SQL_OLDEST], 0) : 0;
        sqlite3_reset(db->statements[SQL_OLDEST]);
        return MIN(r, 0);
}

int store_db_commit(StoreDb *db)
{
        sqlite3_stmt *state = db->statements[SQL_STATE_WRITE];
        sqlite3_bind_int64(state, 1, (sqlite3_int64)db->now.records);
        sqlite3_bind_int64(state, 2, (sqlite3_int64)db->now.bytes);
        sqlite3_bind_int64(state, 3, (sqlite3_int64)db->now.kept);
        sqlite3_bind_int64(state, 4, (sqlite3_int64)db->now.kept_bytes);
        int r = store_sql_run(db, SQL_STATE_WRITE);
        if (r == 0)
                r = store_sequences_write(db->sequences);
        if (r == 0)
                r = find_oldest(db);
        if (r == 0)
                r = store_sql_run(db, SQL_COMMIT);
        if (r < 0) {
                store_db_rollback(db);
                return r;
        }
        store_sequences_committed(db->sequences);
        db->saved = db->now;
        return 0;
}

void store_db_rollback(StoreDb *db)
{
        /* After some errors (a full disk is one) SQLite has rolled back by itself. */
        if (!sqlite3_get_autocommit(db->sql))
                store_sql_run(db, SQL_ROLLBACK);
        store_sequences_rolled_back(db->sequences);
        db->now = db->saved;
}

static int insert(StoreDb *db, const StoreRecord *rec, int64_t device, int64_t sequence)
{
        sqlite3_stmt *st = db->statements[SQL_INSERT];
        if (rec->id > 0)
                sqlite3_bind_int64(st, 1, (sqlite3_int64)rec->id);
        else
                sqlite3_bind_null(st, 1);
        sqlite3_bind_int(st, 2, rec->kind);
        sqlite3_bind_int64(st, 3, device);
        sqlite3_bind_int64(st, 4, sequence);
        sqlite3_bind_int64(st, 5, (sqlite3_int64)rec->received);
        sqlite3_bind_text(st, 6, rec->topic, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 7, rec->content_type, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 8, rec->posture, -1, SQLITE_STATIC);
        /* A NULL pointer would bind NULL where an empty payload is meant. */
        sqlite3_bind_blob64(st, 9, rec->payload.len > 0 ? (const void *)rec->payload.data : "",
                            rec->payload.len, SQLITE_STATIC);
        int r = store_sql_run(db, SQL_INSERT);
        sqlite3_clear_bindings(st);
        return r;
}

/* Bytes of whole pages that the row may come to take, rather too many than too few. */
static uint64_t page_cost(const StoreDb *db, const StoreRecord *record)
{
        uint64_t size = store_record_size(record);
        return size > db->page_size / 4 ? (size / db->page_size + 2) * db->page_size
                                        : size + size / 4;
}

/* What values may come to need is left to them: they belong to what was acknowledged already. */
static bool has_room(const StoreDb *db, uint64_t cost)
{
        uint64_t bytes = db->growth + cost + store_db_kept_reserve(db);
        return db->pages + bytes / db->page_size + SPARE_PAGES <= db->max_pages;
}

/* An id that is given (by the salvage) is kept. */
int store_db_append(StoreDb *db, StoreRecord *record)
{
        uint64_t cost = page_cost(db, record);
        if (!has_room(db, cost) || !store_disk_has(db, cost, STORE_RECORDS_LEAVE))
                return -ENOSPC;
        int64_t device, sequence;
        int r = store_sequences_next(db->sequences, record->device, &device, &sequence);
        if (r == 0)
                r = insert(db, record, device, sequence);
        if (r < 0)
                return r == -ENOSPC ? -EDQUOT : r;
        db->growth += cost;
        db->now.records++;
        db->now.bytes += strlen(record->topic) + record->payload.len;
        record->id = (uint64_t)sqlite3_last_insert_rowid(db->sql);
        db->last_id = MAX(db->last_id, record->id);
        record->device_sequence = (uint64_t)sequence;
        record->epoch = db->epoch;
        return 0;
}

static void bind_range(StoreDb *db, StoreStatement which, uint64_t first, uint64_t last)
{
        sqlite3_bind_int64(db->statements[which], 1, (sqlite3_int64)first);
        sqlite3_bind_int64(db->statements[which], 2, (sqlite3_int64)last);
}

static int delete_range(StoreDb *db, uint64_t first, uint64_t last)
{
        sqlite3_stmt *st = db->statements[SQL_SIZE];
        bind_range(db, SQL_SIZE, first, last);
        int r = store_sql_step(db, SQL_SIZE);
        uint64_t n = r > 0 ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
        uint64_t bytes = r > 0 ? (uint64_t)sqlite3_column_int64(st, 1) : 0;
        sqlite3_reset(st);
        if (r < 0 || n == 0)
                return MIN(r, 0);
        bind_range(db, SQL_DELETE, first, last);
        r = store_sql_run(db, SQL_DELETE);
        if (r < 0)
                return r;
        db->now.records -= MIN(db->now.records, n);
        db->now.bytes -= MIN(db->now.bytes, bytes);
        return 0;
}

int store_db_delete(StoreDb *db, const uint64_t *ids, size_t n)
{
        for (size_t i = 0, next; i < n; i = next) {
                for (next = i + 1; next < n && ids[next] == ids[next - 1] + 1;)
                        next++;
                int r = delete_range(db, ids[i], ids[next - 1]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static StoreStatement bind_read(StoreDb *db, uint8_t kind, uint64_t after, size_t n)
{
        StoreStatement which = kind == 0                 ? SQL_READ_ALL
                               : kind == STORE_TELEMETRY ? SQL_READ_TELEMETRY
                                                         : SQL_READ_SPECIAL;
        sqlite3_stmt *st = db->statements[which];
        sqlite3_bind_int64(st, 1, (sqlite3_int64)after);
        sqlite3_bind_int64(st, 2, (sqlite3_int64)n);
        if (which == SQL_READ_SPECIAL)
                sqlite3_bind_int(st, 3, kind);
        return which;
}

static const char *column_text(sqlite3_stmt *st, int column)
{
        return (const char *)sqlite3_column_text(st, column);
}

/* The view of the current row; holds until the next step. */
static int row_view(StoreDb *db, sqlite3_stmt *st, StoreRecord *ret)
{
        *ret = (StoreRecord){
                .id = (uint64_t)sqlite3_column_int64(st, 0),
                .kind = (uint8_t)sqlite3_column_int(st, 1),
                .device = column_text(st, 2),
                .device_sequence = (uint64_t)sqlite3_column_int64(st, 3),
                .epoch = db->epoch,
                .received = (usec_t)sqlite3_column_int64(st, 4),
                .topic = column_text(st, 5),
                .content_type = column_text(st, 6),
                .posture = column_text(st, 7),
        };
        const void *payload = sqlite3_column_blob(st, 8);
        ret->payload = BYTES(payload, (size_t)sqlite3_column_bytes(st, 8));
        return ret->device && ret->topic && ret->posture ? 0 : -ENOMEM;
}

int store_db_read(StoreDb *db, uint8_t kind, uint64_t after, size_t n, size_t max_bytes,
                  StoreRecord **ret, size_t *ret_n)
{
        if (n == 0)
                return -EINVAL;
        StoreRecord *records = calloc(n, sizeof(*records));
        if (!records)
                return -ENOMEM;
        StoreStatement which = bind_read(db, kind, after, n);
        size_t got = 0, bytes = 0;
        int r;
        while ((r = store_sql_step(db, which)) > 0) {
                StoreRecord view;
                r = row_view(db, db->statements[which], &view);
                bytes += r == 0 ? store_record_size(&view) : 0;
                if (r < 0 || (got > 0 && bytes > max_bytes))
                        break;
                r = store_record_copy(&view, &records[got]);
                if (r < 0)
                        break;
                if (++got == n)
                        break;
        }
        sqlite3_reset(db->statements[which]);
        if (r < 0) {
                store_records_free(records, got);
                return r;
        }
        *ret = records;
        *ret_n = got;
        return 0;
}

void store_db_stats(StoreDb *db, StoreStats *ret)
{
        ret->records = db->now.records;
        ret->bytes = db->now.bytes;
        ret->kept = db->now.kept;
        ret->kept_bytes = db->now.kept_bytes;
        ret->oldest = db->oldest;
        ret->last_id = db->last_id;
        ret->disk_bytes = file_size(db->path, "") + file_size(db->path, "-wal");
}
