/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Sessions that resume at the TLS server, by OpenSSL's client in the same process. */

#include "pki.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#include "base/str.h"
#include "platform/tls-internal.h"

static const long serials[] = { 2 };

static struct Bench {
        Loop *loop;
        TlsServer *server;
        TlsServerConfig config;
        PkiCertificate authority, gateway, device;
        uint16_t port;
        unsigned established;
        PeerChain chain; /* of the last one */
        char reason[32]; /* why the last one was refused */
        SSL_SESSION *session;
} b;

/* The linker lets the code under test ask here for the time. */
usec_t __real_now_boottime(void);
usec_t __wrap_now_boottime(void);
static usec_t ahead;

usec_t __wrap_now_boottime(void)
{
        return __real_now_boottime() + ahead;
}

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
        assert_string_equal(certificate->common_name, "dev1");
        b.established++;
        b.chain = certificate->chain;
        tls_connection_set_handler(c, &handler, NULL);
}

static void on_refused(const struct sockaddr_storage *peer, const char *reason, const char *detail,
                       void *userdata)
{
        snprintf(b.reason, sizeof(b.reason), "%s", reason);
}

static const TlsServerPort port = { .established = on_established, .refused = on_refused };

static Trust *trust_in(const PkiCertificate *authority, X509_CRL *crl)
{
        Reason reason = { "" };
        Trust *t = NULL;
        const char *list = crl ? pki_write_list("crl.pem", crl, false) : NULL;
        const TrustFiles files = { .authorities = PKI_BUNDLE("bundle.pem", authority),
                                   .lists = &list,
                                   .n_lists = !!list };
        assert_int_equal(trust_new(&files, &reason, &t), 0);
        return t;
}

static void use_trust(Trust *trust)
{
        Reason reason;
        b.config.trust = trust;
        assert_int_equal(tls_server_prepare(b.server, &b.config, &reason), 0);
        tls_server_commit(b.server);
        trust_unref(trust);
        b.config.trust = NULL;
}

static void open_server(void)
{
        Reason reason;
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        _cleanup_(credential_unrefp) Credential *c = NULL;
        b.config.trust = trust_in(&b.authority, NULL);
        assert_int_equal(tls_server_new(b.loop, &b.config, &port, NULL, &reason, &b.server), 0);
        b.config.trust = trust_unref(b.config.trust);
        assert_int_equal(credential_new(b.gateway.key, b.gateway.x, NULL, false, &c), 0);
        assert_int_equal(tls_server_set_credential(b.server, c), 0);
        assert_int_equal(
                tls_server_listen(b.server, (const struct sockaddr *)&a, sizeof(a), &b.port), 0);
}

static int setup(void **state)
{
        memset(&b, 0, sizeof(b));
        ahead = 0;
        assert_int_equal(loop_new(&b.loop), 0);
        b.authority = PKI(.name = "root", .ca = true, .key_usage = "critical,keyCertSign,cRLSign");
        b.gateway = PKI(.name = "gateway", .issuer = &b.authority, .serial = 3);
        b.device = PKI(.name = "dev1", .issuer = &b.authority, .serial = 2);
        b.config = (TlsServerConfig){
                .tls12 = true,
                .connections_max = 10,
                .handshakes_max = 10,
                .handshake_timeout = USEC_PER_SEC,
                .input_max = 65536,
                .output_max = 65536,
        };
        open_server();
        return 0;
}

static int teardown(void **state)
{
        SSL_SESSION_free(b.session);
        tls_server_free(b.server);
        loop_free(b.loop);
        pki_done();
        return 0;
}

static void turn(usec_t span)
{
        for (usec_t until = __real_now_boottime() + span; __real_now_boottime() < until;)
                assert_true(sd_event_run(loop_sd_event(b.loop), USEC_PER_MSEC) >= 0);
}

typedef enum Outcome {
        FULL,
        RESUMED,
        REFUSED,
} Outcome;

