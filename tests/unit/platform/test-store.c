/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

static const char *self;

static void test_round_trip(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        open_store(f, MAX_BYTES);
        uint64_t epoch = store_epoch(f->store);
        StoreRecord a = record("a", BYTES_LITERAL("1")), b = record("b", BYTES_LITERAL("2"));
        StoreRecord report = record("a", BYTES("", 0));
        report.kind = STORE_REPORT;
        report.content_type = NULL;
        append(f, &a, &result);
        append(f, &b, &result);
        append(f, &report, &result);
        append(f, &b, &result);
        pump(f, &result.calls, 4);
        assert_int_equal(result.stored, 4);

        reopen(f);
        assert_int_equal(store_epoch(f->store), epoch);
        Answer *got = read_all(f, 0, 0, SIZE_MAX);
        assert_int_equal(got->n, 4);
        assert_int_equal(got->epoch, epoch);
        const uint64_t sequences[] = { 1, 1, 2, 2 };
        const char *payloads[] = { "1", "2", "", "2" };
        for (size_t i = 0; i < 4; i++) {
                assert_int_equal(got->ids[i], i + 1);
                assert_int_equal(got->sequences[i], sequences[i]);
                assert_string_equal(got->payload[i], payloads[i]);
        }
        got = read_all(f, STORE_REPORT, 0, SIZE_MAX);
        assert_int_equal(got->n, 1);
        assert_int_equal(got->ids[0], 3);
        got = read_all(f, STORE_TELEMETRY, 1, SIZE_MAX);
        assert_int_equal(got->n, 2);
        assert_int_equal(got->ids[1], 4);
        got = read_all(f, STORE_TELEMETRY, 0, 1);
        assert_int_equal(got->n, 1);
}

static void test_delete(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        open_store(f, MAX_BYTES);
        StoreRecord a = record("a", BYTES_LITERAL("payload"));
        for (size_t i = 0; i < 10; i++)
                append(f, &a, &result);
        pump(f, &result.calls, 10);
        uint64_t ids[] = { 1, 2, 3, 10, 99 };
        assert_int_equal(store_delete(f->store, ids, 5), 0);
        /* Who starts over does not see what was deleted a moment ago. */
        Answer *got = read_all(f, 0, 0, SIZE_MAX);
        assert_int_equal(got->n, 6);
        assert_int_equal(got->ids[0], 4);
        StoreStats stats;
        store_stats(f->store, &stats);
        assert_int_equal(stats.records, 6);
        assert_int_equal(stats.bytes, 6 * (strlen("temperature") + strlen("payload")));
        assert_int_equal(stats.oldest, 1700000000 * USEC_PER_SEC);

        /* Deletions without anything else are on disk at the end, ids are not used again. */
        uint64_t rest[] = { 4, 5, 6, 7, 8, 9 };
        assert_int_equal(store_delete(f->store, rest, 6), 0);
        reopen(f);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 0);
        store_stats(f->store, &stats);
        assert_int_equal(stats.records, 0);
        assert_int_equal(stats.oldest, 0);
        result = (Result){ .last_id = 10 };
        append(f, &a, &result);
        pump(f, &result.calls, 1);
        assert_int_equal(result.last_id, 11);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->sequences[0], 11);
}

static void test_one_turn_one_commit(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreStats before, after;
        open_store(f, MAX_BYTES);
        StoreRecord a = record("a", BYTES_LITERAL("x"));
        store_stats(f->store, &before);
        for (size_t i = 0; i < 500; i++)
                append(f, &a, &result);
        pump(f, &result.calls, 500);
        store_stats(f->store, &after);
        assert_int_equal(after.commits - before.commits, 1);
        assert_int_equal(after.appended, 500);
}

/* What is on disk does not wait for what is not, and what was to be deleted is not seen. */
static void test_reads_go_ahead(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        open_store(f, MAX_BYTES);
        StoreRecord a = record("a", BYTES_LITERAL("x"));
        append(f, &a, &result);
        append(f, &a, &result);
        pump(f, &result.calls, 2);
        uint64_t first = result.last_id - 1;
        for (size_t i = 0; i < 200; i++)
                append(f, &a, &result);
        assert_int_equal(store_delete(f->store, &first, 1), 0);
        const Answer *seen = read_all(f, 0, 0, SIZE_MAX);
        assert_int_equal(seen->n, 1);
        assert_int_equal(seen->ids[0], first + 1);
        assert_int_equal(result.calls, 2);
        pump(f, &result.calls, 202);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 201);
}

