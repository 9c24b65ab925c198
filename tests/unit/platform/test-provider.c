/* SPDX-License-Identifier: GPL-3.0-or-later */
/* OpenSSL signing through the TPM: certificates, TLS at both ends, and a loop that goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "platform/fiber.h"
#include "platform/ossl.h"
#include "swtpm.h"

#define TPM2_CC_SIGN 0x15d
#define SLOW_MS      150

static Identity *open_enrolled(Lab *lab, const char *tcti)
{
        Identity *id = NULL;
        Reason reason = { 0 };
        if (identity_open(tcti, lab->state, &id, &reason) < 0)
                fail_msg("%s", reason.text);
        lab_enroll(lab, id, false);
        return id;
}

static void test_private_half_stays(void **state)
{
        Lab *lab = *state;
        _cleanup_(identity_freep) Identity *id = open_enrolled(lab, lab->tcti);
        EVP_PKEY *key = identity_pkey(id);
        _cleanup_(BN_freep) BIGNUM *n = NULL;
        assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &n), 0);
        uint8_t *data = NULL;
        size_t len = 0;
        OSSL_ENCODER_CTX *e =
                OSSL_ENCODER_CTX_new_for_pkey(key, EVP_PKEY_KEYPAIR, "PEM", NULL, NULL);
        assert_int_not_equal(e ? OSSL_ENCODER_to_data(e, &data, &len) : 0, 1);
        OSSL_ENCODER_CTX_free(e);
        OPENSSL_free(data);
        uint8_t point[P256_POINT_SIZE];
        assert_int_equal(p256_to_point(key, point), 0);
        assert_memory_equal(point, identity_point(id), sizeof(point));
        ERR_clear_error();
}

/* The default provider goes on serving all other keys. */
static void test_other_keys(void **state)
{
        Lab *lab = *state;
        _cleanup_(identity_freep) Identity *id = open_enrolled(lab, lab->tcti);
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
        const OSSL_PROVIDER *of_key = EVP_PKEY_get0_provider(key);
        assert_string_equal(OSSL_PROVIDER_get0_name(of_key), "default");
        const OSSL_PROVIDER *of_identity = EVP_PKEY_get0_provider(identity_pkey(id));
        assert_string_equal(OSSL_PROVIDER_get0_name(of_identity), "sallyport");
        assert_int_equal(EVP_PKEY_eq(key, identity_pkey(id)), 0);
        assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(identity_leaf(id)), identity_pkey(id)), 1);
}

static void test_other_digest(void **state)
{
        Lab *lab = *state;
        _cleanup_(identity_freep) Identity *id = open_enrolled(lab, lab->tcti);
        _cleanup_(X509_REQ_freep) X509_REQ *q = X509_REQ_new();
        /* From OpenSSL 3.4 on a request without a version does not verify. */
        assert_int_equal(X509_REQ_set_version(q, X509_REQ_VERSION_1), 1);
        assert_int_equal(X509_REQ_set_pubkey(q, identity_pkey(id)), 1);
        assert_int_equal(X509_REQ_sign(q, identity_pkey(id), EVP_sha384()), 0);
        assert_true(X509_REQ_sign(q, identity_pkey(id), EVP_sha256()) > 0);
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *pub = p256_from_point(identity_point(id));
        assert_int_equal(X509_REQ_verify(q, pub), 1);
        ERR_clear_error();
}

/* ---- TLS in memory: two ends joined by BIO pairs ---- */

typedef struct Link {
        SSL_CTX *server_ctx, *client_ctx;
        SSL *server, *client;
} Link;

static int accept_any(int ok, X509_STORE_CTX *ctx)
{
        return 1; /* whose certificate it is does not matter here; that it signs does */
}

static SSL_CTX *new_ctx(const Credential *c, int version)
{
        SSL_CTX *ctx = SSL_CTX_new(TLS_method());
        assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
        assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any);
        assert_int_equal(credential_use_ctx(c, ctx), 0);
        return ctx;
}

static void link_open(Link *l, const Credential *c, int version)
{
        BIO *a, *b;
        l->server_ctx = new_ctx(c, version);
        l->client_ctx = new_ctx(c, version);
        l->server = SSL_new(l->server_ctx);
        l->client = SSL_new(l->client_ctx);
        assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
        SSL_set_bio(l->server, a, a);
        SSL_set_bio(l->client, b, b);
        SSL_set_accept_state(l->server);
        SSL_set_connect_state(l->client);
}

static void link_close(Link *l)
{
        SSL_free(l->server);
        SSL_free(l->client);
        SSL_CTX_free(l->server_ctx);
        SSL_CTX_free(l->client_ctx);
}

static bool wants_more(SSL *ssl, int r)
{
        int e = SSL_get_error(ssl, r);
        return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE;
}

