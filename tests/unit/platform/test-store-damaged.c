/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Kept values in files that are damaged or of an older version. */

#include "store-bench.h"

#include <errno.h>
#include <stdio.h>

/* A file as version 1 made it, with records 3 and 4 of 4 and an audit record. */
static void write_version_1(Fixture *f)
{
        run_sql(f,
                "PRAGMA journal_mode = WAL;"
                "CREATE TABLE state(id INTEGER PRIMARY KEY CHECK(id = 1), epoch INTEGER NOT NULL,"
                " records INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;"
                "CREATE TABLE device(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
                " sequence INTEGER NOT NULL) STRICT;"
                "CREATE TABLE record(id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,"
                " device INTEGER NOT NULL, sequence INTEGER NOT NULL, received INTEGER NOT NULL,"
                " topic TEXT NOT NULL, content_type TEXT, posture TEXT NOT NULL,"
                " payload BLOB NOT NULL) STRICT;"
                "CREATE INDEX record_special ON record(kind, id) WHERE kind <> 1;"
                "INSERT INTO state VALUES(1, 4711, 3, 3 * 12);"
                "INSERT INTO device VALUES(1, 'a', 4), (2, 'b', 1);"
                "INSERT INTO record VALUES"
                "(3, 1, 1, 3, 5, 'temperature', 'text/plain', 'affirming', X'33'),"
                "(4, 1, 1, 4, 6, 'temperature', NULL, 'affirming', X'34'),"
                "(5, 3, 2, 1, 7, 'temperature', NULL, 'affirming', X'35');"
                "UPDATE sqlite_sequence SET seq = 8;"
                "PRAGMA application_id = 0x53505354; PRAGMA user_version = 1;");
}

static void test_migration(void **state)
{
        Fixture *f = *state;
        Result result = { .last_id = 8 };
        StoreRecord r = record("a", BYTES_LITERAL("9"));
        write_version_1(f);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 0);
        assert_int_equal(store_epoch(f->store), 4711);
        assert_kept(f, 1, "");
        StoreStats s = stats_of(f);
        assert_int_equal(s.records, 3);
        assert_int_equal(s.bytes, 36);
        assert_int_equal(s.kept, 0);
        append(f, &r, &result);
        put(f, key_of(1, 1, 0), "value");
        pump(f, &result.calls, 1);
        assert_int_equal(result.last_id, 9); /* ids go on */
        reopen(f);
        assert_int_equal(count_set_aside(f), 0);
        assert_kept(f, 1, "1.0=value");
        Answer *a = read_all(f, 0, 0, SIZE_MAX);
        const uint64_t ids[] = { 3, 4, 5, 9 }, sequences[] = { 3, 4, 1, 5 };
        assert_int_equal(a->n, 4);
        assert_memory_equal(a->ids, ids, sizeof(ids));
        assert_memory_equal(a->sequences, sequences, sizeof(sequences));
        assert_string_equal(a->payload[1], "4");
        assert_int_equal(read_all(f, STORE_AUDIT, 0, SIZE_MAX)->ids[0], 5);
}

/* What has the first version on it and is not such a file is set aside, as it is with the second;
 * of one that is merely damaged the records are taken over. */
static void test_migration_damaged(void **state)
{
        Fixture *f = *state;
        run_sql(f, "CREATE TABLE other(x); PRAGMA application_id = 0x53505354;"
                   "PRAGMA user_version = 1");
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
        f->store = store_free(f->store);
        run_sql(f, "DROP TABLE kept; DROP TABLE state; PRAGMA user_version = 1;"
                   "INSERT INTO device VALUES(1, 'a', 1); INSERT INTO record VALUES"
                   "(3, 1, 1, 3, 5, 'temperature', 'text/plain', 'affirming', X'33');");
        usleep(1100000); /* the name of what is set aside has the second in it */
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 2);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->ids[0], 3);
}

/* Values 1 to `n` of VALUE_LEN digits, each with its number. */
#define VALUE_LEN 1000

static void put_many(Fixture *f, uint64_t n)
{
        char text[VALUE_LEN + 1];
        open_store(f, MAX_BYTES);
        for (uint64_t i = 1; i <= n; i++) {
                snprintf(text, sizeof(text), "%0*llu", VALUE_LEN, (unsigned long long)i);
                put(f, key_of(QUEUE, i, i), text);
        }
        put(f, key_of(SESSION, 1, 0), "session");
        assert_int_equal(barrier(f), 0);
        f->store = store_free(f->store);
}

static int check_number(const StoreKey *key, Bytes value, void *userdata)
{
        char text[VALUE_LEN + 1];
        snprintf(text, sizeof(text), "%0*llu", VALUE_LEN, (unsigned long long)key->a);
        assert_int_equal(key->a, key->b);
        assert_true(bytes_equal(value, bytes_from_str(text)));
        ++*(size_t *)userdata;
        return 0;
}

static size_t count_numbers(Fixture *f)
{
        size_t n = 0;
        assert_int_equal(store_each(f->store, QUEUE, check_number, &n), 0);
        return n;
}

