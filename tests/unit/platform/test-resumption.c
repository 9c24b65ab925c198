/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Sessions that resume at the TLS server, by OpenSSL's client in the same process. */

#include "visitor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "platform/tls-internal.h"

static const long serials[] = { 2 };

static struct Bench {
        Visitor v;
        TlsServerConfig config;
        PkiCertificate authority, gateway;
        PeerChain chain; /* of the last one */
        char reason[32]; /* why the last one was refused */
} b;

/* The linker lets the code under test ask here for the time. */
usec_t __real_now_boottime(void);
usec_t __wrap_now_boottime(void);
static usec_t ahead;

usec_t __wrap_now_boottime(void)
{
        return __real_now_boottime() + ahead;
}

static void on_established(TlsConnection *c, const PeerCertificate *certificate, void *userdata)
{
        assert_string_equal(certificate->common_name, "dev1");
        b.chain = certificate->chain;
        tls_connection_set_handler(c, &visitor_handler, NULL);
}

static void on_refused(const struct sockaddr_storage *peer, const char *reason, const char *detail,
                       void *userdata)
{
        snprintf(b.reason, sizeof(b.reason), "%s", reason);
}

static const TlsServerPort port = { .established = on_established, .refused = on_refused };

static void use_trust(Trust *trust)
{
        Reason reason;
        b.config.trust = trust;
        assert_int_equal(tls_server_prepare(b.v.server, &b.config, &reason), 0);
        tls_server_commit(b.v.server);
        trust_unref(trust);
        b.config.trust = NULL;
}

static void open_server(void)
{
        Credential *c = NULL;
        b.config.trust = pki_trust(&b.authority, NULL);
        assert_int_equal(credential_new(b.gateway.key, b.gateway.x, NULL, false, &c), 0);
        visitor_serve(&b.v, &b.config, &port, NULL, c);
        b.config.trust = trust_unref(b.config.trust);
}

static int setup(void **state)
{
        memset(&b, 0, sizeof(b));
        ahead = 0;
        assert_int_equal(loop_new(&b.v.loop), 0);
        b.authority = PKI(.name = "root", .ca = true, .key_usage = "critical,keyCertSign,cRLSign");
        b.gateway = PKI(.name = "gateway", .issuer = &b.authority, .serial = 3);
        b.v.device = PKI(.name = "dev1", .issuer = &b.authority, .serial = 2);
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
        visitor_forget(&b.v);
        tls_server_free(b.v.server);
        loop_free(b.v.loop);
        pki_done();
        return 0;
}

static Visit visit(int version)
{
        *b.reason = '\0';
        return visitor_visit(&b.v, version);
}

#define EACH_VERSION(v) for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++)

static void resumes(void **state)
{
        EACH_VERSION(v)
        {
                assert_int_equal(visit(v), VISIT_FULL);
                PeerChain chain = b.chain;
                assert_int_equal(chain.n, 2);
                for (int i = 0; i < 3; i++) {
                        assert_int_equal(visit(v), VISIT_RESUMED);
                        assert_memory_equal(&chain, &b.chain, sizeof(chain));
                }
                assert_int_equal(SSL_SESSION_get_ticket_lifetime_hint(b.v.session),
                                 TICKETS_ROTATION / USEC_PER_SEC);
                assert_int_equal(SSL_SESSION_get_max_early_data(b.v.session), 0);
                visitor_forget(&b.v);
        }
}

static void keys_rotate(void **state)
{
        EACH_VERSION(v)
        {
                assert_int_equal(visit(v), VISIT_FULL);
                tickets_rotate(b.v.server->handshakes.tickets);
                assert_int_equal(visit(v), VISIT_RESUMED);
                tickets_rotate(b.v.server->handshakes.tickets);
                assert_int_equal(visit(v),
                                 VISIT_RESUMED); /* by the ticket that came with the last */
                tickets_rotate(b.v.server->handshakes.tickets);
                tickets_rotate(b.v.server->handshakes.tickets);
                assert_int_equal(visit(v), VISIT_FULL);
                visitor_forget(&b.v);
        }
}

/* A change of what the gateway shows is none of the device's. */
static void another_leaf(void **state)
{
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_FULL);
        PkiCertificate leaf = PKI(.name = "gateway", .issuer = &b.authority, .serial = 4);
        _cleanup_(credential_unrefp) Credential *c = NULL;
        assert_int_equal(credential_new(leaf.key, leaf.x, NULL, false, &c), 0);
        assert_int_equal(tls_server_set_credential(b.v.server, c), 0);
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_RESUMED);
}

static void ticket_from_before_a_revocation(void **state)
{
        EACH_VERSION(v)
        {
                use_trust(pki_trust(&b.authority, NULL));
                assert_int_equal(visit(v), VISIT_FULL);
                assert_int_equal(visit(v), VISIT_RESUMED);
                use_trust(pki_trust(&b.authority,
                                    PKI_LIST(.signer = &b.authority, .serials = serials, .n = 1)));
                assert_int_equal(visit(v), VISIT_REFUSED);
                assert_string_equal(b.reason, "revoked");
                visitor_forget(&b.v);
        }
}

