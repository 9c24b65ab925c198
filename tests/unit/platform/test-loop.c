/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include <cmocka.h>

#include "platform/loop.h"

typedef struct World {
        Loop *loop;
        LoopSource *io, *timer, *deferred, *other;
        int fd;
        unsigned io_runs, deferred_runs, timer_runs;
        bool io_before_deferred;
} World;

static int setup(void **state)
{
        World *w = calloc(1, sizeof(*w));
        assert_non_null(w);
        assert_int_equal(loop_new(&w->loop), 0);
        w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert_true(w->fd >= 0);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        World *w = *state;
        loop_source_free(w->io);
        loop_source_free(w->timer);
        loop_source_free(w->deferred);
        loop_source_free(w->other);
        close(w->fd);
        loop_free(w->loop);
        free(w);
        return 0;
}

static int end(void *userdata)
{
        World *w = userdata;
        w->timer_runs++;
        loop_exit(w->loop, 7);
        return 0;
}

static void test_timer_and_exit_code(void **state)
{
        World *w = *state;
        assert_int_equal(loop_add_timer(w->loop, &w->timer, LOOP_FATAL, end, w), 0);
        assert_int_equal(loop_timer_arm_relative(w->timer, 20 * USEC_PER_MSEC), 0);
        usec_t start = now_boottime();
        assert_int_equal(loop_run(w->loop), 7);
        assert_int_equal(w->timer_runs, 1);
        assert_true(now_boottime() - start >= 20 * USEC_PER_MSEC);
        assert_true(now_boottime() - start < 5 * USEC_PER_SEC);
}

static int on_ready(int fd, unsigned events, void *userdata)
{
        World *w = userdata;
        assert_true(events & LOOP_READ);
        w->io_runs++;
        loop_defer(w->deferred);
        loop_defer(w->deferred);
        if (w->io_runs == 9)
                loop_timer_arm_relative(w->timer, 0);
        return 0;
}

static int on_deferred(void *userdata)
{
        World *w = userdata;
        w->deferred_runs++;
        w->io_before_deferred = w->io_runs > 0;
        return 0;
}

/* An fd that is always readable does not keep the deferred source from its turn. */
static void test_deferred_once_a_turn_and_never_starved(void **state)
{
        World *w = *state;
        eventfd_write(w->fd, 1);
        assert_int_equal(loop_add_deferred(w->loop, &w->deferred, LOOP_FATAL, on_deferred, w), 0);
        assert_int_equal(loop_add_timer(w->loop, &w->timer, LOOP_FATAL, end, w), 0);
        assert_int_equal(loop_add_io(w->loop, &w->io, w->fd, LOOP_READ, LOOP_PEER, on_ready, w), 0);
        assert_int_equal(loop_run(w->loop), 7);
        assert_true(w->io_before_deferred);
        assert_in_range(w->deferred_runs, 2, w->io_runs);
}

#define CROWD 5

typedef struct Crowd {
        Loop *loop;
        LoopSource *io[CROWD], *deferred;
        int fds[CROWD];
        char order[3 * CROWD + 1];
        size_t n;
} Crowd;

static int on_one_of_many(int fd, unsigned events, void *userdata)
{
        Crowd *c = userdata;
        eventfd_t ignored;
        eventfd_read(fd, &ignored);
        c->order[c->n++] = 'i';
        return loop_defer(c->deferred);
}

static int on_all(void *userdata)
{
        Crowd *c = userdata;
        c->order[c->n++] = 'd';
        if (c->n > CROWD + 1)
                loop_exit(c->loop, 0);
        else
                for (size_t i = 0; i < CROWD; i++)
                        eventfd_write(c->fds[i], 1);
        return 0;
}

/* What is ready at the same time is done with before what was put off meanwhile: once for all. */
static void test_deferred_after_all_that_is_ready(void **state)
{
        Crowd c = { 0 };
        assert_int_equal(loop_new(&c.loop), 0);
        assert_int_equal(loop_add_deferred(c.loop, &c.deferred, LOOP_FATAL, on_all, &c), 0);
        for (size_t i = 0; i < CROWD; i++) {
                c.fds[i] = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
                assert_int_equal(loop_add_io(c.loop, &c.io[i], c.fds[i], LOOP_READ, LOOP_PEER,
                                             on_one_of_many, &c),
                                 0);
        }
        assert_int_equal(loop_run(c.loop), 0);
        assert_string_equal(c.order, "iiiiidiiiiid");
        for (size_t i = 0; i < CROWD; i++) {
                loop_source_free(c.io[i]);
                close(c.fds[i]);
        }
        loop_source_free(c.deferred);
        loop_free(c.loop);
}