static void test_cancel_and_free(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreOp *op;
        open_store(f, MAX_BYTES);
        StoreRecord a = record("a", BYTES_LITERAL("x"));
        assert_int_equal(store_append(f->store, &a, on_done, &result, &op), 0);
        store_op_cancel(op);
        assert_int_equal(barrier(f), 0);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 1);
        assert_int_equal(result.calls, 0);
        /* What was appended in this very turn is kept by store_free(). */
        append(f, &a, &result);
        reopen(f);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 2);
        assert_int_equal(result.calls, 0);
}

static void test_push_back(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        size_t n = 0;
        int r;
        open_store(f, MAX_BYTES);
        StoreRecord a = record("a", BYTES_LITERAL("x"));
        /* The loop does not turn: nothing leaves. */
        while ((r = store_append(f->store, &a, on_done, &result, NULL)) == 0)
                assert_true(++n < 1000000);
        assert_int_equal(r, -ENOBUFS);
        pump(f, &result.calls, n);
        assert_int_equal(result.stored, n);
        append(f, &a, &result);
        static uint8_t large[8 << 20];
        a.payload = BYTES(large, sizeof(large));
        assert_int_equal(store_append(f->store, &a, on_done, &result, NULL), -EMSGSIZE);
}

static uint64_t records(Fixture *f)
{
        StoreStats stats;
        store_stats(f->store, &stats);
        return stats.records;
}

static void fill(Fixture *f, size_t size, Result *result)
{
        uint8_t *payload = calloc(1, size);
        StoreRecord a = record("a", BYTES(payload, size));
        for (size_t i = 0; i < 100000 && result->full == 0; i++) {
                append(f, &a, result);
                if (i % 8 == 7)
                        pump(f, &result->calls, i + 1);
                assert_true(disk_use(f) <= STORE_BYTES_MIN);
        }
        assert_true(result->full > 0);
        free(payload);
}

static void full(Fixture *f, size_t size)
{
        Result result = { 0 };
        open_store(f, STORE_BYTES_MIN);
        fill(f, size, &result);
        assert_int_equal(result.error, 0);
        /* The bound is used, not just kept: at least a third of it holds payload. A quarter is the
         * log's, another is left to values. */
        assert_true(result.stored * size > STORE_BYTES_MIN / 3);
        /* Room comes back, also after a restart. */
        Answer *got = read_all(f, 0, 0, SIZE_MAX);
        assert_true(got->n >= 4);
        assert_int_equal(store_delete(f->store, got->ids, got->n / 2), 0);
        f->store = store_free(f->store);
        open_store(f, STORE_BYTES_MIN);
        size_t before = result.stored;
        result = (Result){ .last_id = result.last_id };
        fill(f, size, &result);
        assert_true(result.stored >= before / 3);
        got = read_all(f, 0, 0, SIZE_MAX);
        for (size_t i = 1; i < got->n; i++)
                assert_int_equal(got->sequences[i], got->sequences[i - 1] + 1);
}

static void test_full_small(void **state)
{
        full(*state, 300);
}
static void test_full_page(void **state)
{
        full(*state, 3000);
}
static void test_full_large(void **state)
{
        full(*state, 100000);
}

/* A real disk that is full: a tmpfs smaller than the bound. Needs to be root. */
static void test_disk_full(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        if (geteuid() != 0 || mount("tmpfs", f->directory, "tmpfs", 0, "size=12m") < 0)
                skip();
        open_store(f, MAX_BYTES);
        static uint8_t payload[10000];
        StoreRecord a = record("a", BYTES(payload, sizeof(payload)));
        size_t n = 0;
        for (; n < 1000 && result.full == 0; n++) {
                append(f, &a, &result);
                pump(f, &result.calls, n + 1);
        }
        assert_true(result.full > 0);
        assert_int_equal(result.error, 0);
        assert_true(result.stored > 50);
        /* What was rolled back is not counted, nor is it after a restart. */
        assert_int_equal(records(f), result.stored);
        f->store = store_free(f->store);
        open_store(f, MAX_BYTES);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, result.stored);
        assert_int_equal(records(f), result.stored);
        f->store = store_free(f->store);
        assert_int_equal(umount(f->directory), 0);
}

