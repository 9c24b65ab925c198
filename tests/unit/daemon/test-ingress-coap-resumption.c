/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sessions that resume at the CoAP door. */
#include "coap-bench.h"
#include "coap-device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

/* Which of its steps failed is a child's exit status. */
#define STEP(n, condition)                                                                         \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        return n;                                                                  \
        } while (0)

/* A device's session between two of its processes. */
static void session_path(const Bench *b, char ret[static 128])
{
        bench_path(b, "session", ret);
}

/* Connects with the session that is kept, or without; says something, and keeps the new one. 0: it
 * was a full handshake, 100: it resumed, else what failed. */
static int visit(Bench *b, const char *who)
{
        char path[128];
        CoapDevice d;
        session_path(b, path);
        BIO *in = BIO_new_file(path, "r");
        STEP(1, device_prepare(&d, b, who));
        SSL_SESSION *kept = in ? PEM_read_bio_SSL_SESSION(in, NULL, NULL, NULL) : NULL;
        BIO_free(in);
        STEP(2, device_resume(&d, b, 0, kept));
        SSL_SESSION_free(kept);
        STEP(3, device_post(&d, true, 100) && device_expect_changed(&d, 2, 100, 2000));
        int reused = SSL_session_reused(d.ssl);
        BIO *out = BIO_new_file(path, "w");
        STEP(4, PEM_write_bio_SSL_SESSION(out, SSL_get0_session(d.ssl)) == 1);
        BIO_free(out);
        device_close(&d);
        return reused ? 100 : 0;
}

static int visit_dev1(Bench *b)
{
        return visit(b, "dev1");
}

static int visit_dev2(Bench *b)
{
        return visit(b, "dev2");
}

static int visit_large(Bench *b)
{
        return visit(b, "large");
}

#define FULL    0
#define RESUMED 100

static CoapServerStats stats_of(const Bench *b)
{
        CoapServerStats s;
        ingress_coap_stats(b->in, &s);
        return s;
}

static void test_resumes(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, visit_dev1), FULL);
        for (int i = 0; i < 3; i++)
                assert_int_equal(bench_child(b, 20, visit_dev1), RESUMED);
        bench_turn(b, USEC_PER_SEC / 5);
        assert_int_equal(stats_of(b).full, 1);
        assert_int_equal(stats_of(b).resumed, 3);
        assert_int_equal(b->gateway.admitted, 4); /* each was asked who it is */
        assert_int_equal(b->gateway.opened, 4);
        assert_int_equal(list_length(&b->gateway.telemetry), 4);
        assert_string_equal(last_stored(&b->gateway.telemetry)->device, "dev1");
}

/* With openssl(1), as a person would look at it. */
static int s_client(Bench *b)
{
        char command[1024];
        snprintf(command, sizeof(command),
                 "cd %s; v() { sleep 1 | timeout 10 openssl s_client -dtls1_2 -mtu 1300 -connect "
                 "127.0.0.1:%u -cert dev1.pem -key dev1.key \"$@\" 2>&1; }\n"
                 "v -sess_out s | grep '^New, '; v -sess_in s | grep '^Reused, '",
                 b->directory, b->port);
        return WEXITSTATUS(system(command));
}

static void test_real_client(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 30, s_client), 0);
        assert_non_null(strstr(bench_output(), "New, TLSv1.2"));
        assert_non_null(strstr(bench_output(), "Reused, TLSv1.2"));
        assert_int_equal(stats_of(b).resumed, 1);
}

static void test_from_before_a_revocation(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, visit_dev1), FULL);
        assert_int_equal(bench_child(b, 20, visit_dev1), RESUMED);
        bench_trust(b, "ca.pem", "revoked.crl");
        assert_int_equal(bench_child(b, 20, visit_dev1), 2);
        assert_string_equal(b->gateway.refused_reason, "revoked");
        assert_int_equal(b->gateway.admitted, 2);
        bench_trust(b, "ca.pem", NULL);
        assert_int_equal(bench_child(b, 20, visit_dev1), RESUMED);
        bench_trust(b, "foreign.pem", NULL);
        assert_int_equal(bench_child(b, 20, visit_dev1), 2);
        assert_string_equal(b->gateway.refused_reason, "unknown-ca");
}

/* A list that names others is no reason to sign again. */
static void test_others_revoked(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, visit_dev2), FULL);
        bench_trust(b, "ca.pem", "revoked.crl");
        assert_int_equal(bench_child(b, 20, visit_dev2), RESUMED);
}

static void test_another_leaf(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, visit_dev1), FULL);
        Credential *c = bench_credential(b, "second");
        assert_int_equal(ingress_coap_set_credential(b->in, c), 0);
        credential_unref(c);
        assert_int_equal(bench_child(b, 20, visit_dev1), RESUMED);
}

/* Its ticket would not fit in a datagram, so it gets none, and is always heard. */
static void test_large_certificate(void **state)
{
        Bench *b = *state;
        for (int i = 0; i < 2; i++)
                assert_int_equal(bench_child(b, 20, visit_large), FULL);
}

static size_t hello_size;

