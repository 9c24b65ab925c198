/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Kept values where there is no room: in the bound, on the disk. */

#include "store-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>

static void test_group_refused(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        open_store(f, STORE_BYTES_MIN);
        fill_up(f, 3000);
        fill_up(f, 1);
        put(f, key_of(1, 1, 0), "alone");
        append(f, &r, &result);
        put(f, key_of(1, 2, 0), "with the record");
        forget(f, key_of(1, 1, 0));
        store_group(f->store);
        put(f, key_of(1, 3, 0), "alone");
        pump(f, &result.calls, 1);
        assert_int_equal(result.full, 1);
        f->store = store_free(f->store);
        open_store(f, STORE_BYTES_MIN);
        assert_kept(f, 1, "1.0=alone 3.0=alone");
}

/* An append that is refused at once leaves what follows to no other record's group. */
static void test_append_refused_at_once(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        static uint8_t large[8 << 20];
        StoreRecord r = record("a", BYTES_LITERAL("x")), big = record("a", BYTES(large, 8 << 20));
        open_store(f, STORE_BYTES_MIN);
        fill_up(f, 3000);
        fill_up(f, 1);
        append(f, &r, &result);
        assert_int_equal(store_append(f->store, &big, on_done, &result, NULL), -EMSGSIZE);
        put(f, key_of(1, 1, 0), "alone");
        pump(f, &result.calls, 1);
        assert_int_equal(result.full, 1);
        f->store = store_free(f->store);
        open_store(f, STORE_BYTES_MIN);
        assert_kept(f, 1, "1.0=alone");
}

/* The end of the loop's turn ends a group, also where the thread hears of several turns at once
 * because it was busy. */
static void test_turn_ends_group(void **state)
{
        Fixture *f = *state;
        static Answer answer;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        open_store(f, STORE_BYTES_MIN);
        fill_up(f, 3000);
        fill_up(f, 1);
        answer.calls = 0;
        for (size_t i = 0; i < 50; i++)
                assert_int_equal(
                        store_read(f->store, 0, 0, READ_MAX, SIZE_MAX, on_read, &answer, NULL), 0);
        turn_for(f, USEC_PER_MSEC);
        append(f, &r, &result);
        turn_for(f, USEC_PER_MSEC);
        put(f, key_of(1, 1, 0), "next turn");
        pump(f, &answer.calls, 50);
        pump(f, &result.calls, 1);
        assert_int_equal(result.full, 1);
        assert_int_equal(barrier(f), 0);
        assert_int_equal(stats_of(f).kept, 1);
}

typedef struct Watched {
        const Result *result;
        size_t n;
} Watched;

static void on_watched(StoreRecord *r, void *userdata)
{
        Watched *w = userdata;
        assert_int_equal(r->id, w->result->last_id);
        assert_string_equal(r->device, "a");
        assert_int_equal(r->device_sequence, ++w->n);
        assert_true(r->epoch != 0);
        if (w->n % 2 == 0)
                return;
        StoreRecord taken = store_record_take(r);
        assert_null(r->device);
        store_record_done(&taken);
}

/* Who watches sees what is stored, after whoever stored it, and nothing else. */
static void test_watch(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        Watched watched = { .result = &result };
        static uint8_t payload[20000];
        StoreRecord r = record("a", BYTES(payload, sizeof(payload)));
        open_store(f, STORE_BYTES_MIN);
        store_watch(f->store, on_watched, &watched);
        for (size_t i = 1; i <= 1000; i++) {
                append(f, &r, &result);
                if (i % 10 == 0)
                        pump(f, &result.calls, i);
        }
        assert_true(result.full > 0);
        assert_true(result.stored > 0);
        assert_int_equal(result.stored + result.full, 1000);
        assert_int_equal(watched.n, result.stored);
        store_watch(f->store, NULL, NULL);
}

/* Records take all that they get; the room that was promised to values is there all the same. */
static void reserve(Fixture *f, size_t size)
{
        uint64_t n, x = 1;
        open_store(f, STORE_BYTES_MIN);
        fill_up(f, 3000);
        fill_up(f, 1);
        uint64_t before = stats_of(f).records;
        n = store_kept_max(f->store) / store_value_cost(size);
        for (uint64_t i = 0; i < n; i++) {
                x = x * 6364136223846793005 + 1442695040888963407;
                put_zeros(f, key_of(1, x >> 1, i), size);
                if (i % 256 == 255)
                        assert_int_equal(barrier(f), 0);
                assert_true(disk_use(f) <= STORE_BYTES_MIN);
        }
        assert_int_equal(barrier(f), 0);
        assert_int_equal(stats_of(f).kept, n);
        /* Room that values give back is theirs again, not the records'. */
        fill_up(f, 1000);
        assert_true(stats_of(f).records - before <= STORE_BYTES_MIN / 4 / 1000);
}

