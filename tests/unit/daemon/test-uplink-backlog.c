/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <string.h>

#include "daemon/uplink-backlog.h"

static Backlog backlog;

static int setup(void **state)
{
        backlog_init(&backlog);
        return 0;
}

static int teardown(void **state)
{
        backlog_rewind(&backlog, 0);
        return 0;
}

/* As the store gives them: all in one block, that begins with the device's name. */
static StoreRecord record(uint64_t id, size_t payload)
{
        char *block = calloc(1, payload + 8);
        assert_non_null(block);
        strcpy(block, "d1");
        return (StoreRecord){ .id = id,
                              .kind = STORE_TELEMETRY,
                              .device = block,
                              .topic = block + 1,
                              .posture = block + 1,
                              .payload = BYTES((uint8_t *)block + 3, payload) };
}

static void read_page(uint64_t from, size_t n, size_t payload)
{
        StoreRecord page[BACKLOG_PAGE];
        for (size_t i = 0; i < n; i++)
                page[i] = record(from + i, payload);
        assert_int_equal(backlog_read(&backlog, page, n), 0);
        for (size_t i = 0; i < n; i++)
                assert_null(page[i].device);
}

/* Whether it was taken over. */
static bool append(uint64_t id, size_t payload)
{
        StoreRecord r = record(id, payload);
        backlog_appended(&backlog, &r);
        bool taken = !r.device;
        store_record_done(&r);
        return taken;
}

static void assert_next(uint64_t from, uint64_t to)
{
        for (uint64_t id = from; id <= to; id++) {
                const StoreRecord *r = backlog_first(&backlog);
                assert_non_null(r);
                assert_int_equal(r->id, id);
                assert_string_equal(r->device, "d1");
                backlog_pop(&backlog);
        }
}

static void assert_empty(void)
{
        assert_null(backlog_first(&backlog));
        assert_int_equal(backlog.n, 0);
        assert_int_equal(backlog.bytes, 0);
}

/* Nothing goes from memory before all that was there earlier has been read. */
static void test_read_first(void **state)
{
        assert_true(backlog_wants(&backlog));
        assert_false(append(3, 10));
        assert_empty();
        read_page(1, 3, 10);
        assert_false(append(4, 10));
        assert_true(backlog_wants(&backlog));
        assert_int_equal(backlog.after, 3);
        read_page(4, 1, 10);
        read_page(5, 0, 0);
        assert_false(backlog_wants(&backlog));
        assert_true(append(5, 10));
        assert_true(append(8, 10)); /* those between are of another kind */
        assert_false(backlog_wants(&backlog));
        assert_next(1, 5);
        assert_next(8, 8);
        assert_empty();
        assert_int_equal(backlog.after, 8);
}

/* What has no room stays in the store, and so does all that comes after it, until it was read. */
static void test_bound(void **state)
{
        uint64_t id = 1;
        read_page(1, 0, 0);
        while (append(id, 1000))
                id++;
        assert_true(backlog.bytes <= BACKLOG_BYTES);
        assert_true(backlog.bytes > BACKLOG_BYTES - 2000);
        assert_false(append(id + 1, 1));
        assert_false(backlog_wants(&backlog)); /* there is enough to send */
        assert_next(1, id - 1 - 255);
        assert_true(backlog_wants(&backlog));
        assert_int_equal(backlog.after, id - 1);
        read_page(id, 2, 1000);
        read_page(id + 2, 0, 0);
        assert_true(append(id + 2, 1000));
        assert_next(id - 255, id + 2);
        assert_empty();
}

/* One read brings more than the bound; no other is asked for. */
static void test_large(void **state)
{
        read_page(1, 2, BACKLOG_BYTES);
        assert_false(backlog_wants(&backlog));
        assert_next(1, 1);
        assert_false(backlog_wants(&backlog));
        assert_next(2, 2);
        assert_true(backlog_wants(&backlog));
}

static void test_rewind(void **state)
{
        read_page(1, 9, 10);
        read_page(10, 0, 0);
        assert_next(1, 4);
        backlog_rewind(&backlog, 7); /* what is not yet gone is looked at again, too */
        assert_empty();
        assert_int_equal(backlog.after, 4);
        assert_true(backlog_wants(&backlog));
        assert_false(append(10, 10));
        read_page(5, 6, 10);
        backlog_rewind(&backlog, 2);
        assert_int_equal(backlog.after, 2);
        read_page(3, 8, 10);
        assert_next(3, 10);
        backlog_rewind(&backlog, UINT64_MAX);
        assert_int_equal(backlog.after, 10);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_read_first),
                TEST(test_bound),
                TEST(test_large),
                TEST(test_rewind),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
