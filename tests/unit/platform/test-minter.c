/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "platform/minter.h"
#include "platform/ossl.h"
#include "swtpm.h"

static const char *const names[] = { "gw.example", "192.0.2.1" };

typedef struct Taken {
        Loop *loop;
        unsigned n, enough;
        Credential *last;
        LoopSource *deadline;
} Taken;

static void take(Credential *c, void *userdata)
{
        Taken *t = userdata;
        credential_unref(t->last);
        t->last = credential_ref(c);
        if (++t->n == t->enough)
                loop_exit(t->loop, 0);
}

static int on_deadline(void *userdata)
{
        loop_exit(((Taken *)userdata)->loop, -ETIMEDOUT);
        return 0;
}

static Identity *open_enrolled(Lab *lab, Loop *loop, bool is_ca)
{
        Identity *id = NULL;
        Reason reason = { 0 };
        if (identity_open(lab->tcti, lab->state, &id, &reason) < 0)
                fail_msg("%s", reason.text);
        lab_enroll(lab, id, is_ca);
        assert_int_equal(identity_attach(id, loop), 0);
        return id;
}

static MinterParams params_for(Identity *id, Taken *t, usec_t lifetime)
{
        return (MinterParams){ .identity = id,
                               .loop = t->loop,
                               .names = names,
                               .n_names = ELEMENTSOF(names),
                               .lifetime = lifetime,
                               .handler = take,
                               .userdata = t };
}

/* What a client that knows only the root makes of it. */
/* By a client whose clock stands at `when`. */
static int verify_at(Lab *lab, const Credential *c, const char *host, time_t when)
{
        SSL_CTX *ctx = SSL_CTX_new(TLS_method());
        assert_int_equal(credential_use_ctx(c, ctx), 0);
        X509 *leaf = SSL_CTX_get0_certificate(ctx);
        STACK_OF(X509) *chain = NULL;
        SSL_CTX_get0_chain_certs(ctx, &chain);
        _cleanup_(X509_STORE_freep) X509_STORE *store = X509_STORE_new();
        X509_STORE_add_cert(store, lab->ca);
        _cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *verify = X509_STORE_CTX_new();
        X509_STORE_CTX_init(verify, store, leaf, chain);
        X509_STORE_CTX_set_default(verify, "ssl_server");
        X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(verify), X509_V_FLAG_X509_STRICT);
        X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(verify), host, 0);
        X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(verify), when);
        int r = X509_verify_cert(verify);
        int error = r == 1 ? X509_V_OK : X509_STORE_CTX_get_error(verify);
        assert_int_equal(X509_check_ip_asc(leaf, "192.0.2.1", 0), 1);
        SSL_CTX_free(ctx);
        return error;
}

static int verify_as_client(Lab *lab, const Credential *c, const char *host)
{
        return verify_at(lab, c, host, time(NULL));
}

