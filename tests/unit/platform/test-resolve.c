/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "platform/resolve.h"

/* A slow name server: libc's function with a pause in front, for questions that ask somebody. */
static atomic_uint pause_ms;
static atomic_uint asked, answered;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
        int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
                (__typeof__(real))dlsym(RTLD_NEXT, "getaddrinfo");
        if (hints->ai_flags & AI_NUMERICHOST)
                return real(node, service, hints, ret);
        atomic_fetch_add(&asked, 1);
        usleep(pause_ms * 1000);
        int r = real(node, service, hints, ret);
        atomic_fetch_add(&answered, 1);
        return r;
}

typedef struct Answer {
        unsigned calls;
        int error;
        size_t n;
        struct sockaddr_storage first;
} Answer;

static void on_done(int error, const char *reason, const struct sockaddr_storage *addresses,
                    size_t n, void *userdata)
{
        Answer *a = userdata;
        a->calls++;
        a->error = error;
        a->n = n;
        if (n > 0)
                a->first = addresses[0];
        assert_non_null(reason);
}

static int setup(void **state)
{
        pause_ms = asked = answered = 0;
        return loop_new((Loop **)state);
}

static int teardown(void **state)
{
        while (answered < asked) /* else a detached thread looks like a leak */
                usleep(1000);
        usleep(10000);
        loop_free(*state);
        return 0;
}

static void turn(Loop *l, usec_t timeout)
{
        assert_true(sd_event_run(loop_sd_event(l), timeout) >= 0);
}

static void pump(Loop *l, const Answer *a)
{
        usec_t deadline = now_boottime() + 10 * USEC_PER_SEC;
        while (a->calls == 0) {
                turn(l, USEC_PER_SEC);
                assert_true(now_boottime() < deadline);
        }
}

static void numbers(void **state)
{
        Answer a = { 0 };
        Resolve *r;
        assert_int_equal(resolve_start(*state, "192.0.2.7", 8883, on_done, &a, &r), 0);
        assert_int_equal(a.calls, 0);
        pump(*state, &a);
        assert_int_equal(a.error, 0);
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a.first;
        assert_int_equal(in->sin_family, AF_INET);
        assert_int_equal(ntohs(in->sin_port), 8883);
        assert_int_equal(ntohl(in->sin_addr.s_addr), 0xc0000207);
        a = (Answer){ 0 };
        assert_int_equal(resolve_start(*state, "2001:db8::1", 1, on_done, &a, &r), 0);
        pump(*state, &a);
        assert_int_equal(a.first.ss_family, AF_INET6);
        assert_int_equal(asked, 0);
}

static void names(void **state)
{
        Answer a = { 0 };
        Resolve *r;
        assert_int_equal(resolve_start(*state, "localhost", 80, on_done, &a, &r), 0);
        pump(*state, &a);
        assert_int_equal(a.error, 0);
        assert_true(a.n >= 1);
        assert_int_equal(asked, 1);
        a = (Answer){ 0 };
        assert_int_equal(resolve_start(*state, "no such name", 80, on_done, &a, &r), 0);
        pump(*state, &a);
        assert_true(a.error == -ENOENT || a.error == -EAGAIN);
        assert_int_equal(a.n, 0);
}

/* The loop turns while the name server sleeps. */
static void loop_goes_on(void **state)
{
        Answer a = { 0 };
        Resolve *r;
        pause_ms = 200;
        usec_t start = now_boottime();
        assert_int_equal(resolve_start(*state, "localhost", 80, on_done, &a, &r), 0);
        turn(*state, 0);
        assert_true(now_boottime() - start < 100 * USEC_PER_MSEC);
        assert_int_equal(a.calls, 0);
        pump(*state, &a);
        assert_true(now_boottime() - start >= 200 * USEC_PER_MSEC);
        assert_int_equal(a.error, 0);
}

static void cancel_and_bound(void **state)
{
        Answer a = { 0 };
        Resolve *r[RESOLVE_THREADS_MAX];
        pause_ms = 200;
        for (size_t i = 0; i < RESOLVE_THREADS_MAX; i++)
                assert_int_equal(resolve_start(*state, "localhost", 80, on_done, &a, &r[i]), 0);
        Resolve *more = NULL;
        assert_int_equal(resolve_start(*state, "localhost", 80, on_done, &a, &more), -EBUSY);
        assert_null(more);
        for (size_t i = 0; i < RESOLVE_THREADS_MAX; i++)
                assert_null(resolve_cancel(r[i]));
        /* Cancelled ones go on counting. */
        assert_int_equal(resolve_start(*state, "localhost", 80, on_done, &a, &more), -EBUSY);
        usec_t until = now_boottime() + 400 * USEC_PER_MSEC;
        while (now_boottime() < until)
                turn(*state, 50 * USEC_PER_MSEC);
        assert_int_equal(a.calls, 0);
        assert_int_equal(resolve_start(*state, "localhost", 80, on_done, &a, &more), 0);
        pump(*state, &a);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(numbers),
                TEST(names),
                TEST(loop_goes_on),
                TEST(cancel_and_bound),
        };
        return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
