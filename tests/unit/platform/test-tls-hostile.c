/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a peer that was let in can cost the loop, and so the others, by TLS alone. */

#include "tls-bench.h"

#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <time.h>

#define MESSAGES 20000
#define TURN_MAX (50 * USEC_PER_MSEC) /* with room for sanitizers */

/* What the client says from now on is kept, so that it can come all at once. */
static void gather(Client *c)
{
        SSL_set0_wbio(c->ssl, BIO_new(BIO_s_mem()));
}

static void let_go(Client *c)
{
        char *p;
        long len = BIO_get_mem_data(SSL_get_wbio(c->ssl), &p);
        assert_true(send(c->fd, p, (size_t)len, MSG_DONTWAIT) > 0); /* as much as there is room */
}

static usec_t cpu_time(void)
{
        struct timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (usec_t)t.tv_sec * USEC_PER_SEC + (usec_t)t.tv_nsec / 1000;
}

/* Of our own processor time. */
static usec_t longest_turn(Bench *b, usec_t span)
{
        usec_t longest = 0;
        for (usec_t until = now_boottime() + span; now_boottime() < until;) {
                usec_t before = cpu_time();
                assert_true(sd_event_run(loop_sd_event(b->loop), 5 * USEC_PER_MSEC) >= 0);
                longest = MAX(longest, cpu_time() - before);
        }
        return longest;
}

static void say_key_updates(Client *c, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                assert_int_equal(SSL_key_update(c->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
                assert_int_equal(SSL_do_handshake(c->ssl), 1);
        }
}

/* Whoever sends nothing but new keys is gone before it holds up the others. */
static void key_updates_without_end(void **state)
{
        Bench b;
        Client c;
        bench_open(&b, 10, 10);
        client_open(&b, &c);
        gather(&c);
        say_key_updates(&c, MESSAGES);
        let_go(&c);
        assert_true(longest_turn(&b, 200 * USEC_PER_MSEC) < TURN_MAX);
        assert_int_equal(b.closed, 1);
        assert_int_equal(tls_server_connections(b.server), 0);
        client_close(&c);
        bench_close(&b);
}

static void some_key_updates(void **state)
{
        Bench b;
        Client c;
        bench_open(&b, 10, 10);
        client_open(&b, &c);
        for (unsigned i = 0; i < 8; i++) {
                say_key_updates(&c, 4);
                assert_int_equal(SSL_write(c.ssl, "x", 1), 1);
        }
        turn(&b, 50 * USEC_PER_MSEC);
        assert_int_equal(b.received, 8);
        assert_int_equal(b.closed, 0);
        client_close(&c);
        turn(&b, 50 * USEC_PER_MSEC);
        bench_close(&b);
}

/* The least that a record may carry: a turn takes what OpenSSL reads in one go. */
static void small_records(void **state)
{
        Bench b;
        Client c;
        bench_open(&b, 10, 10);
        client_open(&b, &c);
        gather(&c);
        for (unsigned i = 0; i < MESSAGES; i++)
                assert_int_equal(SSL_write(c.ssl, "x", 1), 1);
        let_go(&c);
        assert_true(longest_turn(&b, 200 * USEC_PER_MSEC) < TURN_MAX);
        assert_true(b.received > MESSAGES / 10);
        client_close(&c);
        turn(&b, 50 * USEC_PER_MSEC);
        bench_close(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(key_updates_without_end),
                cmocka_unit_test(some_key_updates),
                cmocka_unit_test(small_records),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
