/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

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
        assert_int_equal(stats_of(f).kept_bytes, store_value_cost(most));
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

static void on_first(StoreRecord *r, void *userdata)
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

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                TEST(test_round_trip),     TEST(test_refusals), TEST(test_order),
                TEST(test_lazy),           TEST(test_barrier),  TEST(test_kill_after_barrier),
                TEST(test_kill_in_groups),
        };
        return cmocka_run_group_tests_name("store-kept", tests, NULL, NULL);
}