static void test_reserve_tiny(void **state)
{
        reserve(*state, 4);
}
static void test_reserve_small(void **state)
{
        reserve(*state, 256);
}
static void test_reserve_quarter(void **state)
{
        reserve(*state, 1100);
}
/* Just too large for three in a page, for two, and for one and a half. */
static void test_reserve_third(void **state)
{
        reserve(*state, 1400);
}
static void test_reserve_half(void **state)
{
        reserve(*state, 2100);
}
static void test_reserve_one_and_a_half(void **state)
{
        reserve(*state, 6200);
}
/* A little less than these, where what SQLite needs for itself in a page decides. */
static void test_reserve_edges(void **state)
{
        static const size_t sizes[] = { 1000, 1340, 2025, 4050, 8150 };
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                teardown(state);
                setup(state);
                reserve(*state, sizes[i]);
        }
}
static void test_reserve_large(void **state)
{
        reserve(*state, 100000);
}

static void set_up_disk(Fixture *f)
{
        if (geteuid() != 0 || mount("tmpfs", f->directory, "tmpfs", 0, "size=16m") < 0)
                skip();
        open_store(f, MAX_BYTES);
}

/* Takes all room that there is, and gives it back. */
static void occupy(Fixture *f, bool full)
{
        char path[128], block[4096] = "";
        snprintf(path, sizeof(path), "%s/ballast", f->directory);
        if (!full) {
                assert_int_equal(unlink(path), 0);
                return;
        }
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        while (write(fd, block, sizeof(block)) > 0)
                ;
        assert_int_equal(errno, ENOSPC);
        close(fd);
}

/* Without room, state alone is kept in memory, what belongs to a record goes with it. */
static void test_disk_full(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        set_up_disk(f);
        put(f, key_of(1, 1, 0), "old");
        put(f, key_of(1, 2, 0), "old");
        assert_int_equal(barrier(f), 0);
        occupy(f, true);
        put(f, key_of(1, 1, 0), "new");
        forget(f, key_of(1, 2, 0));
        put_zeros(f, key_of(2, 1, 0), 200000);
        assert_int_equal(barrier(f), -ENOSPC);
        append(f, &r, &result);
        put(f, key_of(1, 3, 0), "with the record");
        put(f, key_of(1, 1, 0), "with the record");
        store_group(f->store);
        put(f, key_of(1, 4, 0), "alone");
        pump(f, &result.calls, 1);
        assert_int_equal(result.full, 1);
        put(f, key_of(1, 4, 0), "last");
        turn_for(f, 1500 * USEC_PER_MSEC); /* tried and failed meanwhile */
        assert_int_equal(stats_of(f).kept, 2);

        occupy(f, false);
        turn_for(f, 1500 * USEC_PER_MSEC);
        assert_int_equal(stats_of(f).kept, 3);
        reopen(f);
        assert_kept(f, 1, "1.0=new 4.0=last");
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 0);
        f->store = store_free(f->store);
        assert_int_equal(umount(f->directory), 0);
}

/* The next transaction, and the end of the store, are tries as well. */
static void test_disk_full_next(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        set_up_disk(f);
        occupy(f, true);
        put_zeros(f, key_of(2, 1, 0), 200000);
        put(f, key_of(1, 1, 0), "1");
        assert_int_equal(barrier(f), -ENOSPC);
        occupy(f, false);
        append(f, &r, &result);
        put(f, key_of(1, 1, 0), "2");
        pump(f, &result.calls, 1);
        assert_int_equal(result.stored, 1);
        assert_int_equal(stats_of(f).kept, 2);
        occupy(f, true);
        put_zeros(f, key_of(2, 2, 0), 200000);
        assert_int_equal(barrier(f), -ENOSPC);
        occupy(f, false);
        reopen(f);
        assert_kept(f, 1, "1.0=2");
        assert_int_equal(stats_of(f).kept, 3);
        f->store = store_free(f->store);
        assert_int_equal(umount(f->directory), 0);
}

/* What waits for room is the latest of each key: the rest is no memory that appends would miss. */
static void test_disk_full_bounded(void **state)
{
        Fixture *f = *state;
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        Result result = { 0 };
        set_up_disk(f);
        occupy(f, true);
        for (size_t i = 0; i < 600; i++) {
                put_zeros(f, key_of(1, i % 2, 0), 100000);
                if (i % 100 == 99)
                        assert_int_equal(barrier(f), -ENOSPC);
        }
        append(f, &r, &result);
        pump(f, &result.calls, 1);
        assert_int_equal(result.full, 1);
        /* On the other hand, values that do pile up push records back. */
        size_t n = 0;
        for (; store_append(f->store, &r, on_done, &result, NULL) == 0 && n < 1000; n++)
                put_zeros(f, key_of(2, n, 0), 100000);
        assert_in_range(n, 200, 400);
        f->store = store_free(f->store);
        assert_int_equal(umount(f->directory), 0);
}

