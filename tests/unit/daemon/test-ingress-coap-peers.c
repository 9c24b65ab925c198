/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Devices that reboot, vanish, repeat themselves, or are no devices at all. */
#include <arpa/inet.h>
#include <coap3/coap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#include "base/str.h"
#include "coap-device.h"
#include "daemon/submit.h"

static CoapServerStats stats_of(const Bench *b)
{
        CoapServerStats s;
        ingress_coap_stats(b->in, &s);
        return s;
}

/* Which of its steps failed is a child's exit status. */
#define STEP(n, condition)                                                                         \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        return n;                                                                  \
        } while (0)

static int reboot(Bench *b)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", b->device_port));
        STEP(2, device_post(&d, true, 100) && device_expect_changed(&d, 2, 100, 2000));
        device_vanish(&d);
        usec_t begin = now_boottime();
        STEP(3, device_open(&d, b, "dev1", b->device_port));
        STEP(4, now_boottime() - begin < 5 * USEC_PER_SEC);
        STEP(5, device_post(&d, true, 100) && device_expect_changed(&d, 2, 100, 2000));
        device_close(&d);
        return 0;
}

static void test_reboot(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, reboot), 0);
        assert_int_equal(list_length(&b->gateway.telemetry), 2);
        assert_int_equal(stats_of(b).rebooted, 1);
        assert_int_equal(b->gateway.opened, 2);
        bench_turn(b, USEC_PER_SEC / 5);
        assert_int_equal(b->gateway.closed, 2);
}

/* Somebody sends a ClientHello with the address of a device that is well: it is asked, and stays.
 */
static int forged_reboot(Bench *b)
{
        CoapDevice d;
        uint8_t hello[256], m[64];
        STEP(1, device_open(&d, b, "dev1", b->device_port));
        STEP(2, device_post(&d, true, 1) && device_expect_changed(&d, 2, 1, 2000));
        for (int i = 0; i < 5; i++)
                STEP(3, send(d.fd, hello, device_client_hello(hello), 0) > 0);
        STEP(4, device_receive(&d, m, sizeof(m), 2000) == 4 && m[0] == 0x40 && m[1] == 0);
        m[0] = 0x70;
        STEP(5, device_send(&d, m, 4));
        STEP(6, device_receive(&d, m, sizeof(m), 1500) == -1);
        STEP(7, device_post(&d, true, 2) && device_expect_changed(&d, 2, 2, 2000));
        device_close(&d);
        return 0;
}

static void test_forged_reboot(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, forged_reboot), 0);
        assert_int_equal(stats_of(b).rebooted, 0);
        assert_int_equal(b->gateway.opened, 1);
}

static int flood(Bench *b)
{
        uint8_t hello[256];
        size_t len = device_client_hello(hello);
        struct sockaddr_in to = { .sin_family = AF_INET,
                                  .sin_port = htons(b->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int answered = 0;
        for (unsigned i = 0; i < 300; i++) {
                struct sockaddr_in from = { .sin_family = AF_INET,
                                            .sin_addr.s_addr = htonl(0x7f000101 + i) };
                int fd = socket(AF_INET, SOCK_DGRAM, 0);
                STEP(1, bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0);
                STEP(2, sendto(fd, hello, len, 0, (struct sockaddr *)&to, sizeof(to)) > 0);
                usleep(1000);
                uint8_t m[512];
                answered += recv(fd, m, sizeof(m), MSG_DONTWAIT) > 0;
                close(fd);
        }
        /* They were taken for clients: a cookie went out to them. */
        STEP(3, answered > 100);
        return 0;
}

static void test_flood(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, flood), 0);
        assert_int_equal(stats_of(b).handshakes, 0);
        usec_t begin = now_boottime();
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/t/x", "-m", "post", "-e", "x"), 0);
        assert_true(now_boottime() - begin < 3 * USEC_PER_SEC);
        assert_int_equal(list_length(&b->gateway.telemetry), 1);
}

static int duplicates(Bench *b)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", 0));
        /* Before it is answered, and after. */
        STEP(2, device_post(&d, true, 7) && device_post(&d, true, 7));
        STEP(3, device_expect_changed(&d, 2, 7, 2000));
        STEP(4, device_post(&d, true, 7) && device_expect_changed(&d, 2, 7, 2000));
        /* A non-confirmable one is not answered again. */
        uint8_t m[64];
        STEP(5, device_post(&d, false, 8) && device_expect_changed(&d, 1, 8, 2000));
        STEP(6, device_post(&d, false, 8) && device_receive(&d, m, sizeof(m), 300) == -1);
        device_close(&d);
        return 0;
}