/* Both ends in turn until both are through. */
static bool handshake(Link *l)
{
        for (int i = 0; i < 20; i++) {
                int c = SSL_do_handshake(l->client);
                if (c != 1 && !wants_more(l->client, c))
                        return false;
                int s = SSL_do_handshake(l->server);
                if (s != 1 && !wants_more(l->server, s))
                        return false;
                if (c == 1 && s == 1)
                        return true;
        }
        return false;
}

static void test_tls(void **state)
{
        Lab *lab = *state;
        static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
        _cleanup_(identity_freep) Identity *id = open_enrolled(lab, lab->tcti);
        Reason reason;
        for (size_t i = 0; i < ELEMENTSOF(versions); i++) {
                _cleanup_(credential_unrefp) Credential *c = NULL;
                Link l;
                assert_int_equal(identity_credential(id, &c, &reason), 0);
                link_open(&l, c, versions[i]);
                assert_true(handshake(&l));
                assert_int_equal(SSL_version(l.client), versions[i]);
                assert_non_null(SSL_get0_peer_certificate(l.server));
                link_close(&l);
        }
}

/* ---- a slow TPM does not hold the loop up ---- */

typedef struct Load {
        Loop *loop;
        Identity *identity;
        LoopSource *ticker;
        usec_t last, gap;
        unsigned ticks, running, good;
} Load;

static int on_tick(void *userdata)
{
        Load *load = userdata;
        usec_t now = now_boottime();
        if (load->ticks++ > 0)
                load->gap = MAX(load->gap, now - load->last);
        load->last = now;
        return loop_timer_arm_relative(load->ticker, 2 * USEC_PER_MSEC);
}

static void handshake_on_fiber(void *userdata)
{
        Load *load = userdata;
        Credential *c = NULL;
        Reason reason;
        Link l;
        assert_int_equal(identity_credential(load->identity, &c, &reason), 0);
        link_open(&l, c, TLS1_3_VERSION);
        if (handshake(&l))
                load->good++;
        link_close(&l);
        credential_unref(c);
        if (--load->running == 0)
                loop_exit(load->loop, 0);
}

static void test_loop_goes_on(void **state)
{
        Lab *lab = *state;
        Load load = { 0 };
        const unsigned n = 4;
        lab_start_relay(lab, SLOW_MS, TPM2_CC_SIGN);
        assert_int_equal(loop_new(&load.loop), 0);
        load.identity = open_enrolled(lab, lab->slow_tcti);
        assert_int_equal(identity_attach(load.identity, load.loop), 0);
        assert_int_equal(loop_add_timer(load.loop, &load.ticker, LOOP_FATAL, on_tick, &load), 0);
        assert_int_equal(loop_timer_arm_relative(load.ticker, 0), 0);
        usec_t start = now_boottime();
        for (unsigned i = 0; i < n; i++) {
                load.running++;
                assert_int_equal(fiber_spawn(handshake_on_fiber, &load), 0);
        }
        assert_int_equal(load.running, n); /* all of them wait, none has blocked us */
        assert_int_equal(loop_run(load.loop), 0);
        usec_t took = now_boottime() - start;
        assert_int_equal(load.good, n);
        /* Client and server sign: the TPM was the bottleneck, and the loop ran all the time. */
        assert_true(took >= 2 * n * SLOW_MS * USEC_PER_MSEC);
        assert_true(load.ticks > 2 * n * SLOW_MS / 10);
        if (load.gap >= SLOW_MS * USEC_PER_MSEC)
                fail_msg("the loop stood still for %llu ms",
                         (unsigned long long)(load.gap / USEC_PER_MSEC));
        print_message("%u handshakes in %llu ms, longest gap %llu us\n", n,
                      (unsigned long long)(took / USEC_PER_MSEC), (unsigned long long)load.gap);
        /* Off a fiber, while nobody uses the TPM, it still works. */
        Reason reason;
        assert_int_equal(identity_check(load.identity, &reason), 0);
        identity_free(load.identity);
        loop_source_free(load.ticker);
        loop_free(load.loop);
}

/* The policy does not hold: the handshake fails, nothing else does. */
static void test_refused(void **state)
{
        Lab *lab = *state;
        lab_extend_pcr(lab);
        _cleanup_(identity_freep) Identity *id = NULL;
        _cleanup_(credential_unrefp) Credential *c = NULL;
        Reason reason;
        Link l;
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), 0);
        assert_int_equal(identity_credential(id, &c, &reason), 0);
        link_open(&l, c, TLS1_3_VERSION);
        assert_false(handshake(&l));
        link_close(&l);
        ERR_clear_error();
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
                cmocka_unit_test(test_private_half_stays), cmocka_unit_test(test_other_keys),
                cmocka_unit_test(test_other_digest),       cmocka_unit_test(test_tls),
                cmocka_unit_test(test_loop_goes_on),       cmocka_unit_test(test_refused),
        };
        return cmocka_run_group_tests(tests, setup, lab_teardown);
}
