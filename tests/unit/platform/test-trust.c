/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pki.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "platform/ossl.h"
#include "platform/trust.h"

#define NOW now_realtime()

static const char sign_lists[] = "critical,keyCertSign,cRLSign";
static const long two[] = { 2 };

/* A root, an authority below it, and who it certified with serial 2. */
static struct World {
        PkiCertificate root, sub, leaf;
        PeerChain chain;
} w;

static PeerChain chain_of(const PkiCertificate *const *all)
{
        PeerChain c;
        STACK_OF(X509) *stack = sk_X509_new_null();
        for (; *all; all++)
                sk_X509_push(stack, (*all)->x);
        assert_int_equal(peer_chain_read(stack, &c), 0);
        sk_X509_free(stack);
        return c;
}
#define CHAIN(...) chain_of((const PkiCertificate *const[]){ __VA_ARGS__, NULL })

static int setup(void **state)
{
        w.root = PKI(.name = "root", .ca = true, .key_usage = sign_lists);
        w.sub = PKI(.name = "sub", .issuer = &w.root, .serial = 7, .ca = true,
                    .key_usage = sign_lists);
        w.leaf = PKI(.name = "dev1", .issuer = &w.sub, .serial = 2);
        w.chain = CHAIN(&w.leaf, &w.sub, &w.root);
        return 0;
}

static int teardown(void **state)
{
        pki_done();
        return 0;
}

static Trust *make(const char *authorities, const char *list)
{
        Reason reason = { "" };
        Trust *t = NULL;
        const TrustFiles files = { .authorities = authorities, .lists = &list, .n_lists = !!list };
        int r = trust_new(&files, &reason, &t);
        if (r < 0)
                print_message("%s\n", reason.text);
        assert_int_equal(r, 0);
        return t;
}

/* Refused with these words and the file's name. */
static void refuse(const char *list, const char *words)
{
        Reason reason = { "" };
        Trust *t = NULL;
        const TrustFiles files = { .authorities = PKI_BUNDLE("ca.pem", &w.root, &w.sub),
                                   .lists = &list,
                                   .n_lists = 1 };
        assert_true(trust_new(&files, &reason, &t) < 0);
        assert_null(t);
        print_message("%s\n", reason.text);
        assert_non_null(strstr(reason.text, words));
        assert_non_null(strstr(reason.text, list));
}

static TrustOutcome ask(const Trust *t)
{
        return trust_check(t, &w.chain, NOW, NULL);
}

static void anchors(void **state)
{
        PkiCertificate other = PKI(.name = "other", .ca = true);
        PkiCertificate namesake = PKI(.name = "root", .ca = true);
        _cleanup_(trust_unrefp) Trust *root = make(PKI_BUNDLE("1.pem", &w.root), NULL);
        _cleanup_(trust_unrefp) Trust *sub = make(PKI_BUNDLE("2.pem", &other, &w.sub), NULL);
        _cleanup_(trust_unrefp) Trust *foreign = make(PKI_BUNDLE("3.pem", &other, &namesake), NULL);
        assert_int_equal(ask(root), TRUST_OK);
        assert_int_equal(ask(sub), TRUST_OK);
        assert_int_equal(ask(foreign), TRUST_NO_ANCHOR);
}

/* The same authority with a certificate that lasts longer: nobody is to be sent away for it. */
static void renewed_authority(void **state)
{
        PkiCertificate again =
                PKI(.name = "root", .key = w.root.key, .serial = 99, .ca = true, .valid = 86400);
        _cleanup_(trust_unrefp) Trust *t = make(PKI_BUNDLE("1.pem", &again), NULL);
        assert_int_equal(ask(t), TRUST_OK);
}

static void expired(void **state)
{
        _cleanup_(trust_unrefp) Trust *t = make(PKI_BUNDLE("1.pem", &w.root), NULL);
        assert_int_equal(trust_check(t, &w.chain, w.chain.not_after - 1, NULL), TRUST_OK);
        assert_int_equal(trust_check(t, &w.chain, w.chain.not_after, NULL), TRUST_EXPIRED);
        PkiCertificate brief = PKI(.name = "brief", .issuer = &w.root, .valid = 60);
        PeerChain c = CHAIN(&brief, &w.root);
        assert_true(c.not_after < NOW + 2 * USEC_PER_MIN);
        assert_true(w.chain.not_after > NOW + 50 * USEC_PER_MIN);
}