static void test_duplicates(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, duplicates), 0);
        assert_int_equal(list_length(&b->gateway.telemetry), 2);
        assert_int_equal(stats_of(b).duplicates, 3);
}

/* POST /t/x with the options of `twice` behind the path; the first byte of the answer's code. */
static int code_for(CoapDevice *d, uint8_t mid, Bytes twice)
{
        uint8_t m[64] = { 0x40, 0x02, 0, mid, 0xb1, 't', 0x01, 'x' }, answer[64];
        memcpy(m + 8, twice.data, twice.len);
        memcpy(m + 8 + twice.len,
               "\xff"
               "x",
               2);
        return device_send(d, m, 10 + twice.len) &&
                               device_receive(d, answer, sizeof(answer), 2000) > 3
                       ? answer[1]
                       : -1;
}

/* RFC 7252 section 5.4.5: the second of two options that may not be repeated is not known. The
 * elective ones among them, too, are refused by libcoap itself since 4.3.2. */
#define ELECTIVE_REFUSED (LIBCOAP_VERSION >= 4003002)

static int repeated_options(Bench *b)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", 0));
        /* Content-Format (12) is elective, Accept (17) critical. */
        STEP(2, code_for(&d, 1, BYTES_LITERAL("\x10\x01\x32")) == (ELECTIVE_REFUSED ? 0x82 : 0x44));
        STEP(3, code_for(&d, 2, BYTES_LITERAL("\x60\x01\x32")) == 0x82);
        device_close(&d);
        return 0;
}

static void test_repeated_options(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, repeated_options), 0);
        assert_int_equal(list_length(&b->gateway.telemetry), ELECTIVE_REFUSED ? 0 : 1);
}

/* The answer takes longer than the acknowledgement: a repeated request is only acknowledged, the
 * answer comes once, confirmable, and is repeated until it is acknowledged itself. */
static int late_duplicates(Bench *b)
{
        CoapDevice d;
        uint8_t m[64];
        STEP(1, device_open(&d, b, "dev1", 0));
        STEP(2, device_post(&d, true, 7));
        STEP(3, device_receive(&d, m, sizeof(m), 2000) == 4 && m[0] == 0x60 && m[3] == 7);
        STEP(4, device_post(&d, true, 7));
        STEP(5, device_receive(&d, m, sizeof(m), 2000) == 4 && m[0] == 0x60 && m[3] == 7);
        STEP(6, device_expect_changed(&d, 0, 7, 4000));
        STEP(7, device_expect_changed(&d, 0, 7, 5000));
        device_close(&d);
        return 0;
}

static void test_late_duplicates(void **state)
{
        Bench *b = *state;
        b->gateway.delay = 2500 * USEC_PER_MSEC;
        assert_int_equal(bench_child(b, 20, late_duplicates), 0);
        assert_int_equal(list_length(&b->gateway.telemetry), 1);
}

static int gone_before_answer(Bench *b)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", 0));
        STEP(2, device_post(&d, true, 7));
        usleep(100000);
        device_close(&d);
        usleep(600000);
        return 0;
}

static void test_gone_before_answer(void **state)
{
        Bench *b = *state;
        b->gateway.delay = 300 * USEC_PER_MSEC;
        assert_int_equal(bench_child(b, 20, gone_before_answer), 0);
        assert_int_equal(b->gateway.cancelled, 1);
        assert_int_equal(list_length(&b->gateway.telemetry), 1);
        assert_int_equal(stats_of(b).sessions, 0);
}

static int be_forgotten(Bench *b)
{
        CoapDevice d;
        uint8_t m[64];
        STEP(1, device_open(&d, b, "dev1", 0));
        STEP(2, device_post(&d, true, 7));
        STEP(3, device_receive(&d, m, sizeof(m), 3000) == 0);
        return 0;
}

typedef struct Forgetting {
        Bench *bench;
        LoopSource *timer;
} Forgetting;

/* Once its message waits for the answer. */
static int forget(void *userdata)
{
        Forgetting *f = userdata;
        Bench *b = f->bench;
        if (list_empty(&b->gateway.waiting))
                return loop_timer_arm_relative(f->timer, 20 * USEC_PER_MSEC);
        ingress_coap_forget(b->in, &b->gateway.device[0]);
        b->gateway.device[0].device = NULL; /* whoever looks at it now crashes */
        return 0;
}

static void test_forget(void **state)
{
        Bench *b = *state;
        b->gateway.delay = 10 * USEC_PER_SEC;
        Forgetting f = { .bench = b };
        assert_int_equal(loop_add_timer(b->gateway.loop, &f.timer, LOOP_FATAL, forget, &f), 0);
        loop_timer_arm_relative(f.timer, 0);
        assert_int_equal(bench_child(b, 20, be_forgotten), 0);
        loop_source_free(f.timer);
        assert_int_equal(b->gateway.cancelled, 1);
        assert_int_equal(b->gateway.closed, 1);
}

