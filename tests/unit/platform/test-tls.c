/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The TLS server's limits, against sockets and an OpenSSL client in the same process. What it
 * answers to wrong certificates is tested with real clients in tests/unit/daemon. */

#include "tls-bench.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "platform/ossl.h"

/* Peers that say nothing hold up the third no longer than a handshake may take. */
static void silent_peers(void **state)
{
        Bench b;
        bench_open(&b, 10, 2);
        int fds[3] = { dial(&b), dial(&b), dial(&b) };
        turn(&b, 200 * USEC_PER_MSEC);
        assert_int_equal(tls_server_connections(b.server), 2);
        assert_int_equal(b.timeouts, 0);
        for (int i = 0; i < 100 && (b.timeouts < 2 || tls_server_connections(b.server) > 1); i++)
                turn(&b, 20 * USEC_PER_MSEC);
        assert_int_equal(b.timeouts, 2);
        assert_int_equal(tls_server_connections(b.server), 1);
        turn(&b, 2200 * USEC_PER_MSEC);
        assert_int_equal(b.timeouts, 3);
        assert_int_equal(tls_server_connections(b.server), 0);
        for (size_t i = 0; i < 3; i++)
                close(fds[i]);
        bench_close(&b);
}

/* Who keeps coming does not put off the deadline of who is there. */
static void deadlines_hold_under_load(void **state)
{
        Bench b;
        int fds[12];
        bench_open(&b, 100, 100);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = dial(&b);
                turn(&b, 200 * USEC_PER_MSEC);
        }
        assert_true(b.timeouts >= 2);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                close(fds[i]);
        bench_close(&b);
}

/* The server's end of the client's connection, among the descriptors of this process. */
static int server_end(const Client *c)
{
        struct sockaddr_in ours, other;
        socklen_t len = sizeof(ours);
        assert_int_equal(getsockname(c->fd, (struct sockaddr *)&ours, &len), 0);
        for (int fd = 3; fd < 1024; fd++) {
                len = sizeof(other);
                if (getpeername(fd, (struct sockaddr *)&other, &len) == 0 &&
                    other.sin_family == AF_INET && other.sin_port == ours.sin_port)
                        return fd;
        }
        fail();
        return -1;
}

static int option(int fd, int level, int name)
{
        int value = -1;
        socklen_t len = sizeof(value);
        assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
        return value;
}

/* A peer that vanishes is noticed: idle within two minutes, and in 30 s where it was written to. */
static void peers_that_vanish(void **state)
{
        Bench b;
        Client c;
        bench_open(&b, 10, 10);
        client_open(&b, &c);
        int fd = server_end(&c);
        assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
        assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
        assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
        assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
        assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 30000);
        assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
        client_close(&c);
        turn(&b, 50 * USEC_PER_MSEC);
        bench_close(&b);
}

static void too_many(void **state)
{
        Bench b;
        bench_open(&b, 2, 10);
        int fds[3] = { dial(&b), dial(&b), dial(&b) };
        turn(&b, 200 * USEC_PER_MSEC);
        assert_int_equal(tls_server_connections(b.server), 2);
        assert_int_equal(b.too_many, 1);
        close(fds[0]);
        turn(&b, 100 * USEC_PER_MSEC);
        assert_int_equal(tls_server_connections(b.server), 1);
        close(fds[1]);
        close(fds[2]);
        bench_close(&b);
}

/* Those who are refused and do not go take no place from others. */
static void strangers(void **state)
{
        Bench b;
        int fds[9];
        bench_open(&b, 4, 2);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = dial(&b);
                assert_int_equal(write(fds[i], "GET / HTTP/1.0\r\n\r\n", 18), 18);
                turn(&b, 20 * USEC_PER_MSEC);
        }
        assert_int_equal(tls_server_connections(b.server), 2);
        assert_int_equal(b.too_many, 0);
        turn(&b, 3300 * USEC_PER_MSEC);
        assert_int_equal(tls_server_connections(b.server), 0);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                close(fds[i]);
        bench_close(&b);
}

/* A peer that does not finish its handshakes waits for itself, not the others for it. */
static void too_many_of_one_address(void **state)
{
        Bench b;
        bench_open_bounded(&b, 10, 10, 2);
        int fds[3] = { dial(&b), dial(&b), dial(&b) };
        turn(&b, 200 * USEC_PER_MSEC);
        assert_int_equal(tls_server_connections(b.server), 2);
        assert_int_equal(b.too_many_of_one, 1);
        close(fds[0]);
        turn(&b, 100 * USEC_PER_MSEC);
        int again = dial(&b);
        turn(&b, 100 * USEC_PER_MSEC);
        assert_int_equal(tls_server_connections(b.server), 2);
        assert_int_equal(b.too_many_of_one, 1);
        close(again);
        close(fds[1]);
        close(fds[2]);
        bench_close(&b);
}

