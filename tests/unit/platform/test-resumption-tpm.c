/* SPDX-License-Identifier: GPL-3.0-or-later */

/* TLSKey=tpm: who resumes does not need the TPM. It is not there at all. */

#include "pki.h"
#include "swtpm.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#include "platform/tls.h"

typedef struct Bench {
        Loop *loop;
        Identity *identity;
        TlsServer *server;
        PkiCertificate authority, device;
        uint16_t port;
        unsigned established, refused;
} Bench;

static TlsInput on_input(TlsConnection *c, void *userdata)
{
        buf_clear(tls_connection_input(c));
        return TLS_INPUT_MORE;
}

static void on_event(TlsConnection *c, void *userdata)
{
}

static const TlsHandler handler = { .input = on_input, .drained = on_event, .closed = on_event };

static void on_established(TlsConnection *c, const PeerCertificate *certificate, void *userdata)
{
        ((Bench *)userdata)->established++;
        tls_connection_set_handler(c, &handler, NULL);
}

static void on_refused(const struct sockaddr_storage *peer, const char *reason, const char *detail,
                       void *userdata)
{
        ((Bench *)userdata)->refused++;
}

static const TlsServerPort port = { .established = on_established, .refused = on_refused };

static void bench_open(Bench *b, Lab *lab)
{
        Reason reason;
        _cleanup_(trust_unrefp) Trust *trust = NULL;
        _cleanup_(credential_unrefp) Credential *c = NULL;
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        *b = (Bench){ 0 };
        b->authority = PKI(.name = "root", .ca = true);
        b->device = PKI(.name = "dev1", .issuer = &b->authority, .serial = 2);
        const TrustFiles files = { .authorities = PKI_BUNDLE("ca.pem", &b->authority) };
        assert_int_equal(trust_new(&files, &reason, &trust), 0);
        const TlsServerConfig config = {
                .trust = trust,
                .connections_max = 10,
                .handshakes_max = 10,
                .handshake_timeout = 10 * USEC_PER_SEC,
                .input_max = 65536,
                .output_max = 65536,
        };
        assert_int_equal(loop_new(&b->loop), 0);
        assert_int_equal(identity_open(lab->tcti, lab->state, &b->identity, &reason), 0);
        lab_enroll(lab, b->identity, false);
        assert_int_equal(identity_attach(b->identity, b->loop), 0);
        assert_int_equal(identity_credential(b->identity, &c, &reason), 0);
        assert_true(credential_in_tpm(c));
        assert_int_equal(tls_server_new(b->loop, &config, &port, b, &reason, &b->server), 0);
        assert_int_equal(tls_server_set_credential(b->server, c), 0);
        assert_int_equal(
                tls_server_listen(b->server, (const struct sockaddr *)&a, sizeof(a), &b->port), 0);
}

static void bench_close(Bench *b)
{
        tls_server_free(b->server);
        identity_free(b->identity);
        loop_free(b->loop);
        pki_done();
}

static void turn(Bench *b, usec_t span)
{
        for (usec_t until = now_boottime() + span; now_boottime() < until;)
                assert_true(sd_event_run(loop_sd_event(b->loop), USEC_PER_MSEC) >= 0);
}

static int dial(const Bench *b)
{
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_port = htons(b->port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        const struct timeval wait = { .tv_usec = 5000 };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
        return fd;
}

/* True when the handshake came about; `session` goes in and the new one comes out. */
static bool visit(Bench *b, SSL_SESSION **session)
{
        char byte;
        unsigned before = b->established;
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_use_certificate(ctx, b->device.x);
        SSL_CTX_use_PrivateKey(ctx, b->device.key);
        SSL *ssl = SSL_new(ctx);
        int fd = dial(b);
        SSL_set_fd(ssl, fd);
        if (*session)
                SSL_set_session(ssl, *session);
        for (int i = 0; i < 400 && SSL_connect(ssl) != 1 && b->refused == 0; i++)
                turn(b, 5 * USEC_PER_MSEC);
        turn(b, 20 * USEC_PER_MSEC);
        SSL_read(ssl, &byte, 1);
        SSL_SESSION_free(*session);
        *session = SSL_get1_session(ssl);
        SSL_shutdown(ssl);
        SSL_free(ssl);
        SSL_CTX_free(ctx);
        close(fd);
        turn(b, 20 * USEC_PER_MSEC);
        return b->established > before;
}

static void resumes_without_tpm(void **state)
{
        Lab *lab = *state;
        Bench b;
        SSL_SESSION *session = NULL, *none = NULL;
        uint64_t full, resumed;
        bench_open(&b, lab);
        assert_true(visit(&b, &session));
        lab_stop_tpm(lab);
        for (int i = 0; i < 3; i++)
                assert_true(visit(&b, &session));
        tls_server_handshakes(b.server, &full, &resumed);
        assert_int_equal(full, 1);
        assert_int_equal(resumed, 3);
        assert_int_equal(b.refused, 0);
        assert_false(visit(&b, &none)); /* a full one does need it */
        lab_start_tpm(lab);
        SSL_SESSION_free(session);
        SSL_SESSION_free(none);
        bench_close(&b);
}

static int setup(void **state)
{
        int r = lab_setup(state);
        lab_create_identity(*state, true);
        return r;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(resumes_without_tpm),
        };
        return cmocka_run_group_tests(tests, setup, lab_teardown);
}
