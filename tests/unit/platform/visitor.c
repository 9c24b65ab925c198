/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "visitor.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <systemd/sd-event.h>
#include <time.h>

#include <cmocka.h>

static TlsInput on_input(TlsConnection *c, void *userdata)
{
        buf_clear(tls_connection_input(c));
        return TLS_INPUT_MORE;
}

static void on_event(TlsConnection *c, void *userdata)
{
}

const TlsHandler visitor_handler = { .input = on_input, .drained = on_event, .closed = on_event };

void visitor_serve(Visitor *v, const TlsServerConfig *config, const TlsServerPort *port,
                   void *userdata, Credential *credential)
{
        Reason reason;
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        assert_int_equal(tls_server_new(v->loop, config, port, userdata, &reason, &v->server), 0);
        assert_int_equal(tls_server_set_credential(v->server, credential), 0);
        credential_unref(credential);
        assert_int_equal(
                tls_server_listen(v->server, (const struct sockaddr *)&a, sizeof(a), &v->port), 0);
}

static usec_t monotonic(void)
{
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (usec_t)t.tv_sec * USEC_PER_SEC + (usec_t)t.tv_nsec / 1000;
}

void visitor_turn(Visitor *v, usec_t span)
{
        for (usec_t until = monotonic() + span; monotonic() < until;)
                assert_true(sd_event_run(loop_sd_event(v->loop), USEC_PER_MSEC) >= 0);
}

void visitor_forget(Visitor *v)
{
        SSL_SESSION_free(v->session);
        v->session = NULL;
}

static int dial(const Visitor *v)
{
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_port = htons(v->port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        const struct timeval wait = { .tv_usec = 5000 };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
        return fd;
}

static SSL *begin(const Visitor *v, SSL_CTX *ctx, int version, int fd)
{
        SSL_CTX_set_min_proto_version(ctx, version);
        SSL_CTX_set_max_proto_version(ctx, version);
        SSL_CTX_use_certificate(ctx, v->device.x);
        SSL_CTX_use_PrivateKey(ctx, v->device.key);
        SSL *ssl = SSL_new(ctx);
        SSL_set_fd(ssl, fd);
        if (v->session)
                assert_int_equal(SSL_set_session(ssl, v->session), 1);
        return ssl;
}

/* What the server counted, and what the client saw, have to be one. */
static Visit judge(const Visitor *v, SSL *ssl, uint64_t full, uint64_t resumed)
{
        uint64_t full_after, resumed_after;
        tls_server_handshakes(v->server, &full_after, &resumed_after);
        if (full_after + resumed_after == full + resumed)
                return VISIT_REFUSED;
        bool reused = SSL_session_reused(ssl);
        assert_int_equal(full_after - full, !reused);
        assert_int_equal(resumed_after - resumed, reused);
        return reused ? VISIT_RESUMED : VISIT_FULL;
}

Visit visitor_visit(Visitor *v, int version)
{
        char byte;
        uint64_t full, resumed;
        int fd = dial(v);
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        SSL *ssl = begin(v, ctx, version, fd);
        tls_server_handshakes(v->server, &full, &resumed);
        for (int r, i = 0; (r = SSL_connect(ssl)) != 1 && i < 1000; i++) {
                if (SSL_get_error(ssl, r) != SSL_ERROR_WANT_READ)
                        break; /* refused */
                visitor_turn(v, 2 * USEC_PER_MSEC);
        }
        Visit visit = VISIT_REFUSED;
        for (int i = 0; visit == VISIT_REFUSED && i < 200; i++) {
                visitor_turn(v, 10 * USEC_PER_MSEC);
                visit = judge(v, ssl, full, resumed);
                /* The tickets of TLS 1.3 come after the handshake. */
                int r = SSL_read(ssl, &byte, 1);
                if (r > 0 || SSL_get_error(ssl, r) != SSL_ERROR_WANT_READ)
                        break;
        }
        if (visit != VISIT_REFUSED) {
                visitor_forget(v);
                v->session = SSL_get1_session(ssl);
        }
        SSL_shutdown(ssl);
        SSL_free(ssl);
        SSL_CTX_free(ctx);
        close(fd);
        visitor_turn(v, 10 * USEC_PER_MSEC);
        return visit;
}
