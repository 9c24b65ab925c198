/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The store's file itself: sequences over commits and rollbacks, what is counted. */

#include "store-bench.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "platform/store-db.h"

static StoreDb *open_db(Fixture *f)
{
        StoreDb *db;
        assert_int_equal(store_db_open(f->directory, MAX_BYTES, &db), 0);
        return db;
}

static void begin_with(StoreDb *db, const char *const *devices, uint64_t *ret_ids)
{
        assert_int_equal(store_db_begin(db), 0);
        for (size_t i = 0; devices[i]; i++) {
                StoreRecord r = record(devices[i], BYTES_LITERAL("12345678"));
                assert_int_equal(store_db_append(db, &r), 0);
                *ret_ids++ = r.id;
        }
}

static void assert_sequences(StoreDb *db, uint64_t after, const uint64_t *expected, size_t n)
{
        StoreRecord *records;
        size_t got;
        assert_int_equal(store_db_read(db, 0, after, READ_MAX, SIZE_MAX, &records, &got), 0);
        assert_int_equal(got, n);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(records[i].device_sequence, expected[i]);
        store_records_free(records, got);
}

/* Neither the sequences nor a new device of a transaction that was rolled back are remembered. */
static void test_sequences(void **state)
{
        Fixture *f = *state;
        StoreDb *db = open_db(f);
        uint64_t ids[8];
        begin_with(db, (const char *[]){ "a", "a", "b", NULL }, ids);
        assert_int_equal(store_db_commit(db), 0);
        begin_with(db, (const char *[]){ "new", "a", "b", "new", NULL }, ids);
        store_db_rollback(db);
        begin_with(db, (const char *[]){ "b", "new", "a", "new", NULL }, ids);
        assert_int_equal(store_db_commit(db), 0);
        assert_sequences(db, 0, (const uint64_t[]){ 1, 2, 1, 2, 1, 3, 2 }, 7);
        store_db_free(db);
        db = open_db(f);
        begin_with(db, (const char *[]){ "new", "b", "a", NULL }, ids);
        assert_int_equal(store_db_commit(db), 0);
        assert_sequences(db, ids[0] - 1, (const uint64_t[]){ 3, 3, 4 }, 3);
        store_db_free(db);
}

/* No file may grow beyond `size`: what writes it has an error, as on a disk that fails. */
static void limit_files(rlim_t size)
{
        struct rlimit limit;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static rlim_t log_size(const Fixture *f)
{
        char path[128];
        struct stat st;
        snprintf(path, sizeof(path), "%s/store.db-wal", f->directory);
        assert_int_equal(stat(path, &st), 0);
        return (rlim_t)st.st_size;
}

/* Transactions fail wherever the disk does: each is there as a whole or not at all. */
static void test_failures(void **state)
{
        Fixture *f = *state;
        StoreDb *db = open_db(f);
        uint64_t sequences[3000], n = 0, last = 0, failed = 0;
        signal(SIGXFSZ, SIG_IGN);
        for (rlim_t i = 0; i < 60; i++) {
                uint64_t next = last;
                rlim_t size = log_size(f) + i * 37 % 60 * 10007;
                int r = store_db_begin(db);
                limit_files(size);
                for (size_t k = 0; k < 50 && r == 0; k++) {
                        static uint8_t payload[3000];
                        StoreRecord rec = record("a", BYTES(payload, sizeof(payload)));
                        r = store_db_append(db, &rec);
                        if (r == 0)
                                assert_int_equal(rec.device_sequence, ++next);
                }
                if (r == 0)
                        r = store_db_commit(db);
                limit_files(RLIM_INFINITY);
                if (r < 0) {
                        store_db_rollback(db);
                        failed++;
                        continue;
                }
                while (last < next)
                        sequences[n++] = ++last;
        }
        assert_in_range(failed, 10, 50);
        assert_in_range(n, 50, ELEMENTSOF(sequences));
        assert_sequences(db, 0, sequences, n);
        store_db_free(db);
        db = open_db(f);
        assert_sequences(db, 0, sequences, n);
        store_db_free(db);
}

/* More devices than are kept in memory: each goes on from where it was. */
static void test_many_devices(void **state)
{
        Fixture *f = *state;
        StoreDb *db = open_db(f);
        const size_t many = 10000;
        for (uint64_t round = 1; round <= 2; round++) {
                uint64_t first = 0;
                assert_int_equal(store_db_begin(db), 0);
                for (size_t i = 0; i < many; i++) {
                        char device[16];
                        snprintf(device, sizeof(device), "d%zu", i);
                        StoreRecord r = record(device, BYTES_LITERAL("x"));
                        assert_int_equal(store_db_append(db, &r), 0);
                        first = i == 0 ? r.id : first;
                }
                assert_int_equal(store_db_commit(db), 0);
                StoreRecord *records;
                size_t got;
                assert_int_equal(store_db_read(db, 0, first - 1, many, SIZE_MAX, &records, &got),
                                 0);
                assert_int_equal(got, many);
                for (size_t i = 0; i < got; i++)
                        assert_int_equal(records[i].device_sequence, round);
                store_records_free(records, got);
        }
        store_db_free(db);
}

static void assert_waiting(StoreDb *db, uint64_t records)
{
        StoreStats stats = { 0 };
        StoreRecord sample = record("a", BYTES_LITERAL("12345678"));
        store_db_stats(db, &stats);
        assert_int_equal(stats.records, records);
        assert_int_equal(stats.bytes, records * (strlen(sample.topic) + 8));
}

/* Runs of ids, single ones, ids twice, not there, and in any order. */
static void test_deletions(void **state)
{
        Fixture *f = *state;
        StoreDb *db = open_db(f);
        uint64_t ids[8];
        begin_with(db, (const char *[]){ "a", "b", "a", "b", "a", "b", "a", "b", NULL }, ids);
        assert_int_equal(store_db_commit(db), 0);
        assert_waiting(db, 8);
        const uint64_t gone[] = { ids[4], ids[5], ids[5], ids[1], ids[2], 4711, ids[1] };
        assert_int_equal(store_db_begin(db), 0);
        assert_int_equal(store_db_delete(db, gone, ELEMENTSOF(gone)), 0);
        assert_int_equal(store_db_commit(db), 0);
        assert_waiting(db, 4);
        assert_sequences(db, 0, (const uint64_t[]){ 1, 2, 4, 4 }, 4);
        const uint64_t rest[] = { ids[6], ids[7], ids[7] + 1, ids[7] + 2, ids[3], ids[0] };
        assert_int_equal(store_db_begin(db), 0);
        assert_int_equal(store_db_delete(db, rest, ELEMENTSOF(rest)), 0);
        store_db_rollback(db);
        assert_waiting(db, 4);
        assert_int_equal(store_db_begin(db), 0);
        assert_int_equal(store_db_delete(db, rest, ELEMENTSOF(rest)), 0);
        assert_int_equal(store_db_commit(db), 0);
        assert_waiting(db, 0);
        store_db_free(db);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_sequences),
                TEST(test_failures),
                TEST(test_many_devices),
                TEST(test_deletions),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