/* The ticket says what was revoked, the device has another certificate by now. */
static void ticket_of_the_old_certificate(void **state)
{
        PkiCertificate old = b.v.device,
                       fresh = PKI(.name = "dev1", .issuer = &b.authority, .serial = 6);
        EACH_VERSION(v)
        {
                b.v.device = old;
                use_trust(pki_trust(&b.authority, NULL));
                assert_int_equal(visit(v), VISIT_FULL);
                use_trust(pki_trust(&b.authority,
                                    PKI_LIST(.signer = &b.authority, .serials = serials, .n = 1)));
                b.v.device = fresh;
                assert_int_equal(visit(v), VISIT_FULL);
                assert_int_equal(visit(v), VISIT_RESUMED);
                visitor_forget(&b.v);
        }
}

static void ticket_from_before_a_change_of_authorities(void **state)
{
        PkiCertificate other = PKI(.name = "other", .ca = true);
        PkiCertificate renewed =
                PKI(.name = "root", .key = b.authority.key, .serial = 9, .ca = true);
        EACH_VERSION(v)
        {
                use_trust(pki_trust(&b.authority, NULL));
                assert_int_equal(visit(v), VISIT_FULL);
                use_trust(pki_trust(&renewed, NULL));
                assert_int_equal(visit(v), VISIT_RESUMED);
                use_trust(pki_trust(&other, NULL));
                assert_int_equal(visit(v), VISIT_REFUSED);
                assert_string_equal(b.reason, "unknown-ca");
                visitor_forget(&b.v);
        }
}

static void certificate_that_expires(void **state)
{
        b.v.device = PKI(.name = "dev1", .issuer = &b.authority, .serial = 5, .valid = 3);
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_FULL);
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_RESUMED);
        visitor_turn(&b.v, 3500 * USEC_PER_MSEC);
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_REFUSED);
        assert_string_equal(b.reason, "expired");
}

/* However often it was resumed, the device has to sign again some day. */
static void old_proof(void **state)
{
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_FULL);
        ahead = TICKETS_PROOF_MAX - USEC_PER_MIN;
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_RESUMED);
        ahead = TICKETS_PROOF_MAX + USEC_PER_MIN;
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_FULL);
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_RESUMED);
        ahead = 0; /* from the future */
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_FULL);
}

static void tampered_ticket(void **state)
{
        EACH_VERSION(v)
        {
                static const size_t places[] = { 0, 20, 100, (size_t)-1 };
                for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                        const unsigned char *ticket;
                        size_t len;
                        visitor_forget(&b.v);
                        assert_int_equal(visit(v), VISIT_FULL);
                        SSL_SESSION_get0_ticket(b.v.session, &ticket, &len);
                        assert_true(v == TLS1_3_VERSION ? len == 32 : len > 200);
                        ((unsigned char *)ticket)[MIN(places[i], len - 1)] ^= 1;
                        assert_int_equal(visit(v), VISIT_FULL);
                }
                visitor_forget(&b.v);
        }
}

/* What the door remembers has a bound, and the oldest make room. */
static void door_is_full(void **state)
{
        use_trust(pki_trust(&b.authority, NULL));
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_FULL);
        SSL_SESSION *first = TAKE_PTR(b.v.session);
        for (size_t i = 0; i < 2 * b.config.connections_max; i++) {
                assert_int_equal(visit(TLS1_3_VERSION), VISIT_FULL);
                visitor_forget(&b.v);
        }
        b.v.session = first;
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_FULL);
        assert_int_equal(visit(TLS1_3_VERSION), VISIT_RESUMED);
}

/* A device that keeps to its first ticket is let in with it again, as long as it is good. */
static void same_ticket_again(void **state)
{
        EACH_VERSION(v)
        {
                assert_int_equal(visit(v), VISIT_FULL);
                SSL_SESSION *first = b.v.session;
                for (int i = 0; i < 3; i++) {
                        SSL_SESSION_up_ref(first);
                        b.v.session = first;
                        assert_int_equal(visit(v), VISIT_RESUMED);
                        visitor_forget(&b.v);
                }
                SSL_SESSION_free(first);
        }
}

/* The keys of one door do not open another. */
static void ticket_of_another_door(void **state)
{
        EACH_VERSION(v)
        {
                assert_int_equal(visit(v), VISIT_FULL);
                tls_server_free(b.v.server);
                open_server();
                assert_int_equal(visit(v), VISIT_FULL);
                assert_int_equal(visit(v), VISIT_RESUMED);
                visitor_forget(&b.v);
        }
}

/* A ticket of TLS 1.2 is none of 1.3, and where 1.2 is no longer taken it is worth nothing. */
static void other_version(void **state)
{
        assert_int_equal(visit(TLS1_2_VERSION), VISIT_FULL);
        b.config.tls12 = false;
        use_trust(pki_trust(&b.authority, NULL));
        assert_int_equal(visit(TLS1_2_VERSION), VISIT_REFUSED);
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
                TEST(door_is_full),
                TEST(same_ticket_again),
                TEST(ticket_of_another_door),
                TEST(other_version),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
