/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

/* The test's own kinds. */
enum { SESSION = 1, QUEUE, WILL };

static StoreKey key_of(uint8_t kind, uint64_t a, uint64_t b)
{
        return (StoreKey){ .kind = kind, .a = a, .b = b };
}

static void put(Fixture *f, StoreKey key, const char *value)
{
        assert_int_equal(store_put(f->store, &key, bytes_from_str(value)), 0);
}

static void put_zeros(Fixture *f, StoreKey key, size_t len)
{
        static const uint8_t zeros[1 << 20];
        assert_true(len <= sizeof(zeros));
        assert_int_equal(store_put(f->store, &key, BYTES(zeros, len)), 0);
}

static void forget(Fixture *f, StoreKey key)
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

/* What the barrier heard. */
static int barrier(Fixture *f)
{
        Heard heard = { 0 };
        assert_int_equal(store_barrier(f->store, on_heard, &heard, NULL), 0);
        pump(f, &heard.calls, 1);
        return heard.error;
}

/* Keys and values as one line: "1.2=text 1.3=other". */
static int note(const StoreKey *key, Bytes value, void *userdata)
{
        char *line = userdata;
        size_t len = strlen(line);
        snprintf(line + len, 512 - len, "%s%llu.%llu=%.*s", len ? " " : "",
                 (unsigned long long)key->a, (unsigned long long)key->b, (int)value.len,
                 (const char *)value.data);
        return 0;
}

/* Of a store on which nothing was asked for yet. */
static void assert_kept(Fixture *f, uint8_t kind, const char *expected)
{
        char line[512] = "";
        assert_int_equal(store_each(f->store, kind, note, line), 0);
        assert_string_equal(line, expected);
}

static StoreStats stats_of(Fixture *f)
{
        StoreStats s;
        store_stats(f->store, &s);
        return s;
}

static void turn_for(Fixture *f, usec_t span)
{
        for (usec_t end = now_boottime() + span, now; (now = now_boottime()) < end;)
                assert_true(sd_event_run(loop_sd_event(f->loop), end - now) >= 0);
}

static int stop_at_second(const StoreKey *key, Bytes value, void *userdata)
{
        return ++*(int *)userdata == 2 ? -ECANCELED : 0;
}

static void test_round_trip(void **state)
{
        Fixture *f = *state;
        int calls = 0;
        open_store(f, MAX_BYTES);
        put(f, key_of(QUEUE, 2, 1), "c");
        put(f, key_of(QUEUE, 1, INT64_MAX), "b");
        put(f, key_of(QUEUE, 1, 0), "");
        put(f, key_of(QUEUE, 256, 3), "d");
        put(f, key_of(SESSION, 0, 0), "session");
        put(f, key_of(WILL, 1, 1), "will");
        put(f, key_of(WILL, 1, 1), "another");
        put(f, key_of(WILL, 1, 2), "gone");
        forget(f, key_of(WILL, 1, 2));
        forget(f, key_of(WILL, 1, 3));
        assert_int_equal(barrier(f), 0);
        StoreStats s = stats_of(f);
        assert_int_equal(s.kept, 6);
        assert_int_equal(s.kept_bytes, 6 * STORE_VALUE_OVERHEAD + 3 + 7 + 7);

        reopen(f);
        assert_int_equal(stats_of(f).kept_bytes, s.kept_bytes);
        assert_kept(f, QUEUE, "1.0= 1.9223372036854775807=b 2.1=c 256.3=d");
        assert_kept(f, SESSION, "0.0=session");
        assert_kept(f, WILL, "1.1=another");
        assert_kept(f, WILL + 1, "");
        assert_int_equal(store_each(f->store, QUEUE, stop_at_second, &calls), -ECANCELED);
        assert_int_equal(calls, 2);
        forget(f, key_of(QUEUE, 1, 0));
        assert_int_equal(store_each(f->store, QUEUE, note, NULL), -EBUSY);
        assert_int_equal(barrier(f), 0);
        assert_int_equal(stats_of(f).kept, 5);
}

