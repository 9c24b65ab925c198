/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tls-bench.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

static TlsInput on_input(TlsConnection *c, void *userdata)
{
        Bench *b = userdata;
        Buf *in = tls_connection_input(c);
        b->inputs++;
        for (usec_t until = now_boottime() + b->cost; now_boottime() < until;)
                ;
        b->received += buf_len(in);
        buf_clear(in);
        return b->answer;
}

static void on_drained(TlsConnection *c, void *userdata)
{
        ((Bench *)userdata)->drained++;
}

static void on_closed(TlsConnection *c, void *userdata)
{
        ((Bench *)userdata)->closed++;
}

static const TlsHandler handler = {
        .input = on_input,
        .drained = on_drained,
        .closed = on_closed,
};

static void on_established(TlsConnection *c, const PeerCertificate *certificate, void *userdata)
{
        Bench *b = userdata;
        assert_string_equal(certificate->common_name, "both");
        b->established++;
        b->connection = c;
        tls_connection_set_handler(c, &handler, b);
}

static void on_refused(const struct sockaddr_storage *peer, const char *reason, const char *detail,
                       void *userdata)
{
        Bench *b = userdata;
        snprintf(b->reason, sizeof(b->reason), "%s", reason);
        b->timeouts += strcmp(reason, "timeout") == 0;
        b->too_many += strcmp(reason, "too-many-connections") == 0;
        b->too_many_of_one += strcmp(reason, "too-many-handshakes") == 0;
}

static const TlsServerPort port = { .established = on_established, .refused = on_refused };

void bench_open_bounded(Bench *b, size_t connections_max, size_t handshakes_max,
                        size_t handshakes_per_address)
{
        Reason reason;
        *b = (Bench){ .answer = TLS_INPUT_MORE };
        b->both = PKI(.name = "both", .ca = true);
        _cleanup_(trust_unrefp) Trust *trust = pki_trust(&b->both, NULL);
        const TlsServerConfig config = {
                .trust = trust,
                .connections_max = connections_max,
                .handshakes_max = handshakes_max,
                .handshakes_per_address = handshakes_per_address,
                .handshake_timeout = USEC_PER_SEC,
                .input_max = 65536,
                .output_max = 4 << 20,
        };
        b->config = config;
        b->config.trust = NULL;
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        _cleanup_(credential_unrefp) Credential *c = NULL;
        assert_int_equal(loop_new(&b->loop), 0);
        assert_int_equal(tls_server_new(b->loop, &config, &port, b, &reason, &b->server), 0);
        assert_int_equal(credential_new(b->both.key, b->both.x, NULL, false, &c), 0);
        assert_int_equal(tls_server_set_credential(b->server, c), 0);
        assert_int_equal(
                tls_server_listen(b->server, (const struct sockaddr *)&a, sizeof(a), &b->port), 0);
}

void bench_open(Bench *b, size_t connections_max, size_t handshakes_max)
{
        bench_open_bounded(b, connections_max, handshakes_max, 0);
}

void bench_close(Bench *b)
{
        tls_server_free(b->server);
        loop_free(b->loop);
        pki_done();
}

void turn(Bench *b, usec_t span)
{
        for (usec_t until = now_boottime() + span; now_boottime() < until;)
                assert_true(sd_event_run(loop_sd_event(b->loop), 5 * USEC_PER_MSEC) >= 0);
}

int dial(const Bench *b)
{
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_port = htons(b->port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
        return fd;
}

void client_begin(Bench *b, Client *c)
{
        c->fd = dial(b);
        c->ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_use_certificate(c->ctx, b->both.x);
        SSL_CTX_use_PrivateKey(c->ctx, b->both.key);
        c->ssl = SSL_new(c->ctx);
        SSL_set_fd(c->ssl, c->fd);
        struct timeval wait = { .tv_usec = 20000 };
        setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
}

void client_go_on(Bench *b, Client *c)
{
        for (int i = 0; SSL_connect(c->ssl) != 1; i++) {
                assert_true(i < 100);
                turn(b, 10 * USEC_PER_MSEC);
        }
        turn(b, 100 * USEC_PER_MSEC);
        assert_int_equal(b->established, 1);
}

void client_open(Bench *b, Client *c)
{
        client_begin(b, c);
        client_go_on(b, c);
}

void client_close(Client *c)
{
        SSL_free(c->ssl);
        SSL_CTX_free(c->ctx);
        if (c->fd >= 0)
                close(c->fd);
}

size_t client_read(Bench *b, Client *c)
{
        static char into[65536];
        size_t total = 0;
        for (int idle = 0; idle < 10; idle++) {
                int n = SSL_read(c->ssl, into, sizeof(into));
                if (n > 0) {
                        total += (size_t)n;
                        idle = 0;
                }
                turn(b, 2 * USEC_PER_MSEC);
        }
        return total;
}