static void test_first(void **state)
{
        Lab *lab = *state;
        Taken t = { 0 };
        Reason reason = { 0 };
        _cleanup_(loop_freep) Loop *loop = NULL;
        assert_int_equal(loop_new(&loop), 0);
        t.loop = loop;
        _cleanup_(identity_freep) Identity *id = open_enrolled(lab, loop, true);
        _cleanup_(minter_freep) Minter *m = NULL;
        MinterParams p = params_for(id, &t, MINTER_DEFAULT_LIFETIME);
        if (minter_new(&p, &m, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(t.n, 1);
        assert_false(credential_in_tpm(t.last));
        assert_int_equal(verify_as_client(lab, t.last, "gw.example"), X509_V_OK);
        assert_int_equal(verify_as_client(lab, t.last, "other.example"),
                         X509_V_ERR_HOSTNAME_MISMATCH);
        /* The identity's own certificate ends in an hour, and so does the leaf. */
        IdentityCertificate c;
        assert_int_equal(identity_certificate(id, &c, &reason), 0);
        assert_int_equal(credential_not_after(t.last), c.not_after);
        /* It begins with it, too: the gateway's clock may be fast, and be put right. */
        assert_int_equal(verify_at(lab, t.last, "gw.example", time(NULL) - 80000), X509_V_OK);
        /* The private number lies in libcrypto's locked heap. */
        assert_int_equal(CRYPTO_secure_malloc_initialized(), 1);
        assert_true(CRYPTO_secure_used() > 0);
        credential_unref(t.last);
}

static void test_rotation(void **state)
{
        Lab *lab = *state;
        Taken t = { .enough = 3 };
        Reason reason = { 0 };
        _cleanup_(loop_freep) Loop *loop = NULL;
        assert_int_equal(loop_new(&loop), 0);
        t.loop = loop;
        Identity *id = open_enrolled(lab, loop, true);
        Minter *m = NULL;
        MinterParams p = params_for(id, &t, 3 * USEC_PER_SEC);
        if (minter_new(&p, &m, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(loop_add_timer(loop, &t.deadline, LOOP_FATAL, on_deadline, &t), 0);
        assert_int_equal(loop_timer_arm_relative(t.deadline, 20 * USEC_PER_SEC), 0);
        usec_t start = now_boottime();
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(t.n, 3);
        assert_true(now_boottime() - start >= 2 * USEC_PER_SEC);
        assert_true(credential_not_after(t.last) > now_realtime());
        assert_int_equal(verify_as_client(lab, t.last, "gw.example"), X509_V_OK);
        minter_free(m);
        identity_free(id);
        loop_source_free(t.deadline);
        credential_unref(t.last);
}

/* Freed while its fiber waits for the TPM: the fiber ends quietly. */
static int free_minter(void *userdata)
{
        Minter **m = userdata;
        minter_free(TAKE_PTR(*m));
        return 0;
}

static void test_freed_in_between(void **state)
{
        Lab *lab = *state;
        Taken t = { 0 };
        Reason reason = { 0 };
        Loop *loop = NULL;
        Identity *id = NULL;
        Minter *m = NULL;
        LoopSource *timer = NULL;
        lab_start_relay(lab, 100, 0x15d);
        assert_int_equal(loop_new(&loop), 0);
        t.loop = loop;
        assert_int_equal(identity_open(lab->slow_tcti, lab->state, &id, &reason), 0);
        assert_int_equal(identity_attach(id, loop), 0);
        MinterParams p = params_for(id, &t, MINTER_DEFAULT_LIFETIME);
        assert_int_equal(minter_new(&p, &m, &reason), 0);
        assert_int_equal(t.n, 1);
        assert_int_equal(loop_add_timer(loop, &timer, LOOP_FATAL, free_minter, &m), 0);
        assert_int_equal(loop_add_timer(loop, &t.deadline, LOOP_FATAL, on_deadline, &t), 0);
        minter_renew(m);
        loop_timer_arm_relative(timer, 50 * USEC_PER_MSEC);
        loop_timer_arm_relative(t.deadline, 600 * USEC_PER_MSEC);
        assert_int_equal(loop_run(loop), -ETIMEDOUT);
        assert_null(m);
        assert_int_equal(t.n, 1); /* nobody was called any more */
        identity_free(id);
        loop_source_free(timer);
        loop_source_free(t.deadline);
        loop_free(loop);
        credential_unref(t.last);
}

/* The identity gets another certificate while a leaf is minted below the old one: another leaf. */
static int renew_again(void *userdata)
{
        minter_renew(userdata);
        return 0;
}

static void test_renewed_in_between(void **state)
{
        Lab *lab = *state;
        Taken t = { .enough = 3 };
        Reason reason = { 0 };
        Loop *loop = NULL;
        Identity *id = NULL;
        Minter *m = NULL;
        LoopSource *timer = NULL;
        assert_int_equal(loop_new(&loop), 0);
        t.loop = loop;
        assert_int_equal(identity_open(lab->slow_tcti, lab->state, &id, &reason), 0);
        assert_int_equal(identity_attach(id, loop), 0);
        MinterParams p = params_for(id, &t, MINTER_DEFAULT_LIFETIME);
        assert_int_equal(minter_new(&p, &m, &reason), 0);
        assert_int_equal(loop_add_timer(loop, &timer, LOOP_FATAL, renew_again, m), 0);
        assert_int_equal(loop_add_timer(loop, &t.deadline, LOOP_FATAL, on_deadline, &t), 0);
        minter_renew(m);
        loop_timer_arm_relative(timer, 50 * USEC_PER_MSEC);
        loop_timer_arm_relative(t.deadline, 5 * USEC_PER_SEC);
        assert_int_equal(loop_run(loop), 0);
        minter_free(m);
        identity_free(id);
        loop_source_free(timer);
        loop_source_free(t.deadline);
        loop_free(loop);
        credential_unref(t.last);
}

static void test_not_a_ca(void **state)
{
        Lab *lab = *state;
        Taken t = { 0 };
        Reason reason = { 0 };
        Minter *m = NULL;
        _cleanup_(loop_freep) Loop *loop = NULL;
        assert_int_equal(loop_new(&loop), 0);
        t.loop = loop;
        _cleanup_(identity_freep) Identity *id = open_enrolled(lab, loop, false);
        MinterParams p = params_for(id, &t, MINTER_DEFAULT_LIFETIME);
        assert_int_equal(minter_new(&p, &m, &reason), -ENOTSUP);
        assert_non_null(strstr(reason.text, "TLSKey=tpm"));
        p.n_names = 0;
        assert_int_equal(minter_new(&p, &m, &reason), -EINVAL);
}

/* The identity's certificate is not valid: devices are served all the same. */
static void test_out_of_date(void **state)
{
        Lab *lab = *state;
        static const long spans[][2] = { { -7200, -3600 }, { 3600, 7200 } };
        Reason reason = { 0 };
        for (size_t i = 0; i < ELEMENTSOF(spans); i++) {
                Taken t = { 0 };
                Minter *m = NULL;
                _cleanup_(loop_freep) Loop *loop = NULL;
                assert_int_equal(loop_new(&loop), 0);
                t.loop = loop;
                _cleanup_(identity_freep) Identity *id = open_enrolled(lab, loop, true);
                _cleanup_(X509_freep) X509 *x = lab_certify(
                        lab, identity_pkey(id),
                        &(LabCertificate){ .is_ca = true, .from = spans[i][0], .to = spans[i][1] });
                lab_write_certificate(lab, lab_path(lab, "state/identity/identity.crt"), x);
                identity_free(id);
                id = NULL;
                assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), 0);
                assert_int_equal(identity_attach(id, loop), 0);
                MinterParams p = params_for(id, &t, MINTER_DEFAULT_LIFETIME);
                if (minter_new(&p, &m, &reason) < 0)
                        fail_msg("%s", reason.text);
                usec_t now = now_realtime(), end = credential_not_after(t.last);
                assert_true(end <= now + MINTER_DEFAULT_LIFETIME);
                assert_true(end > now + MINTER_DEFAULT_LIFETIME - USEC_PER_MIN);
                minter_free(m);
                credential_unref(t.last);
        }
}

static void test_refused(void **state)
{
        Lab *lab = *state;
        Taken t = { 0 };
        Reason reason = { 0 };
        Minter *m = NULL;
        _cleanup_(loop_freep) Loop *loop = NULL;
        assert_int_equal(loop_new(&loop), 0);
        t.loop = loop;
        lab_extend_pcr(lab);
        _cleanup_(identity_freep) Identity *id = open_enrolled(lab, loop, true);
        MinterParams p = params_for(id, &t, MINTER_DEFAULT_LIFETIME);
        assert_int_equal(minter_new(&p, &m, &reason), -EKEYREJECTED);
        assert_non_null(strstr(reason.text, "PCR 7"));
        assert_int_equal(t.n, 0);
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
                cmocka_unit_test(test_first),
                cmocka_unit_test(test_rotation),
                cmocka_unit_test(test_freed_in_between),
                cmocka_unit_test(test_renewed_in_between),
                cmocka_unit_test(test_not_a_ca),
                cmocka_unit_test(test_out_of_date),
                cmocka_unit_test(test_refused),
        };
        return cmocka_run_group_tests(tests, setup, lab_teardown);
}
