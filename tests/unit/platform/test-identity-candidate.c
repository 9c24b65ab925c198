/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A certificate on trial: what is where, and what a crash would leave. */
#include "../unit.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pki.h"
#include "platform/file.h"
#include "platform/identity-candidate.h"
#include "platform/ossl.h"
#include "swtpm.h"

typedef struct Fixture {
        Lab *lab;
        Identity *id;
} Fixture;

static const char *file(const Fixture *f, const char *name)
{
        static char paths[4][200];
        static unsigned next;
        char *p = paths[next++ % 4];
        snprintf(p, sizeof(paths[0]), "%s/identity/%s", f->lab->state, name);
        return p;
}

static bool is_there(const Fixture *f, const char *name)
{
        return access(file(f, name), F_OK) == 0;
}

/* PEM of a certificate for `key` and, when `with_root`, the CA. */
static char *certificate(Fixture *f, EVP_PKEY *key, LabCertificate spec, bool with_root)
{
        _cleanup_(X509_freep) X509 *x = lab_certify(f->lab, key, &spec);
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *text;
        PEM_write_bio_X509(bio, x);
        if (with_root)
                PEM_write_bio_X509(bio, f->lab->ca);
        long len = BIO_get_mem_data(bio, &text);
        return strndup(text, (size_t)len);
}

static const LabCertificate good = { .is_ca = true, .from = -60, .to = 7200 };

static IdentityCandidate *candidate(Fixture *f)
{
        IdentityCandidate *c = NULL;
        Reason reason = { "" };
        _cleanup_free_ char *pem = certificate(f, identity_pkey(f->id), good, true);
        if (identity_candidate_new(f->id, bytes_from_str(pem), NULL, true, &c, &reason) < 0)
                fail_msg("%s", reason.text);
        return c;
}

static void refused(Fixture *f, const char *pem, const char *ca, const char *words)
{
        IdentityCandidate *c;
        Reason reason = { "" };
        assert_int_equal(identity_candidate_new(f->id, bytes_from_str(pem), ca, true, &c, &reason),
                         -EBADMSG);
        if (!strstr(reason.text, words))
                fail_msg("\"%s\", not \"%s\"", reason.text, words);
}

static void checks(void **state)
{
        Fixture *f = *state;
        EVP_PKEY *ours = identity_pkey(f->id);
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *other = EVP_EC_gen("P-256");
        const char *ca = lab_path(f->lab, "ca.pem"), *not_ca = lab_path(f->lab, "none.pem");
        FILE *out = fopen(ca, "we");
        PEM_write_X509(out, f->lab->ca);
        fclose(out);
        _cleanup_free_ char *foreign = certificate(f, other, good, true);
        refused(f, foreign, NULL, "is not for the key");
        _cleanup_free_ char *expired = certificate(
                f, ours, (LabCertificate){ .is_ca = true, .from = -60, .to = -10 }, true);
        refused(f, expired, NULL, "expired");
        _cleanup_free_ char *early = certificate(
                f, ours, (LabCertificate){ .is_ca = true, .from = 600, .to = 7200 }, true);
        refused(f, early, NULL, "not yet valid");
        _cleanup_free_ char *leaf =
                certificate(f, ours, (LabCertificate){ .from = -60, .to = 7200 }, true);
        refused(f, leaf, NULL, "not that of a CA");
        _cleanup_free_ char *bare = certificate(f, ours, good, false);
        refused(f, bare, NULL, "no self-signed CA");
        IdentityCandidate *c;
        Reason reason = { "" };
        assert_int_equal(
                identity_candidate_new(f->id, bytes_from_str(bare), not_ca, true, &c, &reason),
                -ENOENT);
        refused(f, "nothing", NULL, "holds no certificate");
        assert_int_equal(identity_candidate_new(f->id, bytes_from_str(bare), ca, true, &c, &reason),
                         0);
        identity_candidate_free(c);
        assert_int_equal(
                identity_candidate_new(f->id, bytes_from_str(leaf), ca, false, &c, &reason), 0);
        identity_candidate_free(c);
        assert_false(is_there(f, "candidate.crt"));
}

static usec_t in_force(Fixture *f)
{
        IdentityCertificate x;
        Reason reason;
        assert_int_equal(identity_certificate(f->id, &x, &reason), 0);
        return x.not_after;
}