static void slow_reader(void **state)
{
        Bench b;
        Client c;
        static uint8_t big[4 << 20];
        bench_open(&b, 10, 10);
        client_open(&b, &c);
        assert_int_equal(buf_append(tls_connection_output(b.connection), BYTES(big, sizeof(big))),
                         0);
        assert_int_equal(buf_append_u8(tls_connection_output(b.connection), 1), -ENOBUFS);
        tls_connection_flush(b.connection);
        turn(&b, 100 * USEC_PER_MSEC);
        assert_int_equal(b.drained, 0);
        assert_int_equal(client_read(&b, &c), sizeof(big));
        assert_int_equal(b.drained, 1);
        client_close(&c);
        turn(&b, 100 * USEC_PER_MSEC);
        assert_int_equal(b.closed, 1);
        assert_int_equal(tls_server_connections(b.server), 0);
        bench_close(&b);
}

/* The secure heap would be full after some thousand connections. */
static void no_key_stays(void **state)
{
        Bench b;
        Client c;
        size_t used[3];
        bench_open(&b, 10, 10);
        for (size_t i = 0; i < ELEMENTSOF(used); i++) {
                b.established = 0;
                client_open(&b, &c);
                SSL_free(c.ssl); /* without a word: the server's end stands */
                c.ssl = NULL;
                used[i] = CRYPTO_secure_used();
                if (i + 1 < ELEMENTSOF(used)) /* and stays, half closed */
                        SSL_CTX_free(c.ctx);
        }
        /* The first of all has the gateway's own key made ready to sign. */
        assert_int_equal(used[1], used[0]);
        assert_int_equal(used[2], used[0]);
        assert_true(used[0] > 0);
        assert_int_equal(tls_server_connections(b.server), 3);
        client_close(&c);
        bench_close(&b);
}

static const char *const group_names[] = {
#if OPENSSL_VERSION_NUMBER >= 0x30500000L
        "X25519MLKEM768",
#endif
        "X25519",
        "P-256",
        "P-384",
};

/* Devices with one group alone: small ones have P-256 and no other. */
static void groups(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(group_names); i++) {
                Bench b;
                Client c;
                bench_open(&b, 10, 10);
                client_begin(&b, &c);
                assert_int_equal(SSL_set1_groups_list(c.ssl, group_names[i]), 1);
                client_go_on(&b, &c);
                client_close(&c);
                turn(&b, 50 * USEC_PER_MSEC);
                bench_close(&b);
        }
}

static unsigned n_tickets;

static int on_ticket(SSL *ssl, SSL_SESSION *session)
{
        n_tickets++;
        return 0;
}

/* One is what a device needs; each costs a session that is remembered. */
static void one_ticket(void **state)
{
        Bench b;
        Client c;
        n_tickets = 0;
        bench_open(&b, 10, 10);
        client_begin(&b, &c);
        SSL_CTX_set_session_cache_mode(c.ctx, SSL_SESS_CACHE_CLIENT);
        SSL_CTX_sess_set_new_cb(c.ctx, on_ticket);
        client_go_on(&b, &c);
        assert_int_equal(client_read(&b, &c), 0);
        assert_int_equal(n_tickets, 1);
        client_close(&c);
        turn(&b, 50 * USEC_PER_MSEC);
        bench_close(&b);
}

/* Input that nobody takes stays with the kernel; the last words arrive although input lay unread.
 */
static void stop_and_goodbye(void **state)
{
        Bench b;
        Client c;
        static uint8_t piece[16384];
        bench_open(&b, 10, 10);
        b.answer = TLS_INPUT_STOP;
        client_open(&b, &c); /* the empty first turn stops it */
        size_t before = b.received;
        for (int i = 0; i < 8; i++)
                assert_int_equal(SSL_write(c.ssl, piece, sizeof(piece)), sizeof(piece));
        turn(&b, 100 * USEC_PER_MSEC);
        assert_int_equal(b.received, before);
        b.answer = TLS_INPUT_MORE;
        tls_connection_resume(b.connection);
        turn(&b, 200 * USEC_PER_MSEC);
        assert_int_equal(b.received, before + 8 * sizeof(piece));
        b.answer = TLS_INPUT_STOP;
        tls_connection_resume(b.connection);
        SSL_write(c.ssl, piece, sizeof(piece));
        turn(&b, 50 * USEC_PER_MSEC);
        SSL_write(c.ssl, piece, sizeof(piece));
        assert_int_equal(buf_append_str(tls_connection_output(b.connection), "goodbye"), 0);
        tls_connection_close(b.connection);
        turn(&b, 100 * USEC_PER_MSEC);
        assert_int_equal(client_read(&b, &c), 7);
        assert_int_equal(SSL_get_shutdown(c.ssl), SSL_RECEIVED_SHUTDOWN);
        client_close(&c);
        turn(&b, 100 * USEC_PER_MSEC);
        assert_int_equal(b.closed, 0);
        assert_int_equal(tls_server_connections(b.server), 0);
        bench_close(&b);
}

