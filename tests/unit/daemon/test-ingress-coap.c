/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The CoAP door over real DTLS, with coap-client-openssl of Debian as the device. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/str.h"
#include "coap-bench.h"
#include "daemon/attest.h"
#include "daemon/submit.h"

#define says(text)                                                                                 \
        do {                                                                                       \
                if (!strstr(bench_output(), text))                                                 \
                        fail_msg("no \"%s\" in:\n%s", text, bench_output());                       \
        } while (0)

static void test_telemetry(void **state)
{
        Bench *b = *state;
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/t/room/temperature", "-m", "post", "-t",
                                      "50", "-e", "{\"c\":21}"),
                         0);
        assert_int_equal(list_length(&b->gateway.telemetry), 1);
        const Stored *s = last_stored(&b->gateway.telemetry);
        assert_string_equal(s->device, "dev1");
        assert_string_equal(s->topic, "room/temperature");
        assert_string_equal(s->content_type, "application/json");
        assert_int_equal(s->len, 8);
        assert_memory_equal(s->payload, "{\"c\":21}", 8);
        assert_true(s->durable);
        /* One datagram: the answer rides on the acknowledgement. */
        says("t:ACK c:2.04");
        assert_int_equal(BENCH_CLIENT(b, 10, "dev2", "/t/x", "-m", "put", "-e", "raw"), 0);
        s = last_stored(&b->gateway.telemetry);
        assert_string_equal(s->device, "dev2");
        assert_null(s->content_type);
}

/* Longer than the acknowledgement may wait: an empty one goes out, the answer comes by itself. */
static void test_late_answer(void **state)
{
        Bench *b = *state;
        b->gateway.delay = 1200 * USEC_PER_MSEC;
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/t/slow", "-m", "post", "-e", "x"), 0);
        assert_int_equal(list_length(&b->gateway.telemetry), 1);
        says("t:ACK c:0.00");
        says("t:CON c:2.04");
}

static void test_non_confirmable(void **state)
{
        Bench *b = *state;
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/t/n", "-N", "-m", "post", "-e", "x"), 0);
        assert_int_equal(list_length(&b->gateway.telemetry), 1);
        assert_false(last_stored(&b->gateway.telemetry)->durable);
        says("t:NON c:2.04");
}

static void test_outcomes(void **state)
{
        Bench *b = *state;
        const struct {
                SubmitOutcome outcome;
                const char *code;
        } table[] = { { SUBMIT_DENIED, "c:4.03" },
                      { SUBMIT_QUOTA, "c:4.29" },
                      { SUBMIT_FULL, "c:5.03" },
                      { SUBMIT_FAILED, "c:5.00" } };
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                b->gateway.outcome = table[i].outcome;
                BENCH_CLIENT(b, 10, "dev1", "/t/x", "-m", "post", "-e", "x");
                says(table[i].code);
        }
}

static void expect(Bench *b, const char *method, const char *path, const char *format,
                   const char *code)
{
        size_t before = list_length(&b->gateway.telemetry) + list_length(&b->gateway.evidence);
        BENCH_CLIENT(b, 10, "dev1", path, "-m", method, "-t", format, "-e", "x");
        if (!strstr(bench_output(), code))
                fail_msg("%s %s: no %s in:\n%s", method, path, code, bench_output());
        says("Content-Format:257");
        assert_int_equal(list_length(&b->gateway.telemetry) + list_length(&b->gateway.evidence),
                         before);
}