static void test_refusals(void **state)
{
        Fixture *f = *state;
        static uint8_t large[8 << 20];
        open_store(f, MAX_BYTES);
        StoreKey good = key_of(1, INT64_MAX, INT64_MAX), no_kind = key_of(0, 1, 1);
        StoreKey a = key_of(1, (uint64_t)INT64_MAX + 1, 1), b = key_of(1, 1, UINT64_MAX);
        assert_int_equal(store_put(f->store, &no_kind, BYTES_LITERAL("x")), -ERANGE);
        assert_int_equal(store_put(f->store, &a, BYTES_LITERAL("x")), -ERANGE);
        assert_int_equal(store_remove(f->store, &b), -ERANGE);
        size_t most = (size_t)store_record_max(MAX_BYTES);
        assert_int_equal(store_put(f->store, &good, BYTES(large, most + 1)), -EMSGSIZE);
        assert_int_equal(store_put(f->store, &good, BYTES(large, most)), 0);
        assert_int_equal(barrier(f), 0);
        assert_int_equal(stats_of(f).kept_bytes, most + STORE_VALUE_OVERHEAD);
        assert_int_equal(store_kept_max(f->store), MAX_BYTES / 4);
}

/* Whatever way the requests take (alone, with a record, in one transaction or in two), the last
 * of a key counts. */
static void test_order(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        open_store(f, MAX_BYTES);
        put(f, key_of(1, 1, 0), "1");
        forget(f, key_of(1, 1, 0));
        put(f, key_of(1, 1, 0), "2");

        put(f, key_of(1, 2, 0), "1");
        append(f, &r, &result);
        put(f, key_of(1, 2, 0), "2");
        put(f, key_of(1, 3, 0), "1");
        store_group(f->store);
        forget(f, key_of(1, 3, 0));
        put(f, key_of(1, 2, 0), "3");

        append(f, &r, &result);
        put(f, key_of(1, 4, 0), "1");
        turn_for(f, 1000);
        forget(f, key_of(1, 4, 0));
        put(f, key_of(1, 5, 0), "1");
        read_all(f, 0, 0, SIZE_MAX); /* what waits, waits on */
        put(f, key_of(1, 5, 0), "2");
        append(f, &r, &result);
        put(f, key_of(1, 6, 0), "1");
        pump(f, &result.calls, 3);
        reopen(f);
        assert_kept(f, 1, "1.0=2 2.0=3 5.0=2 6.0=1");
}

/* Alone they wait for a second, which an idle store spends asleep; with a record they do not. */
static void test_lazy(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        open_store(f, MAX_BYTES);
        put(f, key_of(1, 1, 0), "1");
        turn_for(f, 300 * USEC_PER_MSEC);
        put(f, key_of(1, 1, 0), "2");
        turn_for(f, 300 * USEC_PER_MSEC);
        assert_int_equal(stats_of(f).commits, 0);
        turn_for(f, USEC_PER_SEC);
        assert_int_equal(stats_of(f).commits, 1);
        assert_int_equal(stats_of(f).kept, 1);
        forget(f, key_of(1, 7, 7)); /* not there: nothing to write */
        turn_for(f, 1500 * USEC_PER_MSEC);
        assert_int_equal(stats_of(f).commits, 1);

        put(f, key_of(1, 2, 0), "1");
        turn_for(f, 10 * USEC_PER_MSEC);
        append(f, &r, &result);
        put(f, key_of(1, 3, 0), "1");
        pump(f, &result.calls, 1);
        assert_int_equal(stats_of(f).commits, 2);
        assert_int_equal(stats_of(f).kept, 3);
}

typedef struct Order {
        size_t calls;
        char seen[8];
} Order;

static void on_append(int error, uint64_t id, void *userdata)
{
        Order *o = userdata;
        o->seen[o->calls++] = error == 0 && id > 0 ? 'a' : '?';
}

static void on_barrier(int error, uint64_t id, void *userdata)
{
        Order *o = userdata;
        o->seen[o->calls++] = error == 0 && id == 0 ? 'b' : '?';
}