static int dial(void)
{
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_port = htons(b.port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        const struct timeval wait = { .tv_usec = 5000 };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
        return fd;
}

/* One connection with the session that is there; keeps the session that came of it. */
static Outcome visit(int version)
{
        uint64_t full, resumed, full_after, resumed_after;
        unsigned before = b.established;
        char byte;
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(ctx, version);
        SSL_CTX_set_max_proto_version(ctx, version);
        SSL_CTX_use_certificate(ctx, b.device.x);
        SSL_CTX_use_PrivateKey(ctx, b.device.key);
        SSL *ssl = SSL_new(ctx);
        int fd = dial();
        SSL_set_fd(ssl, fd);
        if (b.session)
                assert_int_equal(SSL_set_session(ssl, b.session), 1);
        *b.reason = '\0';
        tls_server_handshakes(b.server, &full, &resumed);
        for (int i = 0; SSL_connect(ssl) != 1 && i < 40; i++)
                turn(2 * USEC_PER_MSEC);
        turn(10 * USEC_PER_MSEC);
        SSL_read(ssl, &byte, 1); /* the tickets of TLS 1.3 come after the handshake */
        tls_server_handshakes(b.server, &full_after, &resumed_after);
        bool let_in = b.established > before, reused = SSL_session_reused(ssl);
        if (let_in) {
                SSL_SESSION_free(b.session);
                b.session = SSL_get1_session(ssl);
                assert_int_equal(full_after - full, !reused);
                assert_int_equal(resumed_after - resumed, reused);
        } else {
                assert_int_equal(full_after - full + resumed_after - resumed, 0);
        }
        SSL_shutdown(ssl);
        SSL_free(ssl);
        SSL_CTX_free(ctx);
        close(fd);
        turn(10 * USEC_PER_MSEC);
        return !let_in ? REFUSED : reused ? RESUMED : FULL;
}

#define EACH_VERSION(v) for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++)

static void forget_session(void)
{
        SSL_SESSION_free(b.session);
        b.session = NULL;
}

static void resumes(void **state)
{
        EACH_VERSION(v)
        {
                assert_int_equal(visit(v), FULL);
                PeerChain chain = b.chain;
                assert_int_equal(chain.n, 2);
                for (int i = 0; i < 3; i++) {
                        assert_int_equal(visit(v), RESUMED);
                        assert_memory_equal(&chain, &b.chain, sizeof(chain));
                }
                assert_int_equal(SSL_SESSION_get_ticket_lifetime_hint(b.session),
                                 TICKETS_ROTATION / USEC_PER_SEC);
                assert_int_equal(SSL_SESSION_get_max_early_data(b.session), 0);
                forget_session();
        }
}

static void keys_rotate(void **state)
{
        EACH_VERSION(v)
        {
                assert_int_equal(visit(v), FULL);
                tickets_rotate(b.server->handshakes.tickets);
                assert_int_equal(visit(v), RESUMED);
                tickets_rotate(b.server->handshakes.tickets);
                assert_int_equal(visit(v), RESUMED); /* by the ticket that came with the last */
                tickets_rotate(b.server->handshakes.tickets);
                tickets_rotate(b.server->handshakes.tickets);
                assert_int_equal(visit(v), FULL);
                forget_session();
        }
}

/* A change of what the gateway shows is none of the device's. */
static void another_leaf(void **state)
{
        assert_int_equal(visit(TLS1_3_VERSION), FULL);
        PkiCertificate leaf = PKI(.name = "gateway", .issuer = &b.authority, .serial = 4);
        _cleanup_(credential_unrefp) Credential *c = NULL;
        assert_int_equal(credential_new(leaf.key, leaf.x, NULL, false, &c), 0);
        assert_int_equal(tls_server_set_credential(b.server, c), 0);
        assert_int_equal(visit(TLS1_3_VERSION), RESUMED);
}

static void ticket_from_before_a_revocation(void **state)
{
        EACH_VERSION(v)
        {
                use_trust(trust_in(&b.authority, NULL));
                assert_int_equal(visit(v), FULL);
                assert_int_equal(visit(v), RESUMED);
                use_trust(trust_in(&b.authority,
                                   PKI_LIST(.signer = &b.authority, .serials = serials, .n = 1)));
                assert_int_equal(visit(v), REFUSED);
                assert_string_equal(b.reason, "revoked");
                forget_session();
        }
}

/* The ticket says what was revoked, the device has another certificate by now. */
static void ticket_of_the_old_certificate(void **state)
{
        PkiCertificate old = b.device,
                       fresh = PKI(.name = "dev1", .issuer = &b.authority, .serial = 6);
        EACH_VERSION(v)
        {
                b.device = old;
                use_trust(trust_in(&b.authority, NULL));
                assert_int_equal(visit(v), FULL);
                use_trust(trust_in(&b.authority,
                                   PKI_LIST(.signer = &b.authority, .serials = serials, .n = 1)));
                b.device = fresh;
                assert_int_equal(visit(v), FULL);
                assert_int_equal(visit(v), RESUMED);
                forget_session();
        }
}

static void ticket_from_before_a_change_of_authorities(void **state)
{
        PkiCertificate other = PKI(.name = "other", .ca = true);
        PkiCertificate renewed =
                PKI(.name = "root", .key = b.authority.key, .serial = 9, .ca = true);
        EACH_VERSION(v)
        {
                use_trust(trust_in(&b.authority, NULL));
                assert_int_equal(visit(v), FULL);
                use_trust(trust_in(&renewed, NULL));
                assert_int_equal(visit(v), RESUMED);
                use_trust(trust_in(&other, NULL));
                assert_int_equal(visit(v), REFUSED);
                assert_string_equal(b.reason, "unknown-ca");
                forget_session();
        }
}

static void certificate_that_expires(void **state)
{
        b.device = PKI(.name = "dev1", .issuer = &b.authority, .serial = 5, .valid = 3);
        assert_int_equal(visit(TLS1_3_VERSION), FULL);
        assert_int_equal(visit(TLS1_3_VERSION), RESUMED);
        turn(3500 * USEC_PER_MSEC);
        assert_int_equal(visit(TLS1_3_VERSION), REFUSED);
        assert_string_equal(b.reason, "expired");
}

/* However often it was resumed, the device has to sign again some day. */
static void old_proof(void **state)
{
        assert_int_equal(visit(TLS1_3_VERSION), FULL);
        ahead = TICKETS_PROOF_MAX - USEC_PER_MIN;
        assert_int_equal(visit(TLS1_3_VERSION), RESUMED);
        ahead = TICKETS_PROOF_MAX + USEC_PER_MIN;
        assert_int_equal(visit(TLS1_3_VERSION), FULL);
        assert_int_equal(visit(TLS1_3_VERSION), RESUMED);
        ahead = 0; /* from the future */
        assert_int_equal(visit(TLS1_3_VERSION), FULL);
}

static void tampered_ticket(void **state)
{
        EACH_VERSION(v)
        {
                static const size_t places[] = { 0, 20, 100, (size_t)-1 };
                for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                        const unsigned char *ticket;
                        size_t len;
                        forget_session();
                        assert_int_equal(visit(v), FULL);
                        SSL_SESSION_get0_ticket(b.session, &ticket, &len);
                        assert_true(len > 200);
                        ((unsigned char *)ticket)[MIN(places[i], len - 1)] ^= 1;
                        assert_int_equal(visit(v), FULL);
                }
                forget_session();
        }
}

/* The keys of one door do not open another. */
static void ticket_of_another_door(void **state)
{
        EACH_VERSION(v)
        {
                assert_int_equal(visit(v), FULL);
                tls_server_free(b.server);
                open_server();
                assert_int_equal(visit(v), FULL);
                assert_int_equal(visit(v), RESUMED);
                forget_session();
        }
}

/* A ticket of TLS 1.2 is none of 1.3, and where 1.2 is no longer taken it is worth nothing. */
static void other_version(void **state)
{
        assert_int_equal(visit(TLS1_2_VERSION), FULL);
        b.config.tls12 = false;
        use_trust(trust_in(&b.authority, NULL));
        assert_int_equal(visit(TLS1_2_VERSION), REFUSED);
        assert_string_equal(b.reason, "protocol-version");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(resumes),
                TEST(keys_rotate),
                TEST(another_leaf),
                TEST(ticket_from_before_a_revocation),
                TEST(ticket_of_the_old_certificate),
                TEST(ticket_from_before_a_change_of_authorities),
                TEST(certificate_that_expires),
                TEST(old_proof),
                TEST(tampered_ticket),
                TEST(ticket_of_another_door),
                TEST(other_version),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