/* Some pages are gone: what lies before and behind them is taken over, and counted. */
static void test_damaged_pages(void **state)
{
        Fixture *f = *state;
        put_many(f, 10000);
        overwrite(f, 200 * 4096, 3 * 4096);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
        assert_kept(f, SESSION, "1.0=session");
        size_t n = count_numbers(f);
        assert_in_range(n, 8000, 9999);
        assert_int_equal(stats_of(f).kept, n + 1);
        assert_int_equal(stats_of(f).kept_bytes,
                         n * store_value_cost(VALUE_LEN) + store_value_cost(strlen("session")));
}

/* Where the order of the keys is lost, all values are there yet. */
static void test_damaged_keys(void **state)
{
        Fixture *f = *state;
        put_many(f, 10000);
        overwrite(f, 4096 * (off_t)(root_page(f, "sqlite_autoindex_kept_1") - 1), 4096);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
        assert_int_equal(count_numbers(f), 10000);
        assert_kept(f, SESSION, "1.0=session");
}

/* Damage among the records does not keep values back, and the other way round. */
static void test_damaged_root(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        put_many(f, 10);
        overwrite(f, 4096 * (off_t)(root_page(f, "record") - 1), 4096);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_numbers(f), 10);
        append(f, &r, &result);
        pump(f, &result.calls, 1);
        f->store = store_free(f->store);
        overwrite(f, 4096 * (off_t)(root_page(f, "kept") - 1), 4096);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_numbers(f), 0);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 1);
}

/* Keys that nobody can have put, values that are none. */
static void test_damaged_values(void **state)
{
        Fixture *f = *state;
        put_many(f, 10);
        run_sql(f, "ALTER TABLE kept RENAME TO old; CREATE TABLE kept(kind, a, b, value);"
                   "INSERT INTO kept SELECT kind, a, b, value FROM old; DROP TABLE old;"
                   "INSERT INTO kept VALUES(0, 1, 1, X'00'), (256, 1, 1, X'00'),"
                   "(2, -1, 1, X'00'), (2, 1, -1, X'00'), (2, 1, 1, zeroblob(5000000)),"
                   "(1, 1, 0, CAST('again' AS BLOB)), (3, 1, 0, NULL), ('x', 'y', 'z', 'text');"
                   "PRAGMA user_version = 0");
        open_store(f, MAX_BYTES);
        assert_int_equal(count_numbers(f), 10);
        assert_kept(f, SESSION, "1.0=again");
        assert_kept(f, WILL, "");
        assert_int_equal(stats_of(f).kept, 11);
}

/* A file that claims more than was promised room leaves records theirs. */
static void test_damaged_too_many(void **state)
{
        Fixture *f = *state;
        put_many(f, 1);
        run_sql(f, "WITH RECURSIVE n(i) AS (SELECT 2 UNION SELECT i + 1 FROM n WHERE i < 300)"
                   " INSERT INTO kept SELECT 3, i, i, zeroblob(100000) FROM n;"
                   "PRAGMA user_version = 0");
        open_store(f, MAX_BYTES);
        StoreStats s = stats_of(f);
        assert_in_range(s.kept_bytes, MAX_BYTES / 4 - 101000, MAX_BYTES / 4);
        assert_int_equal(count_numbers(f), 1);
}

/* Damage that shows while running: what was kept before is kept, what comes then too. */
static void test_damaged_while_running(void **state)
{
        Fixture *f = *state;
        put_many(f, 10000);
        open_store(f, MAX_BYTES);
        for (off_t at = 0; at < 4096 * 300; at += 65536)
                overwrite(f, 4096 * 100 + at, 65536);
        for (uint64_t i = 1; i <= 10000; i += 50)
                forget(f, key_of(QUEUE, i, i));
        put(f, key_of(WILL, 1, 0), "late");
        assert_int_equal(barrier(f), -EIO);
        assert_int_equal(count_set_aside(f), 1);
        assert_int_equal(barrier(f), 0); /* what could not be written is written now */
        reopen(f);
        assert_kept(f, WILL, "1.0=late");
        size_t n = count_numbers(f);
        assert_in_range(n, 1000, 9800);
        f->store = store_free(f->store);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
}

/* A large file is not checked as a whole when it is opened, but its values are. */
static void test_damaged_large(void **state)
{
        Fixture *f = *state;
        const uint64_t bound = STORE_BYTES_MIN * 32;
        open_store(f, bound);
        for (uint64_t i = 0; i < 35; i++) {
                put_zeros(f, key_of(1, i, 0), 1 << 20);
                put_zeros(f, key_of(1, i + 1000, 0), 1 << 20);
                if (i == 17)
                        put(f, key_of(2, 0, 0), "here");
                assert_int_equal(barrier(f), 0);
        }
        f->store = store_free(f->store);
        overwrite(f, 4096 * (off_t)(root_page(f, "kept") - 1), 4096);
        open_store(f, bound);
        assert_int_equal(count_set_aside(f), 1);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                TEST(test_migration),        TEST(test_migration_damaged),
                TEST(test_damaged_pages),    TEST(test_damaged_keys),
                TEST(test_damaged_root),     TEST(test_damaged_values),
                TEST(test_damaged_too_many), TEST(test_damaged_while_running),
                TEST(test_damaged_large),
        };
        return cmocka_run_group_tests_name("store-damaged", tests, NULL, NULL);
}