static void revoked_leaf(void **state)
{
        size_t link = 99;
        const char *bundle = PKI_BUNDLE("ca.pem", &w.root, &w.sub);
        X509_CRL *crl = PKI_LIST(.signer = &w.sub, .serials = two, .n = 1);
        for (int der = 0; der < 2; der++) {
                _cleanup_(trust_unrefp) Trust *t =
                        make(bundle, pki_write_list(der ? "crl.der" : "crl.pem", crl, der));
                assert_int_equal(trust_check(t, &w.chain, NOW, &link), TRUST_REVOKED);
                assert_int_equal(link, 0);
                PkiCertificate dev2 = PKI(.name = "dev2", .issuer = &w.sub, .serial = 3);
                PeerChain c = CHAIN(&dev2, &w.sub, &w.root);
                assert_int_equal(trust_check(t, &c, NOW, NULL), TRUST_OK);
                TrustFacts facts;
                trust_facts(t, NOW, &facts);
                assert_int_equal(facts.lists, 1);
                assert_int_equal(facts.revoked, 1);
                assert_int_equal(facts.authorities, 2);
                assert_null(facts.future);
                assert_true(facts.next_update > NOW && facts.next_update < USEC_INFINITY);
        }
}

/* Serial 2 of the root is not serial 2 of the authority below it. */
static void same_serial_of_another(void **state)
{
        X509_CRL *crl = PKI_LIST(.signer = &w.root, .serials = two, .n = 1);
        _cleanup_(trust_unrefp) Trust *t =
                make(PKI_BUNDLE("ca.pem", &w.root, &w.sub), pki_write_list("crl.pem", crl, false));
        assert_int_equal(ask(t), TRUST_OK);
}

static void revoked_authority(void **state)
{
        const long seven[] = { 7 };
        size_t link = 99;
        X509_CRL *crl = PKI_LIST(.signer = &w.root, .serials = seven, .n = 1);
        _cleanup_(trust_unrefp) Trust *t =
                make(PKI_BUNDLE("ca.pem", &w.root), pki_write_list("crl.pem", crl, false));
        assert_int_equal(trust_check(t, &w.chain, NOW, &link), TRUST_REVOKED);
        assert_int_equal(link, 1);
}

/* The authority writes its name in one way in certificates and in another in its list. */
static void name_in_other_clothes(void **state)
{
        PkiCertificate plain = PKI(.name = "Acme Root", .ca = true);
        PkiCertificate dressed = PKI(.name = "ACME  root", .key = plain.key, .ca = true,
                                     .name_type = V_ASN1_PRINTABLESTRING);
        PkiCertificate dev = PKI(.name = "dev", .issuer = &plain, .serial = 2);
        PeerChain c = CHAIN(&dev, &plain);
        X509_CRL *crl = PKI_LIST(.signer = &dressed, .serials = two, .n = 1);
        _cleanup_(trust_unrefp) Trust *t =
                make(PKI_BUNDLE("ca.pem", &plain), pki_write_list("crl.pem", crl, false));
        assert_int_equal(trust_check(t, &c, NOW, NULL), TRUST_REVOKED);
}

static void overdue_and_early(void **state)
{
        TrustFacts facts;
        const char *bundle = PKI_BUNDLE("ca.pem", &w.root, &w.sub);
        X509_CRL *old =
                PKI_LIST(.signer = &w.sub, .serials = two, .n = 1, .from = -86400, .to = -3600);
        _cleanup_(trust_unrefp) Trust *a = make(bundle, pki_write_list("old.pem", old, false));
        assert_int_equal(ask(a), TRUST_REVOKED);
        trust_facts(a, NOW, &facts);
        assert_true(facts.next_update < NOW);
        assert_non_null(strstr(facts.oldest, "/old.pem"));
        X509_CRL *early =
                PKI_LIST(.signer = &w.sub, .serials = two, .n = 1, .from = 3600, .to = 7200);
        _cleanup_(trust_unrefp) Trust *b = make(bundle, pki_write_list("early.pem", early, false));
        assert_int_equal(ask(b), TRUST_REVOKED);
        trust_facts(b, NOW, &facts);
        assert_non_null(strstr(facts.future, "/early.pem"));
}