static int open_many(Bench *b)
{
        CoapDevice d[7];
        for (size_t i = 0; i < ELEMENTSOF(d); i++)
                STEP(1, device_open(&d[i], b, "dev1", 0));
        usleep(300000);
        uint8_t m[64];
        STEP(2, device_receive(&d[0], m, sizeof(m), 500) == 0);
        STEP(3, device_post(&d[6], true, 7) && device_expect_changed(&d[6], 2, 7, 2000));
        return 0;
}

static void test_sessions_of_one_device(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, open_many), 0);
        assert_int_equal(b->gateway.opened, 7);
        assert_int_equal(b->gateway.device[0].sessions, 4);
        assert_int_equal(stats_of(b).sessions, 4);
}

static int see_name(Bench *b, const char *name)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", 0));
        X509 *x = SSL_get1_peer_certificate(d.ssl);
        char cn[64] = "";
        X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof(cn));
        X509_free(x);
        device_close(&d);
        STEP(2, streq(cn, name));
        return 0;
}

static int see_first(Bench *b)
{
        return see_name(b, "gateway.test");
}

static int see_second(Bench *b)
{
        return see_name(b, "second.test");
}

static void test_rotation(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, see_first), 0);
        Credential *c = bench_credential(b, "second");
        assert_int_equal(ingress_coap_set_credential(b->in, c), 0);
        credential_unref(c);
        assert_int_equal(bench_child(b, 20, see_second), 0);
}

static int wrong_cipher(Bench *b)
{
        CoapDevice d;
        STEP(1, device_prepare(&d, b, "dev1"));
        STEP(2, SSL_CTX_set_cipher_list(d.ctx, "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-CCM8"));
        STEP(3, !device_connect(&d, b, 0));
        return 0;
}

static int wrong_version(Bench *b)
{
        CoapDevice d;
        STEP(1, device_prepare(&d, b, "dev1"));
        SSL_CTX_set_security_level(d.ctx, 0);
        STEP(2, SSL_CTX_set_max_proto_version(d.ctx, DTLS1_VERSION));
        STEP(3, !device_connect(&d, b, 0));
        return 0;
}

static int distrust(Bench *b)
{
        CoapDevice d;
        STEP(1, device_prepare(&d, b, "dev1"));
        SSL_CTX_set_verify(d.ctx, SSL_VERIFY_PEER, NULL);
        STEP(2, !device_connect(&d, b, 0));
        return 0;
}

static void test_other_refusals(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, wrong_cipher), 0);
        assert_string_equal(b->gateway.refused_reason, "no-shared-cipher");
        assert_int_equal(bench_child(b, 20, wrong_version), 0);
        assert_string_equal(b->gateway.refused_reason, "protocol-version");
        assert_int_equal(bench_child(b, 20, distrust), 0);
        assert_string_equal(b->gateway.refused_reason, "refused-by-peer");
        assert_non_null(strstr(b->gateway.refused_detail, "unknown CA"));
        assert_int_equal(b->gateway.refused, 3);
        assert_int_equal(b->gateway.opened, 0);
        assert_int_equal(stats_of(b).handshakes, 0);
}

static int not_admitted(Bench *b)
{
        CoapDevice d;
        uint8_t m[64];
        STEP(1, device_open(&d, b, "stranger", 0));
        STEP(2, device_post(&d, true, 7));
        STEP(3, device_receive(&d, m, sizeof(m), 3000) == 0);
        return 0;
}

/* A good certificate of nobody we know: the session is closed at once. */
static void test_not_admitted(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, not_admitted), 0);
        assert_string_equal(b->gateway.admit_reason, "unknown-device");
        assert_int_equal(list_length(&b->gateway.telemetry), 0);
        assert_int_equal(b->gateway.opened, 0);
        assert_int_equal(stats_of(b).sessions, 0);
        assert_int_equal(stats_of(b).handshakes, 0);
}

/* 400 kB at once, before anybody reads. */
static int burst(Bench *b)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", 0));
        uint8_t m[1000] = { 0x50, 0x02, 0, 0, 0xb1, 't', 0x01, 'x', 0xff };
        kill(getppid(), SIGSTOP);
        for (unsigned i = 0; i < 400; i++) {
                m[2] = (uint8_t)(i >> 8);
                m[3] = (uint8_t)i;
                STEP(2, device_send(&d, m, sizeof(m)));
        }
        kill(getppid(), SIGCONT);
        usleep(500000);
        device_close(&d);
        return 0;
}

