/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-sequences.h"

#include <errno.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/list.h"
#include "platform/store-sql.h"

/* More are not kept in memory: about 1 MiB. */
#define SEQUENCES_MAX 8192

typedef struct Sequence {
        List link; /* in `changed` or in `same` */
        int64_t row, last;
        char device[];
} Sequence;

struct StoreSequences {
        StoreDb *db;
        Hashmap *by_device;
        List changed, same; /* since the last commit */
};

StoreSequences *store_sequences_new(StoreDb *db)
{
        StoreSequences *s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->db = db;
        list_init(&s->changed);
        list_init(&s->same);
        s->by_device = hashmap_new();
        return s->by_device ? s : store_sequences_free(s);
}

static void forget_all(StoreSequences *s, List *which)
{
        for (List *i; (i = list_first(which));) {
                Sequence *q = LIST_ENTRY(i, Sequence, link);
                list_remove(i);
                hashmap_remove(s->by_device, bytes_from_str(q->device));
                free(q);
        }
}

StoreSequences *store_sequences_free(StoreSequences *s)
{
        if (!s)
                return NULL;
        forget_all(s, &s->changed);
        forget_all(s, &s->same);
        hashmap_free(s->by_device);
        free(s);
        return NULL;
}

/* 1: found, 0: there is none. */
static int read_row(StoreDb *db, Sequence *q)
{
        sqlite3_stmt *st = db->statements[SQL_SEQUENCE_READ];
        sqlite3_bind_text(st, 1, q->device, -1, SQLITE_STATIC);
        int r = store_sql_step(db, SQL_SEQUENCE_READ);
        if (r > 0) {
                q->row = sqlite3_column_int64(st, 0);
                q->last = sqlite3_column_int64(st, 1);
        }
        sqlite3_reset(st);
        sqlite3_clear_bindings(st);
        return r;
}

static int make_row(StoreDb *db, Sequence *q)
{
        sqlite3_stmt *st = db->statements[SQL_SEQUENCE_NEW];
        sqlite3_bind_text(st, 1, q->device, -1, SQLITE_STATIC);
        int r = store_sql_run(db, SQL_SEQUENCE_NEW);
        sqlite3_clear_bindings(st);
        if (r == 0)
                q->row = sqlite3_last_insert_rowid(db->sql);
        return r;
}

static int load(StoreSequences *s, const char *device, Sequence **ret)
{
        size_t len = strlen(device) + 1;
        _cleanup_free_ Sequence *q = calloc(1, sizeof(*q) + len);
        if (!q)
                return -ENOMEM;
        memcpy(q->device, device, len);
        int r = read_row(s->db, q);
        if (r == 0)
                r = make_row(s->db, q);
        if (r < 0)
                return r;
        r = hashmap_put(s->by_device, bytes_from_str(q->device), q);
        if (r < 0)
                return r;
        list_append(&s->same, &q->link);
        *ret = TAKE_PTR(q);
        return 0;
}

int store_sequences_next(StoreSequences *s, const char *device, int64_t *ret_device, int64_t *ret)
{
        Sequence *q = hashmap_get(s->by_device, bytes_from_str(device));
        int r = q ? 0 : load(s, device, &q);
        if (r < 0)
                return r;
        list_remove(&q->link);
        list_append(&s->changed, &q->link);
        *ret_device = q->row;
        *ret = ++q->last;
        return 0;
}

int store_sequences_write(StoreSequences *s)
{
        sqlite3_stmt *st = s->db->statements[SQL_SEQUENCE_WRITE];
        LIST_FOREACH (i, &s->changed) {
                const Sequence *q = LIST_ENTRY(i, Sequence, link);
                sqlite3_bind_int64(st, 1, q->row);
                sqlite3_bind_int64(st, 2, q->last);
                int r = store_sql_run(s->db, SQL_SEQUENCE_WRITE);
                if (r < 0)
                        return r;
                if (sqlite3_changes(s->db->sql) != 1)
                        return -EUCLEAN;
        }
        return 0;
}

void store_sequences_committed(StoreSequences *s)
{
        list_splice(&s->same, &s->changed);
        if (hashmap_size(s->by_device) > SEQUENCES_MAX)
                forget_all(s, &s->same);
}

void store_sequences_rolled_back(StoreSequences *s)
{
        forget_all(s, &s->changed);
}