static void hostile_lists(void **state)
{
        PkiCertificate namesake = PKI(.name = "sub", .ca = true, .key_usage = sign_lists);
        PkiCertificate other = PKI(.name = "other", .ca = true, .key_usage = sign_lists);
#define LIST(...) pki_write_list("crl.pem", PKI_LIST(.serials = two, .n = 1, __VA_ARGS__), false)
        refuse(LIST(.signer = &namesake), "its signature is not that of its issuer");
        refuse(LIST(.signer = &other), "not among the authorities");
        refuse(LIST(.signer = &other, .issuer = X509_get_subject_name(w.sub.x)),
               "its signature is not");
        refuse(LIST(.signer = &w.sub, .extension = NID_delta_crl, .value = "critical,DER:020101"),
               "delta");
        refuse(LIST(.signer = &w.sub, .extension = NID_delta_crl, .value = "DER:020101"), "delta");
        refuse(LIST(.signer = &w.sub, .extension = NID_issuing_distribution_point,
                    .value = "critical,indirectCRL:TRUE"),
               "indirect");
        refuse(LIST(.signer = &w.sub, .extension = NID_policy_constraints,
                    .value = "critical,requireExplicitPolicy:1"),
               "critical extension");
        refuse(LIST(.signer = &w.sub, .entry_extension = NID_policy_constraints,
                    .entry_value = "critical,requireExplicitPolicy:1"),
               "an entry has a critical extension");
        refuse(LIST(.signer = &w.sub, .digest = EVP_sha1()), "digest that is broken");
        /* A part of what the authority issued: it adds, as the whole would. */
        _cleanup_(trust_unrefp) Trust *t =
                make(PKI_BUNDLE("ca.pem", &w.root, &w.sub),
                     LIST(.signer = &w.sub, .extension = NID_issuing_distribution_point,
                          .value = "critical,onlyuser:TRUE"));
        assert_int_equal(ask(t), TRUST_REVOKED);
}

static void not_allowed_to_sign(void **state)
{
        PkiCertificate mute = PKI(.name = "mute", .ca = true, .key_usage = "critical,keyCertSign");
        const char *path = LIST(.signer = &mute);
        Reason reason = { "" };
        Trust *t = NULL;
        const TrustFiles files = { .authorities = PKI_BUNDLE("ca.pem", &mute),
                                   .lists = &path,
                                   .n_lists = 1 };
        assert_true(trust_new(&files, &reason, &t) < 0);
        assert_non_null(strstr(reason.text, "does not allow it to sign lists"));
}

static void write_file(const char *path, const void *p, size_t len)
{
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(p, 1, len, f), len);
        fclose(f);
}

static void damaged_files(void **state)
{
        uint8_t *der = NULL;
        int len = i2d_X509_CRL(PKI_LIST(.signer = &w.sub, .serials = two, .n = 1), &der);
        uint8_t *more = malloc((size_t)len + 1);
        assert_true(len > 0 && more);
        memcpy(more, der, (size_t)len);
        more[len] = 0;
        const char *path = pki_path("crl.der");
        const TrustFiles files = { .authorities = PKI_BUNDLE("ca.pem", &w.root, &w.sub),
                                   .lists = &path,
                                   .n_lists = 1 };
        for (int cut = 0; cut < len; cut++) {
                Reason reason = { "" };
                Trust *t = NULL;
                write_file(path, der, (size_t)cut);
                assert_true(trust_new(&files, &reason, &t) < 0);
                assert_true(*reason.text);
        }
        write_file(path, more, (size_t)len + 1);
        refuse(path, "something follows");
        write_file(path, "", 0);
        refuse(path, "there is no list in it");
        write_file(path, "hello", 5);
        refuse(path, "there is no list in it");
        static const char broken[] = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        write_file(path, broken, sizeof(broken) - 1);
        refuse(path, "damaged");
        refuse("/nonexistent/crl.pem", "No such file");
        static uint8_t big[((size_t)16 << 20) + 1];
        write_file(path, big, sizeof(big));
        refuse(path, "large");
        free(more);
        OPENSSL_free(der);
}