static void test_barrier(void **state)
{
        Fixture *f = *state;
        Order order = { 0 };
        StoreOp *op;
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        open_store(f, MAX_BYTES);
        assert_int_equal(barrier(f), 0);
        assert_int_equal(stats_of(f).commits, 0); /* nothing to write, nothing written */
        assert_int_equal(store_barrier(f->store, on_barrier, &order, NULL), 0);
        assert_int_equal(store_append(f->store, &r, on_append, &order, NULL), 0);
        put(f, key_of(1, 1, 0), "1");
        assert_int_equal(store_barrier(f->store, on_barrier, &order, &op), 0);
        store_op_cancel(op);
        assert_int_equal(store_barrier(f->store, on_barrier, &order, NULL), 0);
        assert_int_equal(store_append(f->store, &r, on_append, &order, NULL), 0);
        pump(f, &order.calls, 4);
        assert_string_equal(order.seen, "baba");
        assert_int_equal(stats_of(f).commits, 1);

        /* Deletions of records are asked for as well. */
        assert_int_equal(store_delete(f->store, (const uint64_t[]){ 1 }, 1), 0);
        assert_int_equal(barrier(f), 0);
        assert_int_equal(stats_of(f).records, 1);
}

/* Waits for the barrier in a process of its own, which is killed in that very moment. */
static void on_barrier_kill(int error, uint64_t id, void *userdata)
{
        if (error == 0)
                kill(getpid(), SIGKILL);
        _exit(1);
}

static void put_and_die(const char *directory, bool wait)
{
        Loop *loop;
        Store *store;
        StoreKey key = key_of(1, 1, 0);
        if (loop_new(&loop) < 0 || store_open(loop, directory, MAX_BYTES, &store) < 0)
                _exit(1);
        if (store_put(store, &key, BYTES_LITERAL("here")) < 0)
                _exit(1);
        if (wait && store_barrier(store, on_barrier_kill, NULL, NULL) < 0)
                _exit(1);
        for (usec_t end = now_boottime() + 300 * USEC_PER_MSEC; wait || now_boottime() < end;)
                sd_event_run(loop_sd_event(loop), 10 * USEC_PER_MSEC);
        kill(getpid(), SIGKILL);
}

static void run_to_death(Fixture *f, bool wait)
{
        int status;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                put_and_die(f->directory, wait);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
}

static void test_kill_after_barrier(void **state)
{
        Fixture *f = *state;
        run_to_death(f, false); /* nobody asked whether it is on disk: it is not yet */
        open_store(f, MAX_BYTES);
        assert_kept(f, 1, "");
        f->store = store_free(f->store);
        run_to_death(f, true);
        open_store(f, MAX_BYTES);
        assert_kept(f, 1, "1.0=here");
}

/* Groups of one record and GROUP_VALUES values, of which a turn has more than one transaction
 * takes. The number of the last record is a value as well. */
#define GROUP_VALUES 8
#define TURN_GROUPS  400
#define GROUPS       3200

static void ask_for_group(Store *store, uint64_t number)
{
        static const uint8_t value[200];
        char text[24];
        StoreKey before = key_of(WILL, number - 1, 0), last = key_of(WILL, number, 0);
        snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
        StoreRecord r = record("a", bytes_from_str(text));
        store_group(store);
        int k = store_append(store, &r, NULL, NULL, NULL);
        for (uint64_t i = 0; i < GROUP_VALUES && k == 0; i++) {
                StoreKey key = key_of(QUEUE, number, i);
                k = store_put(store, &key, BYTES(value, sizeof(value)));
        }
        if (k == 0)
                k = store_remove(store, &before);
        if (k < 0 || store_put(store, &last, bytes_from_str(text)) < 0)
                _exit(1);
}

static void on_first(void *userdata)
{
        if (write(*(int *)userdata, "x", 1) != 1)
                _exit(1);
}

static void ask_for_groups(const char *directory, int fd)
{
        Loop *loop;
        Store *store;
        if (loop_new(&loop) < 0 || store_open(loop, directory, MAX_BYTES, &store) < 0)
                _exit(1);
        store_watch(store, on_first, &fd);
        for (uint64_t number = 1; number <= GROUPS;) {
                for (size_t i = 0; i < TURN_GROUPS; i++)
                        ask_for_group(store, number++);
                sd_event_run(loop_sd_event(loop), 0);
        }
        for (;;)
                sd_event_run(loop_sd_event(loop), USEC_PER_SEC);
}

static void kill_in_groups(Fixture *f, useconds_t after)
{
        int p[2], status;
        char byte;
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                ask_for_groups(f->directory, p[1]);
        close(p[1]);
        assert_int_equal(read(p[0], &byte, 1), 1);
        usleep(after);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        close(p[0]);
}