/* Values beyond what was promised find no room, until records that were delivered make some. */
static void test_deletions_make_room(void **state)
{
        Fixture *f = *state;
        uint64_t ids[1000];
        open_store(f, STORE_BYTES_MIN);
        fill_up(f, 3000);
        for (uint64_t i = 0; i < 30; i++)
                put_zeros(f, key_of(1, i, 0), 100000);
        assert_int_equal(barrier(f), -ENOSPC);
        for (uint64_t i = 0; i < 1000; i++)
                ids[i] = i + 1;
        assert_int_equal(store_delete(f->store, ids, 1000), 0);
        turn_for(f, 2500 * USEC_PER_MSEC);
        assert_int_equal(barrier(f), 0);
        assert_int_equal(stats_of(f).kept, 30);
}

/* Deletes what fill_up() has put there, as the uplink does it, and waits for it. */
static void delete_all(Fixture *f)
{
        uint64_t ids[500], last = stats_of(f).last_id;
        for (uint64_t id = 1; id <= last;) {
                size_t n = 0;
                for (; n < ELEMENTSOF(ids) && id <= last; n++)
                        ids[n] = id++;
                assert_int_equal(store_delete(f->store, ids, n), 0);
        }
        turn_for(f, 2500 * USEC_PER_MSEC);
}

/* A file system that is smaller than the bound: the store stops before it is full, so that there is
 * room for what makes room. */
static void test_small_disk(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        set_up_disk(f);
        for (size_t round = 0; round < 3; round++) {
                fill_up(f, 3000);
                fill_up(f, 1);
                assert_in_range(stats_of(f).records, 1000, 6000);
                put_zeros(f, key_of(1, round, 0), 100000);
                assert_int_equal(barrier(f), 0);
                delete_all(f);
                assert_int_equal(stats_of(f).records, 0);
                reopen(f);
                assert_int_equal(stats_of(f).records, 0);
        }
        append(f, &r, &result);
        pump(f, &result.calls, 1);
        assert_int_equal(result.stored, 1);
        assert_int_equal(stats_of(f).kept, 3);
        f->store = store_free(f->store);
        assert_int_equal(umount(f->directory), 0);
}

/* Where something else took all room, deletions wait in memory; what waits for its deletion is not
 * read again. */
static void test_deleted_on_full_disk(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        uint64_t odd[500];
        set_up_disk(f);
        for (size_t i = 0; i < 1000; i++)
                append(f, &r, &result);
        pump(f, &result.calls, 1000);
        occupy(f, true);
        put_zeros(f, key_of(2, 1, 0), 200000);
        assert_int_equal(barrier(f), -ENOSPC);
        for (size_t i = 0; i < ELEMENTSOF(odd); i++)
                odd[i] = 999 - 2 * i;
        assert_int_equal(store_delete(f->store, odd, ELEMENTSOF(odd)), 0);
        turn_for(f, 1500 * USEC_PER_MSEC);
        assert_int_equal(stats_of(f).records, 1000);
        const Answer *a = read_all(f, 0, 0, SIZE_MAX);
        assert_int_equal(a->n, 500);
        for (size_t i = 0; i < a->n; i++)
                assert_int_equal(a->ids[i], 2 * i + 2);
        occupy(f, false);
        turn_for(f, 2500 * USEC_PER_MSEC);
        assert_int_equal(stats_of(f).records, 500);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 500);
        f->store = store_free(f->store);
        assert_int_equal(umount(f->directory), 0);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                TEST(test_group_refused),
                TEST(test_append_refused_at_once),
                TEST(test_turn_ends_group),
                TEST(test_watch),
                TEST(test_reserve_tiny),
                TEST(test_reserve_small),
                TEST(test_reserve_quarter),
                TEST(test_reserve_third),
                TEST(test_reserve_half),
                TEST(test_reserve_one_and_a_half),
                TEST(test_reserve_edges),
                TEST(test_reserve_large),
                TEST(test_disk_full),
                TEST(test_disk_full_next),
                TEST(test_disk_full_bounded),
                TEST(test_small_disk),
                TEST(test_deleted_on_full_disk),
                TEST(test_deletions_make_room),
        };
        return cmocka_run_group_tests_name("store-full", tests, NULL, NULL);
}