/* Appends without end and writes each number to `fd` once it is durable. */
typedef struct Worker {
        int fd;
        uint64_t next;
        size_t calls, waiting;
} Worker;

static void on_worker_done(int error, uint64_t id, void *userdata)
{
        Worker *w = userdata;
        w->waiting--;
        w->calls++;
        if (error != 0 || write(w->fd, &id, sizeof(id)) != sizeof(id))
                _exit(1);
}

static void work(const char *directory, int fd, size_t n)
{
        Loop *loop;
        Store *store;
        Worker w = { .fd = fd };
        if (loop_new(&loop) < 0 || store_open(loop, directory, MAX_BYTES, &store) < 0)
                _exit(1);
        while (w.calls < n) {
                for (; w.waiting < 32 && w.calls + w.waiting < n; w.waiting++) {
                        char payload[24];
                        snprintf(payload, sizeof(payload), "%llu", (unsigned long long)w.next++);
                        StoreRecord r =
                                record(w.next % 2 ? "odd" : "even", bytes_from_str(payload));
                        if (store_append(store, &r, on_worker_done, &w, NULL) < 0)
                                _exit(1);
                }
                sd_event_run(loop_sd_event(loop), USEC_PER_SEC);
        }
        store_free(store);
        loop_free(loop);
}

/* Returns the highest id that was acknowledged before the kill. */
static uint64_t kill_worker(const char *directory, useconds_t after)
{
        int p[2];
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                work(directory, p[1], SIZE_MAX);
                _exit(0);
        }
        close(p[1]);
        uint64_t id = 0, last = 0;
        /* The first acknowledgement, then some time in full swing; a pipe would fill up. */
        assert_int_equal(read(p[0], &last, sizeof(last)), sizeof(last));
        usec_t until = now_boottime() + after;
        while (now_boottime() < until && read(p[0], &id, sizeof(id)) == sizeof(id))
                last = id;
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(p[0], &id, sizeof(id)) == sizeof(id))
                last = id;
        close(p[0]);
        return last;
}

static void check_sequences(const Answer *a, uint64_t *odd, uint64_t *even)
{
        for (size_t i = 0; i < a->n; i++) {
                uint64_t *last = strcmp(a->device[i], "odd") == 0 ? odd : even;
                assert_int_equal(a->sequences[i], *last + 1);
                *last = a->sequences[i];
        }
}

static void test_kill(void **state)
{
        Fixture *f = *state;
        uint64_t present = 0, odd = 0, even = 0;
        for (unsigned round = 0; round < 8; round++) {
                uint64_t acknowledged = kill_worker(f->directory, 7000 + round * 9777);
                assert_true(acknowledged > present);
                open_store(f, MAX_BYTES);
                for (Answer *a; (a = read_all(f, 0, present, SIZE_MAX))->n > 0;) {
                        assert_int_equal(a->ids[0], present + 1);
                        assert_int_equal(a->ids[a->n - 1], present + a->n);
                        check_sequences(a, &odd, &even);
                        present = a->ids[a->n - 1];
                }
                assert_true(present >= acknowledged);
                f->store = store_free(f->store);
        }
}

/* From the system calls: since the last write to the log, and before any acknowledgement is
 * written, the log was synced. */
static void check_trace(const char *path, size_t expected)
{
        FILE *trace = fopen(path, "re");
        char line[4096];
        bool dirty = false;
        size_t acknowledged = 0, syncs = 0;
        assert_non_null(trace);
        while (fgets(line, sizeof(line), trace)) {
                if (strstr(line, "resumed>"))
                        dirty = dirty && !(strstr(line, "fdatasync resumed") ||
                                           strstr(line, "fsync resumed"));
                if (strstr(line, "pwrite64(") && strstr(line, "store.db-wal"))
                        dirty = true;
                if (strstr(line, "sync(") && strstr(line, "store.db-wal")) {
                        syncs++;
                        if (!strstr(line, "unfinished"))
                                dirty = false;
                }
                if (strstr(line, "write(") && strstr(line, "/acknowledged>")) {
                        assert_false(dirty);
                        acknowledged++;
                }
        }
        fclose(trace);
        assert_int_equal(acknowledged, expected);
        assert_true(syncs >= expected / 32);
}

