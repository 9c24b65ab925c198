/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "platform/fiber.h"

typedef struct Step {
        Fiber *fiber;
        char trace[16];
        size_t n;
} Step;

static void note(Step *s, char c)
{
        s->trace[s->n++] = c;
}

static void two_waits(void *userdata)
{
        Step *s = userdata;
        s->fiber = fiber_current();
        note(s, 'a');
        fiber_yield();
        note(s, 'c');
        fiber_yield();
        note(s, 'e');
}

static void test_order(void **state)
{
        Step s = { 0 };
        assert_null(fiber_current());
        assert_int_equal(fiber_spawn(two_waits, &s), 0);
        assert_non_null(s.fiber);
        assert_null(fiber_current());
        note(&s, 'b');
        fiber_resume(s.fiber);
        note(&s, 'd');
        fiber_resume(s.fiber);
        note(&s, 'f');
        assert_string_equal(s.trace, "abcdef");
}

static void no_wait(void *userdata)
{
        note(userdata, 'x');
}

static void test_end_without_waiting(void **state)
{
        Step s = { 0 };
        for (int i = 0; i < 10; i++)
                assert_int_equal(fiber_spawn(no_wait, &s), 0);
        assert_string_equal(s.trace, "xxxxxxxxxx");
}

/* Locals and a deep stack survive while other fibers run. */
static unsigned depth_sum(unsigned depth)
{
        volatile uint8_t frame[512];
        memset((void *)frame, (int)depth, sizeof(frame));
        unsigned below = depth > 0 ? depth_sum(depth - 1) : 0;
        if (depth == 0)
                fiber_yield();
        return below + frame[depth % sizeof(frame)];
}

typedef struct Deep {
        Fiber *fiber;
        unsigned depth, sum;
} Deep;

static void go_deep(void *userdata)
{
        Deep *d = userdata;
        d->fiber = fiber_current();
        d->sum = depth_sum(d->depth);
}

static void test_interleaved_stacks(void **state)
{
        Deep deep[32];
        for (unsigned i = 0; i < ELEMENTSOF(deep); i++) {
                deep[i] = (Deep){ .depth = i + 1 };
                assert_int_equal(fiber_spawn(go_deep, &deep[i]), 0);
        }
        for (unsigned i = ELEMENTSOF(deep); i-- > 0;) {
                fiber_resume(deep[i].fiber);
                assert_int_equal(deep[i].sum, (i + 1) * (i + 2) / 2);
        }
}

static unsigned endless(unsigned n)
{
        volatile uint8_t frame[4096];
        frame[n % sizeof(frame)] = (uint8_t)n;
        return (n == UINT32_MAX ? 0 : endless(n + 1)) + frame[n % sizeof(frame)];
}

static void overflow(void *userdata)
{
        *(unsigned *)userdata = endless(0);
}

/* Running off the stack ends the process; it never writes into what lies below. */
static void test_guard_page(void **state)
{
        pid_t pid = fork();
        if (pid == 0) {
                signal(SIGSEGV, SIG_DFL);
                unsigned sum;
                close(STDERR_FILENO); /* the sanitizer's report of what is meant to happen */
                fiber_spawn(overflow, &sum);
                _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_end_without_waiting),
                cmocka_unit_test(test_interleaved_stacks),
                cmocka_unit_test(test_guard_page),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
