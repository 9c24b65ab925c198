/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/mount.h>
#include <systemd/sd-event.h>

static void remove_tree(const char *path)
{
        char command[256];
        snprintf(command, sizeof(command), "rm -rf -- '%s'", path);
        assert_int_equal(system(command), 0);
}

void open_store(Fixture *f, uint64_t max_bytes)
{
        assert_int_equal(store_open(f->loop, f->directory, max_bytes, &f->store), 0);
}

int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        strcpy(f->directory, "/tmp/test-store.XXXXXX");
        assert_non_null(mkdtemp(f->directory));
        assert_int_equal(loop_new(&f->loop), 0);
        *state = f;
        return 0;
}

int teardown(void **state)
{
        Fixture *f = *state;
        store_free(f->store);
        loop_free(f->loop);
        umount(f->directory); /* where a test that mounts failed */
        remove_tree(f->directory);
        free(f);
        return 0;
}

void pump(Fixture *f, const size_t *counter, size_t target)
{
        usec_t deadline = now_boottime() + 2 * USEC_PER_MIN;
        while (*counter < target) {
                assert_true(sd_event_run(loop_sd_event(f->loop), USEC_PER_SEC) >= 0);
                assert_true(now_boottime() < deadline);
        }
}

void on_done(int error, uint64_t id, void *userdata)
{
        Result *r = userdata;
        r->calls++;
        if (error == 0) {
                assert_true(id > r->last_id);
                r->last_id = id;
                r->stored++;
        } else if (error == -ENOSPC) {
                r->full++;
        } else {
                r->error = error;
        }
}

StoreRecord record(const char *device, Bytes payload)
{
        return (StoreRecord){
                .kind = STORE_TELEMETRY,
                .device = device,
                .topic = "temperature",
                .content_type = "text/plain",
                .posture = "affirming",
                .received = 1700000000 * USEC_PER_SEC,
                .payload = payload,
        };
}

void append(Fixture *f, const StoreRecord *r, Result *result)
{
        assert_int_equal(store_append(f->store, r, on_done, result, NULL), 0);
}

void on_read(int error, StoreRecord *records, size_t n, void *userdata)
{
        Answer *a = userdata;
        a->calls++;
        a->error = error;
        a->n = n;
        for (size_t i = 0; i < n; i++) {
                a->ids[i] = records[i].id;
                a->sequences[i] = records[i].device_sequence;
                a->epoch = records[i].epoch;
                snprintf(a->payload[i], sizeof(a->payload[i]), "%.*s", (int)records[i].payload.len,
                         (const char *)records[i].payload.data);
                snprintf(a->device[i], sizeof(a->device[i]), "%s", records[i].device);
                assert_string_equal(records[i].topic, "temperature");
                assert_string_equal(records[i].posture, "affirming");
                assert_true(!records[i].content_type ||
                            strcmp(records[i].content_type, "text/plain") == 0);
        }
}

Answer *read_all(Fixture *f, uint8_t kind, uint64_t after, size_t max_bytes)
{
        static Answer a;
        memset(&a, 0, sizeof(a));
        assert_int_equal(store_read(f->store, kind, after, READ_MAX, max_bytes, on_read, &a, NULL),
                         0);
        pump(f, &a.calls, 1);
        assert_int_equal(a.error, 0);
        return &a;
}

void reopen(Fixture *f)
{
        f->store = store_free(f->store);
        open_store(f, MAX_BYTES);
}

uint64_t disk_use(Fixture *f)
{
        StoreStats stats;
        store_stats(f->store, &stats);
        return stats.disk_bytes;
}

StoreKey key_of(uint8_t kind, uint64_t a, uint64_t b)
{
        return (StoreKey){ .kind = kind, .a = a, .b = b };
}

void put(Fixture *f, StoreKey key, const char *value)
{
        assert_int_equal(store_put(f->store, &key, bytes_from_str(value)), 0);
}

void put_zeros(Fixture *f, StoreKey key, size_t len)
{
        static const uint8_t zeros[1 << 20];
        assert_true(len <= sizeof(zeros));
        assert_int_equal(store_put(f->store, &key, BYTES(zeros, len)), 0);
}

void forget(Fixture *f, StoreKey key)
{
        assert_int_equal(store_remove(f->store, &key), 0);
}

typedef struct Heard {
        size_t calls;
        int error;
} Heard;

static void on_heard(int error, uint64_t id, void *userdata)
{
        Heard *h = userdata;
        assert_int_equal(id, 0);
        *h = (Heard){ .calls = 1, .error = error };
}

int barrier(Fixture *f)
{
        Heard heard = { 0 };
        assert_int_equal(store_barrier(f->store, on_heard, &heard, NULL), 0);
        pump(f, &heard.calls, 1);
        return heard.error;
}

int note(const StoreKey *key, Bytes value, void *userdata)
{
        char *line = userdata;
        size_t len = strlen(line);
        snprintf(line + len, 512 - len, "%s%llu.%llu=%.*s", len ? " " : "",
                 (unsigned long long)key->a, (unsigned long long)key->b, (int)value.len,
                 (const char *)value.data);
        return 0;
}

void assert_kept(Fixture *f, uint8_t kind, const char *expected)
{
        char line[512] = "";
        assert_int_equal(store_each(f->store, kind, note, line), 0);
        assert_string_equal(line, expected);
}

StoreStats stats_of(Fixture *f)
{
        StoreStats s;
        store_stats(f->store, &s);
        return s;
}

void turn_for(Fixture *f, usec_t span)
{
        for (usec_t end = now_boottime() + span, now; (now = now_boottime()) < end;)
                assert_true(sd_event_run(loop_sd_event(f->loop), end - now) >= 0);
}

void fill_up(Fixture *f, size_t size)
{
        Result result = { 0 };
        uint8_t *payload = calloc(1, size);
        StoreRecord r = record("a", BYTES(payload, size));
        for (size_t i = 0; result.full == 0; i++) {
                append(f, &r, &result);
                if (i % 64 == 63)
                        pump(f, &result.calls, i + 1);
        }
        pump(f, &result.calls, result.stored + result.full);
        free(payload);
}

void overwrite(Fixture *f, off_t offset, size_t len)
{
        char path[128], junk[65536];
        snprintf(path, sizeof(path), "%s/store.db", f->directory);
        memset(junk, 0xa5, sizeof(junk));
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(len <= sizeof(junk));
        assert_int_equal(pwrite(fd, junk, len, offset), len);
        close(fd);
}

void run_sql(Fixture *f, const char *text)
{
        char path[128];
        sqlite3 *sql;
        snprintf(path, sizeof(path), "%s/store.db", f->directory);
        assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
        assert_int_equal(sqlite3_exec(sql, text, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(sql);
}

int64_t root_page(Fixture *f, const char *table)
{
        char path[128], query[128];
        sqlite3 *sql;
        sqlite3_stmt *st;
        snprintf(path, sizeof(path), "%s/store.db", f->directory);
        snprintf(query, sizeof(query), "SELECT rootpage FROM sqlite_schema WHERE name = '%s'",
                 table);
        assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(sql, query, -1, &st, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        int64_t page = sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
        sqlite3_close(sql);
        return page;
}

size_t count_set_aside(Fixture *f)
{
        char pattern[128];
        glob_t g;
        snprintf(pattern, sizeof(pattern), "%s/store.db.damaged-*Z", f->directory);
        int r = glob(pattern, 0, NULL, &g);
        size_t n = r == 0 ? g.gl_pathc : 0;
        globfree(&g);
        return n;
}