static void test_sync_before_done(void **state)
{
        Fixture *f = *state;
        char command[512], trace[128];
        if (system("strace -qq -e trace=none true 2>/dev/null") != 0)
                skip();
        snprintf(trace, sizeof(trace), "%s/trace", f->directory);
        snprintf(command, sizeof(command),
                 "ASAN_OPTIONS=detect_leaks=0 strace -f -y -qq -o %s"
                 " -e trace=write,pwrite64,fsync,fdatasync %s --work %s",
                 trace, self, f->directory);
        assert_int_equal(system(command), 0);
        check_trace(trace, 320);
}

static void store_many(Fixture *f, size_t n)
{
        Result result = { 0 };
        for (size_t i = 0; i < n; i++) {
                char payload[24];
                snprintf(payload, sizeof(payload), "%zu", i + 1);
                StoreRecord a = record("a", bytes_from_str(payload));
                append(f, &a, &result);
        }
        pump(f, &result.calls, n);
        assert_int_equal(result.stored, n);
}

static void test_damaged_header(void **state)
{
        Fixture *f = *state;
        open_store(f, MAX_BYTES);
        uint64_t epoch = store_epoch(f->store);
        store_many(f, 10);
        f->store = store_free(f->store);
        overwrite(f, 0, 4096);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
        assert_int_not_equal(store_epoch(f->store), epoch);
        store_many(f, 1);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 1);
}

/* Some pages in the middle are gone: the rest is taken over under its old ids. */
static void test_damaged_pages(void **state)
{
        Fixture *f = *state;
        open_store(f, MAX_BYTES);
        store_many(f, 10000);
        f->store = store_free(f->store);
        overwrite(f, 50 * 4096, 3 * 4096);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
        Answer *a = read_all(f, 0, 0, SIZE_MAX);
        assert_true(a->n > 8000);
        assert_true(a->n < 10000);
        for (size_t i = 0; i < a->n; i++) {
                char payload[24];
                snprintf(payload, sizeof(payload), "%llu", (unsigned long long)a->ids[i]);
                assert_string_equal(a->payload[i], payload);
                assert_int_equal(a->sequences[i], i + 1);
        }
        store_many(f, 1);
        assert_int_equal(read_all(f, 0, 10000, SIZE_MAX)->ids[0], 10001);
}

/* Where nothing can be read at all, the search for more comes to an end. */
static void test_damaged_root(void **state)
{
        Fixture *f = *state;
        open_store(f, MAX_BYTES);
        store_many(f, 10000);
        f->store = store_free(f->store);
        overwrite(f, 4096 * (off_t)(root_page(f, "record") - 1), 4096);
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 0);
        store_many(f, 1);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->ids[0], 10001);
}

/* A number beyond all that a store gives would leave none for what comes after it. */
static void test_damaged_ids(void **state)
{
        Fixture *f = *state;
        open_store(f, MAX_BYTES);
        store_many(f, 10);
        f->store = store_free(f->store);
        run_sql(f, "UPDATE record SET id = 9223372036854775807 WHERE id = 10;"
                   "PRAGMA user_version = 0");
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 9);
        store_many(f, 2);
        assert_int_equal(read_all(f, 0, 9, SIZE_MAX)->n, 2);
}

/* One number twice, as after a flipped bit: the first of them and all others are taken over. */
static void test_damaged_twice(void **state)
{
        Fixture *f = *state;
        open_store(f, MAX_BYTES);
        store_many(f, 10);
        f->store = store_free(f->store);
        run_sql(f,
                "ALTER TABLE record RENAME TO old;"
                "CREATE TABLE record AS SELECT * FROM old; UPDATE record SET id = 4 WHERE id = 5;"
                "DROP TABLE old; PRAGMA user_version = 0");
        open_store(f, MAX_BYTES);
        assert_int_equal(count_set_aside(f), 1);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 9);
        store_many(f, 1);
        assert_int_equal(read_all(f, 0, 10, SIZE_MAX)->ids[0], 11);
}