/* As after a crash. */
static void open_again(Fixture *f)
{
        Reason reason = { "" };
        identity_free(f->id);
        if (identity_open(f->lab->tcti, f->lab->state, &f->id, &reason) < 0)
                fail_msg("%s", reason.text);
}

/* `n` authorities one below the other, the last of which certifies the identity; all in PEM. */
static char *long_chain(Fixture *f, int n)
{
        static char names[20][24];
        PkiCertificate all[20];
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *text;
        for (int i = 0; i < n; i++) {
                snprintf(names[i], sizeof(names[i]), "authority %d", i);
                all[i] = PKI(.name = names[i], .issuer = i > 0 ? &all[i - 1] : NULL, .ca = true,
                             .key_usage = "critical,keyCertSign", .valid = 7200);
        }
        all[n] = PKI(.name = "gw", .issuer = &all[n - 1], .key = identity_pkey(f->id), .ca = true,
                     .key_usage = "critical,keyCertSign", .valid = 7200);
        for (int i = n; i >= 0; i--)
                PEM_write_bio_X509(bio, all[i].x);
        long len = BIO_get_mem_data(bio, &text);
        char *pem = strndup(text, (size_t)len);
        pki_done();
        return pem;
}

/* What is taken into force is found to be good after a restart too. */
static void long_chains(void **state)
{
        Fixture *f = *state;
        Reason reason = { "" };
        IdentityCandidate *c;
        _cleanup_free_ char *longest = long_chain(f, 10), *too_long = long_chain(f, 11);
        refused(f, too_long, NULL, "is longer than");
        if (identity_candidate_new(f->id, bytes_from_str(longest), NULL, true, &c, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(identity_candidate_promote(c, &reason), 0);
        usec_t until = identity_candidate_not_after(c);
        identity_candidate_free(c);
        open_again(f);
        assert_int_equal(in_force(f), until);
        lab_enroll(f->lab, f->id, true);
}

static void promoted(void **state)
{
        Fixture *f = *state;
        Reason reason = { "" };
        IdentityCandidate *c = candidate(f);
        usec_t old = in_force(f);
        assert_int_equal(identity_candidate_save(c, &reason), 0);
        identity_candidate_free(c);
        open_again(f);
        assert_int_equal(in_force(f), old);
        assert_int_equal(identity_candidate_load(f->id, true, &c, &reason), 0);
        assert_true(identity_candidate_not_after(c) > old);
        Credential *credential;
        assert_int_equal(identity_candidate_credential(c, &credential, &reason), 0);
        assert_true(credential_in_tpm(credential));
        assert_int_equal(credential_not_after(credential), identity_candidate_not_after(c));
        credential_unref(credential);
        assert_int_equal(identity_candidate_promote(c, &reason), 0);
        assert_int_equal(in_force(f), identity_candidate_not_after(c));
        assert_false(is_there(f, "candidate.crt"));
        usec_t fresh = identity_candidate_not_after(c);
        identity_candidate_free(c);
        open_again(f);
        assert_int_equal(in_force(f), fresh);
        /* What a crash between the two steps leaves is no candidate. */
        uint8_t *text;
        size_t len;
        assert_int_equal(file_read(file(f, "identity.crt"), 65536, &text, &len), 0);
        assert_int_equal(file_write_atomic(file(f, "candidate.crt"), BYTES(text, len), 0600), 0);
        free(text);
        assert_int_equal(identity_candidate_load(f->id, true, &c, &reason), -ENOENT);
        assert_false(is_there(f, "candidate.crt"));
        lab_enroll(f->lab, f->id, true);
}

static void set_aside(void **state)
{
        Fixture *f = *state;
        Reason reason = { "" };
        IdentityCandidate *c = candidate(f);
        usec_t old = in_force(f);
        uint8_t *text;
        size_t len;
        assert_int_equal(identity_candidate_save(c, &reason), 0);
        assert_int_equal(identity_candidate_refuse(c, "unknown CA", &reason), 0);
        assert_false(is_there(f, "candidate.crt"));
        assert_int_equal(in_force(f), old);
        assert_int_equal(file_read(file(f, "refused.crt"), 65536, &text, &len), 0);
        assert_non_null(strstr((const char *)text, ": unknown CA\n-----BEGIN CERTIFICATE-----\n"));
        free(text);
        identity_candidate_free(c);
        assert_int_equal(identity_candidate_load(f->id, true, &c, &reason), -ENOENT);
}

/* "sallyportctl identity install" is another process. */
static void install_elsewhere(Fixture *f, LabCertificate spec)
{
        Reason reason = { "" };
        Identity *other;
        const char *path = lab_path(f->lab, "new.crt");
        _cleanup_free_ char *pem = certificate(f, identity_pkey(f->id), spec, true);
        assert_int_equal(file_write_atomic(path, bytes_from_str(pem), 0644), 0);
        identity_free(f->id); /* the software TPM serves one at a time: so the other way round */
        assert_int_equal(identity_open(f->lab->tcti, f->lab->state, &other, &reason), 0);
        uint8_t *before;
        size_t len;
        assert_int_equal(file_read(file(f, "identity.crt"), 65536, &before, &len), 0);
        if (identity_install_certificate(other, path, NULL, &reason) < 0)
                fail_msg("%s", reason.text);
        identity_free(other);
        uint8_t *after;
        size_t after_len;
        assert_int_equal(file_read(file(f, "identity.crt"), 65536, &after, &after_len), 0);
        assert_int_equal(file_write_atomic(file(f, "identity.crt"), BYTES(before, len), 0600), 0);
        assert_int_equal(identity_open(f->lab->tcti, f->lab->state, &f->id, &reason), 0);
        assert_int_equal(file_write_atomic(file(f, "identity.crt"), BYTES(after, after_len), 0600),
                         0);
        free(before);
        free(after);
}

static void adopted(void **state)
{
        Fixture *f = *state;
        Reason reason = { "" };
        IdentityCandidate *c;
        usec_t old = in_force(f);
        assert_int_equal(identity_candidate_adopt(f->id, true, &c, &reason), 0);
        install_elsewhere(f, good);
        assert_int_equal(in_force(f), old);
        assert_int_equal(identity_candidate_adopt(f->id, true, &c, &reason), 1);
        assert_true(is_there(f, "candidate.crt"));
        identity_candidate_free(c);
        assert_int_equal(identity_candidate_adopt(f->id, true, &c, &reason), 0);
        open_again(f);
        assert_int_equal(in_force(f), old);
        assert_int_equal(identity_candidate_load(f->id, true, &c, &reason), 0);
        assert_int_equal(identity_candidate_promote(c, &reason), 0);
        assert_int_equal(in_force(f), identity_candidate_not_after(c));
        identity_candidate_free(c);
        /* One that does not serve is put aside. */
        old = in_force(f);
        install_elsewhere(f, (LabCertificate){ .from = -60, .to = 9000 });
        assert_int_equal(identity_candidate_adopt(f->id, true, &c, &reason), -EBADMSG);
        assert_non_null(strstr(reason.text, "not that of a CA"));
        assert_false(is_there(f, "candidate.crt"));
        assert_true(is_there(f, "refused.crt"));
        open_again(f);
        assert_int_equal(in_force(f), old);
        assert_int_equal(unlink(file(f, "identity.crt")), 0);
        assert_int_equal(identity_candidate_adopt(f->id, true, &c, &reason), -ENOENT);
        /* And with none in force at all. */
        open_again(f);
        assert_int_equal(identity_candidate_adopt(f->id, true, &c, &reason), -ENOENT);
        assert_int_equal(identity_candidate_load(f->id, true, &c, &reason), -ENOENT);
}

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        Reason reason = { "" };
        void *lab;
        lab_setup(&lab);
        f->lab = lab;
        lab_create_identity(f->lab, true);
        if (identity_open(f->lab->tcti, f->lab->state, &f->id, &reason) < 0)
                fail_msg("%s", reason.text);
        lab_enroll(f->lab, f->id, true);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;
        void *lab = f->lab;
        identity_free(f->id);
        lab_teardown(&lab);
        free(f);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(checks),      cmocka_unit_test(promoted),
                cmocka_unit_test(long_chains), cmocka_unit_test(set_aside),
                cmocka_unit_test(adopted),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