static void on_message(int write_p, int version, int type, const void *buf, size_t len, SSL *ssl,
                       void *arg)
{
        if (write_p && type == SSL3_RT_HANDSHAKE && len > 0 && *(const uint8_t *)buf == 1)
                hello_size = len;
}

#define TICKET_MAX   (860 + 16 + 16 + 16 + 32) /* a session, name, IV, padding, MAC */
#define IPV6_MTU     1280
#define HEADERS_SIZE (40 + 8 + 13) /* IPv6, UDP, DTLS */

/* The ClientHello with its cookie, and what there is of it beside the ticket. */
static int measure_hello(Bench *b)
{
        char path[128];
        CoapDevice d;
        const unsigned char *ticket;
        size_t len = 0;
        session_path(b, path);
        BIO *in = BIO_new_file(path, "r");
        SSL_SESSION *kept = in ? PEM_read_bio_SSL_SESSION(in, NULL, NULL, NULL) : NULL;
        BIO_free(in);
        STEP(1, kept && device_prepare(&d, b, "dev1"));
        SSL_SESSION_get0_ticket(kept, &ticket, &len);
        SSL_CTX_set_msg_callback(d.ctx, on_message);
        STEP(2, device_resume(&d, b, 0, kept) && SSL_session_reused(d.ssl));
        size_t rest = hello_size - len;
        printf("ticket %zu, ClientHello %zu", len, hello_size);
        fflush(stdout);
        device_close(&d);
        SSL_SESSION_free(kept);
        STEP(3, len > 0 && len <= TICKET_MAX);
        STEP(4, rest + TICKET_MAX + HEADERS_SIZE <= IPV6_MTU);
        return 0;
}

static void test_ticket_fits(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, visit_dev1), FULL);
        int r = bench_child(b, 20, measure_hello);
        print_message("%s bytes\n", bench_output());
        assert_int_equal(r, 0);
}

/* A ticket that somebody changed, or made up. */
static int forged(Bench *b)
{
        char path[128];
        session_path(b, path);
        for (int place = 0; place < 3; place++) {
                CoapDevice d;
                const unsigned char *ticket;
                size_t len;
                STEP(1, visit(b, "dev1") == (place == 0 ? FULL : RESUMED));
                BIO *in = BIO_new_file(path, "r");
                SSL_SESSION *kept = PEM_read_bio_SSL_SESSION(in, NULL, NULL, NULL);
                BIO_free(in);
                SSL_SESSION_get0_ticket(kept, &ticket, &len);
                STEP(2, len > 200);
                ((unsigned char *)ticket)[place == 0 ? 0 : place == 1 ? 100 : len - 1] ^= 1;
                STEP(3, device_prepare(&d, b, "dev1"));
                STEP(4, device_resume(&d, b, 0, kept));
                STEP(5, !SSL_session_reused(d.ssl));
                SSL_SESSION_free(kept);
                device_close(&d);
        }
        return 0;
}

static void test_forged_ticket(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 30, forged), 0);
        assert_int_equal(b->gateway.refused, 0);
}

static int stay(Bench *b, const char *who)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, who, 0));
        STEP(2, device_post(&d, true, 100) && device_expect_changed(&d, 2, 100, 2000));
        uint8_t m[64];
        int n = device_receive(&d, m, sizeof(m), 2000);
        device_close(&d);
        return n == 0 ? 50 : n < 0 ? 0 : 3; /* closed by the gateway; or nothing came */
}

static int stay_dev1(Bench *b)
{
        return stay(b, "dev1");
}

static int stay_dev2(Bench *b)
{
        return stay(b, "dev2");
}

static int on_review(void *userdata)
{
        Bench *b = userdata;
        char bundle[128], path[128];
        const char *lists[] = { path };
        Reason reason = { "" };
        _cleanup_(trust_unrefp) Trust *trust = NULL;
        const TrustFiles files = { .authorities = bundle, .lists = lists, .n_lists = 1 };
        bench_path(b, "ca.pem", bundle);
        bench_path(b, "revoked.crl", path);
        assert_int_equal(trust_new(&files, &reason, &trust), 0);
        assert_int_equal(b->gateway.opened, 1);
        ingress_coap_review(b->in, trust, now_realtime());
        return 0;
}

/* Who is on the list loses its session at once, with a word; the other does not notice. */
static void test_ends_who_is_revoked(void **state)
{
        Bench *b = *state;
        for (int i = 0; i < 2; i++) {
                LoopSource *timer;
                b->gateway.opened = b->gateway.closed = 0;
                assert_int_equal(loop_add_timer(b->gateway.loop, &timer, LOOP_FATAL, on_review, b),
                                 0);
                loop_timer_arm_relative(timer, USEC_PER_SEC / 2);
                assert_int_equal(bench_child(b, 20, i == 0 ? stay_dev1 : stay_dev2),
                                 i == 0 ? 50 : 0);
                loop_source_free(timer);
                bench_turn(b, USEC_PER_SEC / 5);
                assert_int_equal(b->gateway.closed, 1);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
                T(test_resumes),        T(test_real_client),   T(test_from_before_a_revocation),
                T(test_others_revoked), T(test_another_leaf),  T(test_large_certificate),
                T(test_ticket_fits),    T(test_forged_ticket), T(test_ends_who_is_revoked),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
