/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <cmocka.h>

#include "platform/job.h"

typedef struct Piece {
        int in, out;
        bool signals_blocked;
        usec_t takes;
} Piece;

static atomic_uint freed;
static unsigned heard;

static void run(void *data)
{
        Piece *p = data;
        sigset_t set;
        pthread_sigmask(SIG_SETMASK, NULL, &set);
        p->signals_blocked = sigismember(&set, SIGTERM) == 1;
        usleep((useconds_t)p->takes);
        p->out = p->in + 1;
}

static void piece_free(void *data)
{
        free(data);
        atomic_fetch_add(&freed, 1);
}

static void on_done(void *data, void *userdata)
{
        Piece *p = data;
        assert_int_equal(p->out, p->in + 1);
        assert_true(p->signals_blocked);
        assert_string_equal(userdata, "me");
        heard++;
}

static const JobWork work = { .run = run, .free = piece_free, .done = on_done };

static Piece *piece(usec_t takes)
{
        Piece *p = calloc(1, sizeof(*p));
        assert_non_null(p);
        *p = (Piece){ .in = 41, .takes = takes };
        return p;
}

static void turn(Loop *l, usec_t span)
{
        for (usec_t until = now_boottime() + span; now_boottime() < until;)
                assert_true(sd_event_run(loop_sd_event(l), USEC_PER_MSEC) >= 0);
}

static void is_done(void **state)
{
        Loop *l;
        Job *j;
        heard = 0;
        atomic_store(&freed, 0);
        assert_int_equal(loop_new(&l), 0);
        assert_int_equal(
                job_start(l, "a long name of a job", &work, piece(50000), (char *)"me", &j), 0);
        turn(l, 20 * USEC_PER_MSEC);
        assert_int_equal(heard, 0);
        for (int i = 0; i < 200 && heard == 0; i++)
                turn(l, 10 * USEC_PER_MSEC);
        assert_int_equal(heard, 1);
        for (int i = 0; i < 200 && freed == 0; i++)
                turn(l, 10 * USEC_PER_MSEC);
        assert_int_equal(freed, 1);
        loop_free(l);
}

/* Before the thread has finished, and after it, when the loop has not heard yet. */
static void is_cancelled(void **state)
{
        Loop *l;
        Job *j;
        assert_int_equal(loop_new(&l), 0);
        for (int i = 0; i < 2; i++) {
                heard = 0;
                atomic_store(&freed, 0);
                assert_int_equal(
                        job_start(l, "job", &work, piece(i == 0 ? 50000 : 0), (char *)"me", &j), 0);
                if (i == 1)
                        usleep(50000);
                assert_null(job_cancel(j));
                for (int k = 0; k < 200 && freed == 0; k++)
                        turn(l, 10 * USEC_PER_MSEC);
                assert_int_equal(freed, 1);
                assert_int_equal(heard, 0);
        }
        assert_null(job_cancel(NULL));
        loop_free(l);
}

static void is_joined(void **state)
{
        Loop *l;
        Job *j;
        heard = 0;
        atomic_store(&freed, 0);
        assert_int_equal(loop_new(&l), 0);
        assert_int_equal(job_start(l, "job", &work, piece(50000), (char *)"me", &j), 0);
        usec_t began = now_boottime();
        assert_null(job_join(j));
        assert_true(now_boottime() - began >= 40 * USEC_PER_MSEC);
        turn(l, 20 * USEC_PER_MSEC);
        assert_int_equal(freed, 1);
        assert_int_equal(heard, 0);
        assert_null(job_join(NULL));
        loop_free(l);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(is_done),
                cmocka_unit_test(is_cancelled),
                cmocka_unit_test(is_joined),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