/* One more may be missing, or of an authority that is gone; what is broken is not taken. */
static void fetched_list(void **state)
{
        PkiCertificate other = PKI(.name = "other", .ca = true, .key_usage = sign_lists);
        Reason reason;
        Trust *t = NULL;
        TrustFiles files = { .authorities = PKI_BUNDLE("ca.pem", &w.root, &w.sub),
                             .fetched = "/nonexistent/fetched.crl" };
        assert_int_equal(trust_new(&files, &reason, &t), 0);
        t = trust_unref(t);
        files.fetched = LIST(.signer = &other);
        assert_int_equal(trust_new(&files, &reason, &t), 0);
        assert_int_equal(ask(t), TRUST_OK);
        t = trust_unref(t);
        files.fetched = LIST(.signer = &w.sub);
        assert_int_equal(trust_new(&files, &reason, &t), 0);
        assert_int_equal(ask(t), TRUST_REVOKED);
        TrustFacts facts;
        trust_facts(t, NOW, &facts);
        assert_true(facts.fetched > 0 && facts.fetched < NOW);
        t = trust_unref(t);
        /* One beside it is of an authority that is gone: the other counts. */
        const char *both = pki_path("both.pem");
        FILE *f = fopen(both, "w");
        PEM_write_X509_CRL(f, PKI_LIST(.signer = &other, .serials = two, .n = 1));
        PEM_write_X509_CRL(f, PKI_LIST(.signer = &w.sub, .serials = two, .n = 1));
        fclose(f);
        files.fetched = both;
        assert_int_equal(trust_new(&files, &reason, &t), 0);
        assert_int_equal(ask(t), TRUST_REVOKED);
        t = trust_unref(t);
        files.fresh = true;
        assert_int_equal(trust_new(&files, &reason, &t), -EKEYREJECTED);
        files.fetched = "/nonexistent/fetched.crl";
        assert_int_equal(trust_new(&files, &reason, &t), -ENOENT);
        files.fresh = false;
        files.fetched = both;
        write_file(files.fetched, "0", 1);
        assert_int_equal(trust_new(&files, &reason, &t), -EBADMSG);
}

static void bad_authorities(void **state)
{
        Reason reason = { "" };
        Trust *t = NULL;
        TrustFiles files = { .authorities = PKI_BUNDLE("leaf.pem", &w.root, &w.leaf) };
        assert_int_equal(trust_new(&files, &reason, &t), -EBADMSG);
        assert_non_null(strstr(reason.text, "certificate 2 in it is not that of a CA"));
        files.authorities = "/nonexistent/ca.pem";
        assert_int_equal(trust_new(&files, &reason, &t), -ENOENT);
}

static void chains_that_do_not_fit(void **state)
{
        PeerChain c = { .n = 99 };
        STACK_OF(X509) *stack = sk_X509_new_null();
        assert_int_equal(peer_chain_read(NULL, &c), -EBADMSG);
        assert_int_equal(peer_chain_read(stack, &c), -EBADMSG);
        for (int i = 0; i < PEER_CHAIN_MAX; i++)
                sk_X509_push(stack, w.root.x);
        assert_int_equal(peer_chain_read(stack, &c), 0);
        assert_int_equal(c.n, PEER_CHAIN_MAX);
        sk_X509_push(stack, w.root.x);
        assert_int_equal(peer_chain_read(stack, &c), -EBADMSG);
        sk_X509_free(stack);
}

static void a_long_list(void **state)
{
        static long serials[100000];
        for (size_t i = 0; i < ELEMENTSOF(serials); i++)
                serials[i] = (long)(1000 + i * 7919);
        const char *path = pki_write_list(
                "long.der",
                PKI_LIST(.signer = &w.sub, .serials = serials, .n = ELEMENTSOF(serials)), true);
        usec_t before = now_boottime();
        _cleanup_(trust_unrefp) Trust *t = make(PKI_BUNDLE("ca.pem", &w.root, &w.sub), path);
        usec_t built = now_boottime();
        unsigned revoked = 0;
        for (unsigned i = 0; i < 100000; i++)
                revoked += ask(t) == TRUST_REVOKED;
        usec_t asked = now_boottime();
        assert_int_equal(revoked, 0);
        PkiCertificate last =
                PKI(.name = "last", .issuer = &w.sub, .serial = serials[ELEMENTSOF(serials) - 1]);
        PeerChain c = CHAIN(&last, &w.sub, &w.root);
        assert_int_equal(trust_check(t, &c, NOW, NULL), TRUST_REVOKED);
        print_message("100000 entries: read in %llu ms, asked in %llu ns\n",
                      (unsigned long long)((built - before) / USEC_PER_MSEC),
                      (unsigned long long)((asked - built) / 100));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(anchors),
                TEST(renewed_authority),
                TEST(expired),
                TEST(revoked_leaf),
                TEST(same_serial_of_another),
                TEST(revoked_authority),
                TEST(name_in_other_clothes),
                TEST(overdue_and_early),
                TEST(hostile_lists),
                TEST(not_allowed_to_sign),
                TEST(damaged_files),
                TEST(fetched_list),
                TEST(bad_authorities),
                TEST(chains_that_do_not_fit),
                TEST(a_long_list),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