static void test_burst(void **state)
{
        Bench *b = *state;
        b->gateway.delay = 0;
        assert_int_equal(bench_child(b, 20, burst), 0);
        assert_int_equal(list_length(&b->gateway.telemetry), 400);
}

static uint32_t seed = 1;
static uint8_t random_byte(void)
{
        seed = seed * 1664525 + 1013904223;
        return (uint8_t)(seed >> 24);
}

/* Datagrams that are no DTLS, or nearly. */
static int noise(Bench *b)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", 0));
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        struct sockaddr_in to = { .sin_family = AF_INET,
                                  .sin_port = htons(b->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        STEP(2, connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
        for (unsigned i = 0; i < 3000; i++) {
                uint8_t m[256];
                size_t len = device_client_hello(m);
                unsigned n = i % 3 == 0 ? 256 : random_byte() % 6;
                for (unsigned k = 0; k < n; k++)
                        m[i % 3 == 0 ? k : random_byte() % len] = random_byte();
                /* Also from the address of a session that is up. */
                send(i % 2 ? fd : d.fd, m, random_byte() % (len + 1), 0);
                if (i % 64 == 0)
                        usleep(1000);
        }
        STEP(3, device_post(&d, true, 9));
        return 0;
}

/* The answer to a request tells that what was sent before it has been read. The server may have had
 * no room for it, or the network. */
static bool device_catch_up(CoapDevice *d, uint16_t mid)
{
        uint8_t m[1500];
        for (unsigned tries = 0; tries < 20; tries++) {
                int n;
                if (!device_post(d, true, mid))
                        return false;
                while ((n = device_receive(d, m, sizeof(m), 500)) > 0)
                        if (n == 6 && m[0] == 0x62 && m[4] == mid >> 8 && m[5] == (mid & 0xff))
                                return true;
                if (n == 0)
                        return false;
        }
        return false;
}

/* Messages inside a session that are no CoAP, or nearly: options and tokens of every kind. As many
 * at a time as the server remembers exchanges of a peer: it takes no more in one go. */
static int nonsense(Bench *b)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", 0));
        for (unsigned i = 0; i < 2500; i++) {
                uint8_t m[160];
                for (size_t k = 0; k < sizeof(m); k++)
                        m[k] = random_byte();
                m[0] = (uint8_t)(0x40 | (random_byte() & 0x1f)); /* CON or NON, a token */
                m[1] = (uint8_t)(random_byte() & 7);
                for (size_t k = 4 + (m[0] & 15U); i % 2 && k + 3 < sizeof(m); k += 3) {
                        m[k] = (uint8_t)((random_byte() & 0x70) | 2);
                        if (random_byte() < 20)
                                m[k] = 0xff;
                }
                STEP(2, device_send(&d, m, random_byte() % sizeof(m) + 1U));
                if (i % 16 == 0)
                        STEP(3, device_catch_up(&d, (uint16_t)i));
        }
        device_close(&d);
        return 0;
}

static void test_noise(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 30, noise), 0);
        assert_int_equal(bench_child(b, 60, nonsense), 0);
        assert_true(stats_of(b).requests > 100);
        assert_int_equal(BENCH_CLIENT(b, 10, "dev2", "/t/still-here", "-m", "post", "-e", "x"), 0);
        assert_string_equal(last_stored(&b->gateway.telemetry)->topic, "still-here");
}

static int hold(Bench *b)
{
        CoapDevice d;
        STEP(1, device_open(&d, b, "dev1", 0));
        STEP(2, device_post(&d, true, 7) && device_expect_changed(&d, 2, 7, 2000));
        device_vanish(&d);
        return 0;
}

static void test_idle(void **state)
{
        Bench *b = *state;
        assert_int_equal(bench_child(b, 20, hold), 0);
        assert_int_equal(stats_of(b).sessions, 1);
        bench_turn(b, USEC_PER_SEC);
        uint64_t before, after;
        assert_true(sd_event_get_iteration(loop_sd_event(b->gateway.loop), &before) >= 0);
        bench_turn(b, 2 * USEC_PER_SEC);
        assert_true(sd_event_get_iteration(loop_sd_event(b->gateway.loop), &after) >= 0);
        /* One for the end of the turn, and one to spare. */
        assert_true(after - before <= 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
                T(test_reboot),
                T(test_forged_reboot),
                T(test_flood),
                T(test_duplicates),
                T(test_repeated_options),
                T(test_late_duplicates),
                T(test_gone_before_answer),
                T(test_forget),
                T(test_sessions_of_one_device),
                T(test_rotation),
                T(test_other_refusals),
                T(test_not_admitted),
                T(test_burst),
                T(test_noise),
                T(test_idle),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