/* Damage that shows while running: reads fail once, then the store is a sound one again. */
static void test_damaged_while_running(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        open_store(f, MAX_BYTES);
        static uint8_t payload[30000];
        StoreRecord a = record("a", BYTES(payload, sizeof(payload)));
        for (size_t i = 0; i < 1000; i++)
                append(f, &a, &result);
        pump(f, &result.calls, 1000);
        reopen(f); /* the pages are no longer in memory, the log is empty */
        for (off_t at = 4096 * 100; at < 4096 * 1100; at += 65536)
                overwrite(f, at, 65536);
        static Answer answer;
        memset(&answer, 0, sizeof(answer));
        assert_int_equal(store_read(f->store, 0, 0, READ_MAX, SIZE_MAX, on_read, &answer, NULL), 0);
        pump(f, &answer.calls, 1);
        assert_int_equal(answer.error, -EIO);
        assert_int_equal(count_set_aside(f), 1);
        assert_true(read_all(f, 0, 0, SIZE_MAX)->n > 0);
        result = (Result){ .last_id = 1000 };
        append(f, &a, &result);
        pump(f, &result.calls, 1);
        assert_int_equal(result.stored, 1);
}

static void test_foreign(void **state)
{
        Fixture *f = *state;
        open_store(f, MAX_BYTES);
        store_many(f, 1);
        f->store = store_free(f->store);
        run_sql(f, "PRAGMA user_version = 3");
        assert_int_equal(store_open(f->loop, f->directory, MAX_BYTES, &f->store), -EBADMSG);
        run_sql(f, "PRAGMA user_version = 2; PRAGMA application_id = 1");
        assert_int_equal(store_open(f->loop, f->directory, MAX_BYTES, &f->store), -EBADMSG);
        run_sql(f, "PRAGMA application_id = 0x53505354");
        open_store(f, MAX_BYTES);
        assert_int_equal(read_all(f, 0, 0, SIZE_MAX)->n, 1);
        assert_int_equal(count_set_aside(f), 0);
}

static void test_refusals(void **state)
{
        Fixture *f = *state;
        Store *second = NULL;
        char path[128];
        assert_int_equal(store_open(f->loop, f->directory, 1024, &second), -ERANGE);
        assert_int_equal(store_open(f->loop, "/nonexistent/store", MAX_BYTES, &second), -ENOENT);
        snprintf(path, sizeof(path), "%s/store.db", f->directory);
        assert_int_equal(symlink("/tmp/elsewhere", path), 0);
        assert_int_equal(store_open(f->loop, f->directory, MAX_BYTES, &second), -ELOOP);
        assert_int_equal(unlink(path), 0);
        open_store(f, MAX_BYTES);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);

        /* A second process is told; in one process, locks would not collide. */
        pid_t pid = fork();
        if (pid == 0) {
                Loop *loop;
                loop_new(&loop);
                _exit(-store_open(loop, f->directory, MAX_BYTES, &second) & 0xff);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), EBUSY);
        assert_null(second);
}

static void test_read_only(void **state)
{
        Fixture *f = *state;
        if (geteuid() != 0 || mount("tmpfs", f->directory, "tmpfs", 0, "size=9m") < 0)
                skip();
        open_store(f, MAX_BYTES);
        store_many(f, 1);
        f->store = store_free(f->store);
        assert_int_equal(mount(NULL, f->directory, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
        assert_int_equal(store_open(f->loop, f->directory, MAX_BYTES, &f->store), -EROFS);
        assert_int_equal(umount(f->directory), 0);
}

int main(int argc, char **argv)
{
        self = argv[0];
        if (argc == 3 && strcmp(argv[1], "--work") == 0) {
                char path[256];
                snprintf(path, sizeof(path), "%s/acknowledged", argv[2]);
                int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
                work(argv[2], fd, 320);
                return 0;
        }
        const struct CMUnitTest tests[] = {
                TEST(test_round_trip),
                TEST(test_delete),
                TEST(test_one_turn_one_commit),
                TEST(test_reads_go_ahead),
                TEST(test_cancel_and_free),
                TEST(test_push_back),
                TEST(test_full_small),
                TEST(test_full_page),
                TEST(test_full_large),
                TEST(test_disk_full),
                TEST(test_kill),
                TEST(test_sync_before_done),
                TEST(test_damaged_header),
                TEST(test_damaged_pages),
                TEST(test_damaged_root),
                TEST(test_damaged_ids),
                TEST(test_damaged_twice),
                TEST(test_damaged_while_running),
                TEST(test_foreign),
                TEST(test_refusals),
                TEST(test_read_only),
        };
        return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
