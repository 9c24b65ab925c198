/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Kept values in the file. */

#include <errno.h>

#include "platform/store-sql.h"

static sqlite3_stmt *bind_key(StoreDb *db, StoreStatement which, const StoreKey *key)
{
        sqlite3_stmt *st = db->statements[which];
        sqlite3_bind_int(st, 1, key->kind);
        sqlite3_bind_int64(st, 2, (sqlite3_int64)key->a);
        sqlite3_bind_int64(st, 3, (sqlite3_int64)key->b);
        return st;
}

/* Runs a statement that answers with the size of the value at the key: 1, 0 when there is none. */
static int find_size(StoreDb *db, StoreStatement which, const StoreKey *key, uint64_t *ret)
{
        sqlite3_stmt *st = bind_key(db, which, key);
        int r = store_sql_step(db, which);
        if (r > 0)
                *ret = (uint64_t)sqlite3_column_int64(st, 0);
        sqlite3_reset(st);
        return r == -ENOSPC ? -EDQUOT : r;
}

int store_db_put(StoreDb *db, const StoreKey *key, Bytes value)
{
        uint64_t old = 0;
        int found = find_size(db, SQL_KEPT_SIZE, key, &old);
        if (found < 0)
                return found;
        uint64_t before = found ? store_value_cost(old) : 0, after = store_value_cost(value.len);
        if (after > before && !store_disk_has(db, after - before, STORE_VALUES_LEAVE))
                return -EDQUOT;
        sqlite3_stmt *st = bind_key(db, SQL_KEPT_PUT, key);
        /* A NULL pointer would bind NULL where an empty value is meant. */
        sqlite3_bind_blob64(st, 4, value.len > 0 ? (const void *)value.data : "", value.len,
                            SQLITE_STATIC);
        int r = store_sql_run(db, SQL_KEPT_PUT);
        sqlite3_clear_bindings(st);
        if (r < 0)
                return r == -ENOSPC ? -EDQUOT : r;
        /* As much as it takes off the reserve. */
        db->growth += after - MIN(before, after);
        db->now.kept += !found;
        db->now.kept_bytes = db->now.kept_bytes - MIN(db->now.kept_bytes, before) + after;
        return 1;
}

int store_db_remove(StoreDb *db, const StoreKey *key)
{
        uint64_t old = 0;
        int r = find_size(db, SQL_KEPT_REMOVE, key, &old);
        if (r <= 0)
                return r;
        db->now.kept -= MIN(db->now.kept, 1U);
        db->now.kept_bytes -= MIN(db->now.kept_bytes, store_value_cost(old));
        return 1;
}

int store_db_each(StoreDb *db, uint8_t kind, StoreEach each, void *userdata)
{
        sqlite3_stmt *st = db->statements[SQL_KEPT_EACH];
        int r;
        sqlite3_bind_int(st, 1, kind);
        while ((r = store_sql_step(db, SQL_KEPT_EACH)) > 0) {
                StoreKey key = {
                        .kind = kind,
                        .a = (uint64_t)sqlite3_column_int64(st, 0),
                        .b = (uint64_t)sqlite3_column_int64(st, 1),
                };
                const void *value = sqlite3_column_blob(st, 2);
                if (!value && sqlite3_column_bytes(st, 2) > 0) {
                        r = -ENOMEM;
                        break;
                }
                r = each(&key, BYTES(value, (size_t)sqlite3_column_bytes(st, 2)), userdata);
                if (r < 0)
                        break;
        }
        sqlite3_reset(st);
        return MIN(r, 0);
}

uint64_t store_db_kept_reserve(const StoreDb *db)
{
        uint64_t max = db->max_bytes / STORE_KEPT_SHARE;
        return max - MIN(max, db->now.kept_bytes);
}