static int broken(void *userdata)
{
        return -EIO;
}

static void test_failing_peer_source_is_survived(void **state)
{
        World *w = *state;
        assert_int_equal(loop_add_deferred(w->loop, &w->deferred, LOOP_PEER, broken, w), 0);
        assert_int_equal(loop_defer(w->deferred), 0);
        assert_int_equal(loop_add_timer(w->loop, &w->timer, LOOP_FATAL, end, w), 0);
        assert_int_equal(loop_timer_arm_relative(w->timer, USEC_PER_MSEC), 0);
        assert_int_equal(loop_run(w->loop), 7);
}

static void test_failing_fatal_source_ends_the_loop(void **state)
{
        World *w = *state;
        assert_int_equal(loop_add_deferred(w->loop, &w->deferred, LOOP_FATAL, broken, w), 0);
        assert_int_equal(loop_defer(w->deferred), 0);
        assert_int_equal(loop_run(w->loop), -EIO);
}

static int free_itself(void *userdata)
{
        World *w = userdata;
        w->other = loop_source_free(w->other);
        loop_exit(w->loop, 0);
        return 0;
}

static void test_source_may_free_itself(void **state)
{
        World *w = *state;
        assert_int_equal(loop_add_deferred(w->loop, &w->other, LOOP_PEER, free_itself, w), 0);
        assert_int_equal(loop_defer(w->other), 0);
        assert_int_equal(loop_run(w->loop), 0);
        assert_null(w->other);
}

static int slow(void *userdata)
{
        World *w = userdata;
        usleep(30000);
        loop_exit(w->loop, 0);
        return 0;
}

static const LoopGapSource *find(const LoopGaps *gaps, const char *name)
{
        for (size_t i = 0; i < gaps->n_sources; i++)
                if (strcmp(gaps->sources[i].name, name) == 0)
                        return &gaps->sources[i];
        return NULL;
}

/* One that sleeps holds the loop, but is not at work. */
static void test_gap_is_seen(void **state)
{
        World *w = *state;
        LoopGaps gaps;
        const LoopGapSource *s;
        assert_int_equal(loop_add_deferred(w->loop, &w->deferred, LOOP_PEER, slow, w), 0);
        assert_int_equal(loop_defer(w->deferred), 0);
        assert_int_equal(loop_run(w->loop), 0);
        loop_gaps(w->loop, &gaps);
        s = find(&gaps, "test-loop.c:slow");
        assert_non_null(s);
        assert_int_equal(s->handlers, 1);
        assert_true(s->max >= 30 * USEC_PER_MSEC);
        assert_true(s->cpu_max < 30 * USEC_PER_MSEC);
        assert_true(gaps.handlers >= 1);
        assert_true(gaps.max >= s->max && gaps.cpu_max >= s->cpu_max);
        assert_true(gaps.p99 <= gaps.max && gaps.cpu_p99 <= gaps.cpu_max);
        loop_gaps(w->loop, &gaps);
        assert_int_equal(gaps.max, 0);
        assert_int_equal(gaps.n_sources, 0);
}

static usec_t own_time(void)
{
        struct timespec ts;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

static int busy(void *userdata)
{
        World *w = userdata;
        usec_t until = own_time() + 20 * USEC_PER_MSEC;
        while (own_time() < until)
                ;
        loop_exit(w->loop, 0);
        return 0;
}

static void test_work_is_seen(void **state)
{
        World *w = *state;
        LoopGaps gaps;
        const LoopGapSource *s;
        assert_int_equal(loop_add_deferred(w->loop, &w->deferred, LOOP_PEER, busy, w), 0);
        assert_int_equal(loop_defer(w->deferred), 0);
        assert_int_equal(loop_run(w->loop), 0);
        loop_gaps(w->loop, &gaps);
        s = find(&gaps, "test-loop.c:busy");
        assert_non_null(s);
        assert_true(s->cpu_max >= 20 * USEC_PER_MSEC && s->max >= 20 * USEC_PER_MSEC);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_timer_and_exit_code, setup, teardown),
                cmocka_unit_test_setup_teardown(test_deferred_once_a_turn_and_never_starved, setup,
                                                teardown),
                cmocka_unit_test(test_deferred_after_all_that_is_ready),
                cmocka_unit_test_setup_teardown(test_failing_peer_source_is_survived, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_failing_fatal_source_ends_the_loop, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_source_may_free_itself, setup, teardown),
                cmocka_unit_test_setup_teardown(test_gap_is_seen, setup, teardown),
                cmocka_unit_test_setup_teardown(test_work_is_seen, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