static void test_bad_requests(void **state)
{
        Bench *b = *state;
        expect(b, "post", "/t", "0", "c:4.00");
        expect(b, "post", "/t/a//b", "0", "c:4.00");
        expect(b, "post", "/t/a%2Bb", "0", "c:4.00");
        expect(b, "post", "/t/%23", "0", "c:4.00");
        expect(b, "post", "/t/a%2Fb", "0", "c:4.00");
        expect(b, "post", "/t/%FF%FE", "0", "c:4.00");
        expect(b, "post", "/t/a%00b", "0", "c:4.00");
        expect(b, "post", "/t/rats/x", "0", "c:4.00");
        expect(b, "post", "/t/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "0", "c:4.00");
        expect(b, "post", "/t/x", "9999", "c:4.15");
        expect(b, "post", "/nothing", "0", "c:4.04");
        expect(b, "post", "/", "0", "c:4.04");
        expect(b, "put", "/rats/result", "0", "c:4.05");
        expect(b, "delete", "/t/x", "0", "c:4.05");
        expect(b, "post", "/rats/nonce", "60", "c:4.00");
        expect(b, "post", "/rats/nonce", "50", "c:4.15");
}

static void test_critical_option(void **state)
{
        Bench *b = *state;
        BENCH_CLIENT(b, 10, "dev1", "/t/x", "-m", "put", "-e", "x", "-O", "1,abcd");
        says("c:4.02");
        BENCH_CLIENT(b, 10, "dev1", "/t/x", "-m", "put", "-e", "x", "-O", "2049,abcd");
        says("c:4.02");
        assert_int_equal(list_length(&b->gateway.telemetry), 0);
        /* An elective one is left alone. */
        assert_int_equal(
                BENCH_CLIENT(b, 10, "dev1", "/t/x", "-m", "put", "-e", "x", "-O", "2048,abcd"), 0);
        says("c:2.04");
}

static void test_discovery(void **state)
{
        Bench *b = *state;
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/.well-known/core", "-m", "get"), 0);
        says("</t>;");
        says("</rats/evidence>;");
        says("</.well-known/est/nonce>;");
}

static size_t read_file(const Bench *b, const char *name, uint8_t *data, size_t max)
{
        char path[128];
        bench_path(b, name, path);
        FILE *f = fopen(path, "r");
        size_t n = f ? fread(data, 1, max, f) : 0;
        if (f)
                fclose(f);
        return n;
}

static void write_file(const Bench *b, const char *name, size_t len)
{
        char path[128];
        bench_path(b, name, path);
        FILE *f = fopen(path, "w");
        for (size_t i = 0; i < len; i++)
                fputc((int)(i * 7 % 251), f);
        fclose(f);
}

static void test_nonce(void **state)
{
        Bench *b = *state;
        char out[128], in[128];
        uint8_t data[256];
        bench_path(b, "out", out);
        bench_path(b, "in", in);
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/.well-known/est/nonce", "-o", out), 0);
        /* {"nonce": 32 bytes, "expiry": 120} */
        assert_int_equal(read_file(b, "out", data, sizeof(data)), 1 + 6 + 2 + 32 + 7 + 2);
        assert_memory_equal(data, "\xa2\x65nonce\x58\x20\x5a", 10);
        assert_memory_equal(data + 41, "\x66\x65xpiry\x18\x78", 9);
        says("c:2.05");
        says("Max-Age:");

        FILE *f = fopen(in, "w");
        fputs("\xa1\x63len\x18\x30", f);
        fclose(f);
        assert_int_equal(
                BENCH_CLIENT(b, 10, "dev1", "/rats/nonce", "-m", "post", "-t", "60", "-f", in), 0);
        says("c:2.04");
        f = fopen(in, "w");
        fputs("\xa1\x63len\x18\x41", f);
        fclose(f);
        BENCH_CLIENT(b, 10, "dev1", "/rats/nonce", "-m", "post", "-t", "60", "-f", in);
        says("c:4.00");
        BENCH_CLIENT(b, 10, "dev1", "/rats/nonce", "-A", "50");
        says("c:4.06");
}

/* 2 KiB in blocks of 256, an answer of 3000 bytes in blocks as well, and a verdict that takes
 * longer than an acknowledgement may wait. */
static void test_evidence_in_blocks(void **state)
{
        Bench *b = *state;
        char in[128], out[128];
        bench_path(b, "in", in);
        bench_path(b, "out", out);
        write_file(b, "in", 2048);
        b->gateway.ear_len = 3000;
        const usec_t delays[] = { 20 * USEC_PER_MSEC, 900 * USEC_PER_MSEC };
        for (size_t i = 0; i < ELEMENTSOF(delays); i++) {
                b->gateway.delay = delays[i];
                assert_int_equal(BENCH_CLIENT(b, 15, "dev1", "/rats/evidence", "-m", "post", "-t",
                                              "10003", "-b", "256", "-f", in, "-o", out),
                                 0);
                says("c:2.31");
                says("c:2.04");
                assert_int_equal(list_length(&b->gateway.evidence), i + 1);
                const Stored *s = last_stored(&b->gateway.evidence);
                assert_int_equal(s->format, 10003);
                assert_int_equal(s->len, 2048);
                uint8_t sent[4096];
                assert_int_equal(read_file(b, "in", sent, sizeof(sent)), 2048);
                assert_memory_equal(s->payload, sent, 2048);
                uint8_t got[4096];
                assert_int_equal(read_file(b, "out", got, sizeof(got)), 3000);
                for (size_t k = 0; k < 3000; k++)
                        assert_int_equal(got[k], 'a' + k % 26);
        }
}

static void test_evidence_refused(void **state)
{
        Bench *b = *state;
        BENCH_CLIENT(b, 10, "dev1", "/rats/evidence", "-N", "-m", "post", "-t", "10003", "-e", "x");
        says("c:4.00");
        BENCH_CLIENT(b, 10, "dev1", "/rats/evidence", "-m", "post", "-e", "x");
        says("c:4.15");
        assert_int_equal(list_length(&b->gateway.evidence), 0);
        const struct {
                EvidenceOutcome outcome;
                const char *code;
        } table[] = { { EVIDENCE_MALFORMED, "c:4.00" },
                      { EVIDENCE_FORBIDDEN, "c:4.03" },
                      { EVIDENCE_NOT_FRESH, "c:4.09" },
                      { EVIDENCE_UNSUPPORTED, "c:4.15" },
                      { EVIDENCE_FAILED, "c:5.00" } };
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                b->gateway.outcome = table[i].outcome;
                BENCH_CLIENT(b, 10, "dev1", "/rats/evidence", "-m", "post", "-t", "10003", "-e",
                             "x");
                says(table[i].code);
                says("Content-Format:257");
        }
}