static void change_trust(Bench *b, Trust *trust)
{
        Reason reason;
        TlsServerConfig config = b->config;
        config.trust = trust;
        assert_int_equal(tls_server_prepare(b->server, &config, &reason), 0);
        tls_server_commit(b->server);
        trust_unref(trust);
}

/* Who began to shake hands with the old trust does not get in by it. */
static void trust_changes_meanwhile(void **state)
{
        static const long serials[] = { 1 };
        for (int revoked = 0; revoked < 2; revoked++) {
                Bench b;
                Client c;
                bench_open(&b, 10, 10);
                PkiCertificate other = PKI(.name = "other", .ca = true);
                client_begin(&b, &c);
                assert_int_equal(SSL_connect(c.ssl), -1); /* ClientHello */
                turn(&b, 50 * USEC_PER_MSEC);
                if (revoked)
                        change_trust(&b, pki_trust(&b.both, PKI_LIST(.signer = &b.both,
                                                                     .serials = serials, .n = 1)));
                else
                        change_trust(&b, pki_trust(&other, NULL));
                assert_int_equal(SSL_connect(c.ssl), 1);
                turn(&b, 100 * USEC_PER_MSEC);
                assert_int_equal(b.established, 0);
                assert_string_equal(b.reason, revoked ? "revoked" : "unknown-ca");
                client_close(&c);
                turn(&b, 50 * USEC_PER_MSEC);
                bench_close(&b);
        }
}

/* What is prepared and forgotten changes nothing. */
static void cancelled_change(void **state)
{
        Bench b;
        Client c;
        Reason reason;
        bench_open(&b, 10, 10);
        PkiCertificate other = PKI(.name = "other", .ca = true);
        TlsServerConfig config = b.config;
        config.trust = pki_trust(&other, NULL);
        assert_int_equal(tls_server_prepare(b.server, &config, &reason), 0);
        assert_int_equal(tls_server_prepare(b.server, &config, &reason), 0);
        tls_server_cancel(b.server);
        tls_server_commit(b.server);
        trust_unref(config.trust);
        client_open(&b, &c);
        client_close(&c);
        turn(&b, 50 * USEC_PER_MSEC);
        bench_close(&b);
}

/* Several who have more to do, each for a while: not one after the other in a single turn. */
static void dear_ones(void **state)
{
        Bench b;
        Client c[8];
        bench_open(&b, 10, 10);
        for (size_t i = 0; i < ELEMENTSOF(c); i++) {
                b.established = 0;
                client_open(&b, &c[i]);
        }
        b.answer = TLS_INPUT_AGAIN;
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                assert_int_equal(SSL_write(c[i].ssl, "x", 1), 1);
        turn(&b, 50 * USEC_PER_MSEC);
        unsigned first = b.inputs;
        b.cost = 3 * USEC_PER_MSEC;
        for (unsigned i = 0; i < 40; i++) {
                unsigned before = b.inputs;
                assert_true(sd_event_run(loop_sd_event(b.loop), 5 * USEC_PER_MSEC) >= 0);
                assert_in_range(b.inputs - before, 0, 2);
        }
        assert_true(b.inputs > first + ELEMENTSOF(c));
        b.cost = 0;
        b.answer = TLS_INPUT_MORE;
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                client_close(&c[i]);
        turn(&b, 50 * USEC_PER_MSEC);
        bench_close(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(silent_peers),
                cmocka_unit_test(deadlines_hold_under_load),
                cmocka_unit_test(peers_that_vanish),
                cmocka_unit_test(too_many),
                cmocka_unit_test(strangers),
                cmocka_unit_test(too_many_of_one_address),
                cmocka_unit_test(slow_reader),
                cmocka_unit_test(no_key_stays),
                cmocka_unit_test(groups),
                cmocka_unit_test(one_ticket),
                cmocka_unit_test(stop_and_goodbye),
                cmocka_unit_test(trust_changes_meanwhile),
                cmocka_unit_test(cancelled_change),
                cmocka_unit_test(dear_ones),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