static int count_values(const StoreKey *key, Bytes value, void *userdata)
{
        uint8_t *counts = userdata;
        assert_true(key->a <= GROUPS);
        counts[key->a]++;
        return 0;
}

/* Every record has all of its values, and every value its record. */
static size_t check_groups(Fixture *f)
{
        static uint8_t values[GROUPS + 1];
        char last[64], line[512] = "";
        memset(values, 0, sizeof(values));
        assert_int_equal(store_each(f->store, QUEUE, count_values, values), 0);
        assert_int_equal(store_each(f->store, WILL, note, line), 0);
        size_t n = read_all(f, 0, 0, SIZE_MAX)->n;
        for (size_t i = 1; i <= GROUPS; i++)
                assert_int_equal(values[i], i <= n ? GROUP_VALUES : 0);
        snprintf(last, sizeof(last), "%zu.0=%zu", n, n);
        assert_string_equal(line, last);
        StoreStats s = stats_of(f);
        assert_int_equal(s.kept, n * GROUP_VALUES + 1);
        return n;
}

static void test_kill_in_groups(void **state)
{
        Fixture *f = *state;
        size_t cut_short = 0;
        for (unsigned round = 0; round < 10; round++) {
                char command[128];
                kill_in_groups(f, round * 7013 % 40000);
                open_store(f, MAX_BYTES);
                cut_short += check_groups(f) % TURN_GROUPS != 0;
                f->store = store_free(f->store);
                snprintf(command, sizeof(command), "rm -f %s/store.db*", f->directory);
                assert_int_equal(system(command), 0);
        }
        assert_true(cut_short > 0); /* it was seen that a turn is several transactions */
}

/* Records until one is refused for room. */
static void fill(Fixture *f, size_t size)
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

static void test_group_refused(void **state)
{
        Fixture *f = *state;
        Result result = { 0 };
        StoreRecord r = record("a", BYTES_LITERAL("x"));
        open_store(f, STORE_BYTES_MIN);
        fill(f, 3000);
        fill(f, 1);
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
        fill(f, 3000);
        fill(f, 1);
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
        fill(f, 3000);
        fill(f, 1);
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

/* Records take all that they get; the room that was promised to values is there all the same. */
static void reserve(Fixture *f, size_t size)
{
        uint64_t n, x = 1;
        open_store(f, STORE_BYTES_MIN);
        fill(f, 3000);
        fill(f, 1);
        uint64_t before = stats_of(f).records;
        n = store_kept_max(f->store) / (size + STORE_VALUE_OVERHEAD);
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
        fill(f, 1000);
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
static void test_reserve_large(void **state)
{
        reserve(*state, 100000);
}

static void set_up_disk(Fixture *f)
{
        if (geteuid() != 0 || mount("tmpfs", f->directory, "tmpfs", 0, "size=4m") < 0)
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
        fill(f, 3000);
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
        assert_int_equal(stats_of(f).kept_bytes, n * (VALUE_LEN + STORE_VALUE_OVERHEAD) +
                                                         strlen("session") + STORE_VALUE_OVERHEAD);
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
                TEST(test_round_trip),
                TEST(test_refusals),
                TEST(test_order),
                TEST(test_lazy),
                TEST(test_barrier),
                TEST(test_kill_after_barrier),
                TEST(test_kill_in_groups),
                TEST(test_group_refused),
                TEST(test_append_refused_at_once),
                TEST(test_turn_ends_group),
                TEST(test_reserve_tiny),
                TEST(test_reserve_small),
                TEST(test_reserve_quarter),
                TEST(test_reserve_large),
                TEST(test_disk_full),
                TEST(test_disk_full_next),
                TEST(test_disk_full_bounded),
                TEST(test_deletions_make_room),
                TEST(test_migration),
                TEST(test_migration_damaged),
                TEST(test_damaged_pages),
                TEST(test_damaged_keys),
                TEST(test_damaged_root),
                TEST(test_damaged_values),
                TEST(test_damaged_too_many),
                TEST(test_damaged_while_running),
                TEST(test_damaged_large),
        };
        return cmocka_run_group_tests_name("store-kept", tests, NULL, NULL);
}