static void test_result(void **state)
{
        Bench *b = *state;
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/rats/result", "-m", "get"), 0);
        says("header.payload.signature");
        BENCH_CLIENT(b, 10, "dev2", "/rats/result", "-m", "get");
        says("c:4.04");
}

/* Without the hex dumps: they would not fit. */
static void test_oversize(void **state)
{
        Bench *b = *state;
        char in[128];
        bench_path(b, "in", in);
        write_file(b, "in", 17 * 1024);
        BENCH_CLIENT(b, 20, "dev1", "/rats/evidence", "-v", "4", "-m", "post", "-t", "10003", "-f",
                     in);
        says("4.13");
        write_file(b, "in", 16 * 1024);
        assert_int_equal(BENCH_CLIENT(b, 20, "dev1", "/t/big", "-v", "4", "-m", "post", "-t", "42",
                                      "-f", in),
                         0);
        assert_int_equal(list_length(&b->gateway.evidence), 0);
        assert_int_equal(list_length(&b->gateway.telemetry), 1);
        assert_int_equal(last_stored(&b->gateway.telemetry)->len, 16 * 1024);
}

static void refuse(Bench *b, const char *who, const char *reason)
{
        b->gateway.refused = 0;
        b->gateway.refused_reason[0] = '\0';
        BENCH_CLIENT(b, 3, who, "/t/x", "-m", "post", "-e", "x");
        assert_string_equal(b->gateway.refused_reason, reason);
        assert_string_equal(b->gateway.refused_from, "127.0.0.1");
        assert_int_equal(list_length(&b->gateway.telemetry), 0);
        assert_int_equal(b->gateway.opened, 0);
}

static void test_refusals(void **state)
{
        Bench *b = *state;
        refuse(b, "fake", "unknown-ca");
        refuse(b, "old", "expired");
        refuse(b, NULL, "no-certificate");
}

/* Another one is in force from the next handshake on. */
static void test_trust(void **state)
{
        Bench *b = *state;
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/t/x", "-m", "post", "-e", "x"), 0);
        /* An intermediate authority is trusted without its root. */
        bench_trust(b, "sub.pem", NULL);
        assert_int_equal(BENCH_CLIENT(b, 10, "below", "/t/x", "-m", "post", "-e", "x"), 0);
        bench_trust(b, "foreign.pem", NULL);
        BENCH_CLIENT(b, 2, "dev1", "/t/y", "-m", "post", "-e", "x");
        assert_string_equal(b->gateway.refused_reason, "unknown-ca");
        bench_trust(b, "ca.pem", "revoked.crl");
        BENCH_CLIENT(b, 2, "dev1", "/t/y", "-m", "post", "-e", "x");
        assert_string_equal(b->gateway.refused_reason, "revoked");
        assert_non_null(strstr(bench_output(), "certificate revoked"));
        assert_int_equal(BENCH_CLIENT(b, 10, "dev2", "/t/x", "-m", "post", "-e", "x"), 0);
}

/* Listening on [::] is listening on 0.0.0.0 too; the peer has its IPv4 address all the same. */
static void test_both_families(void **state)
{
        Bench *b = *state;
        b->port = bench_free_port();
        struct sockaddr_storage a = { 0 };
        *(struct sockaddr_in6 *)&a =
                (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(b->port) };
        int r = ingress_coap_listen(b->in, &a);
        if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)
                skip();
        assert_int_equal(r, 0);
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/t/x", "-m", "post", "-e", "x"), 0);
        assert_int_equal(BENCH_CLIENT(b, 10, "dev1", "/t/x", "-m", "post", "-e", "x"), 0);
        BENCH_CLIENT(b, 2, "fake", "/t/x", "-m", "post", "-e", "x");
        assert_string_equal(b->gateway.refused_from, "127.0.0.1");
        /* Nobody else gets the address, not even who says that he would share it. */
        assert_int_equal(ingress_coap_listen(b->in, &a), -EADDRINUSE);
        int fd = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(struct sockaddr_in6)), -1);
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
                T(test_telemetry),        T(test_late_answer),  T(test_non_confirmable),
                T(test_outcomes),         T(test_bad_requests), T(test_critical_option),
                T(test_discovery),        T(test_nonce),        T(test_evidence_in_blocks),
                T(test_evidence_refused), T(test_result),       T(test_oversize),
                T(test_refusals),         T(test_trust),        T(test_both_families),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
