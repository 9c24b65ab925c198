/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pki.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define THINGS_MAX 64

static PkiCertificate certificates[THINGS_MAX];
static size_t n_certificates;
static X509_CRL *lists[THINGS_MAX];
static size_t n_lists;
static char paths[THINGS_MAX][96];
static size_t n_paths;
static char directory[64];

static void add_extension(X509 *x, const X509 *issuer, int nid, const char *value)
{
        X509V3_CTX ctx;
        X509V3_set_ctx(&ctx, (X509 *)issuer, x, NULL, NULL, 0);
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        assert_non_null(e);
        assert_int_equal(X509_add_ext(x, e, -1), 1);
        X509_EXTENSION_free(e);
}

PkiCertificate pki_make(const PkiSpec *s)
{
        PkiCertificate c = { .key = s->key ? s->key : EVP_EC_gen("P-256"), .x = X509_new() };
        if (s->key)
                EVP_PKEY_up_ref(s->key);
        X509 *x = c.x;
        assert_true(n_certificates < THINGS_MAX && c.key && x);
        X509_set_version(x, X509_VERSION_3);
        ASN1_INTEGER_set_int64(X509_get_serialNumber(x), s->serial ? s->serial : 1);
        X509_set_pubkey(x, c.key);
        X509_gmtime_adj(X509_getm_notBefore(x), -60 + MIN(s->valid, 0L));
        X509_gmtime_adj(X509_getm_notAfter(x), s->valid ? s->valid : 3600);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN",
                                   s->name_type ? s->name_type : MBSTRING_UTF8,
                                   (const uint8_t *)s->name, -1, -1, 0);
        X509_set_issuer_name(x, X509_get_subject_name(s->issuer ? s->issuer->x : x));
        add_extension(x, s->issuer ? s->issuer->x : x, NID_basic_constraints,
                      s->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
        if (s->key_usage)
                add_extension(x, x, NID_key_usage, s->key_usage);
        assert_true(X509_sign(x, s->issuer ? s->issuer->key : c.key, EVP_sha256()) > 0);
        certificates[n_certificates++] = c;
        return c;
}

static void add_entry(X509_CRL *crl, const PkiList *l, long serial)
{
        X509_REVOKED *entry = X509_REVOKED_new();
        ASN1_INTEGER *number = ASN1_INTEGER_new();
        ASN1_TIME *when = ASN1_TIME_set(NULL, time(NULL) - 60);
        ASN1_INTEGER_set_int64(number, serial);
        X509_REVOKED_set_serialNumber(entry, number);
        X509_REVOKED_set_revocationDate(entry, when);
        if (l->entry_extension) {
                X509_EXTENSION *e =
                        X509V3_EXT_conf_nid(NULL, NULL, l->entry_extension, l->entry_value);
                assert_non_null(e);
                assert_int_equal(X509_REVOKED_add_ext(entry, e, -1), 1);
                X509_EXTENSION_free(e);
        }
        assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
        ASN1_INTEGER_free(number);
        ASN1_TIME_free(when);
}

X509_CRL *pki_list(const PkiList *l)
{
        X509_CRL *crl = X509_CRL_new();
        bool by_default = l->from == 0 && l->to == 0;
        ASN1_TIME *from = ASN1_TIME_set(NULL, time(NULL) + (by_default ? -3600 : l->from));
        ASN1_TIME *to = ASN1_TIME_set(NULL, time(NULL) + (by_default ? 3600 : l->to));
        assert_true(n_lists < THINGS_MAX && crl);
        X509_CRL_set_version(crl, X509_CRL_VERSION_2);
        X509_CRL_set_issuer_name(crl, l->issuer ? l->issuer : X509_get_subject_name(l->signer->x));
        X509_CRL_set1_lastUpdate(crl, from);
        X509_CRL_set1_nextUpdate(crl, to);
        for (size_t i = 0; i < l->n; i++)
                add_entry(crl, l, l->serials[i]);
        if (l->extension) {
                X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, l->extension, l->value);
                assert_non_null(e);
                assert_int_equal(X509_CRL_add_ext(crl, e, -1), 1);
                X509_EXTENSION_free(e);
        }
        assert_true(X509_CRL_sign(crl, l->signer->key, l->digest ? l->digest : EVP_sha256()) > 0);
        ASN1_TIME_free(from);
        ASN1_TIME_free(to);
        return lists[n_lists++] = crl;
}

const char *pki_directory(void)
{
        if (!*directory) {
                strcpy(directory, "/tmp/test-pki.XXXXXX");
                assert_non_null(mkdtemp(directory));
        }
        return directory;
}

const char *pki_path(const char *name)
{
        assert_true(n_paths < THINGS_MAX);
        char *path = paths[n_paths++];
        snprintf(path, sizeof(paths[0]), "%s/%s", pki_directory(), name);
        return path;
}

const char *pki_write_bundle(const char *name, const PkiCertificate *const *all)
{
        const char *path = pki_path(name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (; *all; all++)
                assert_int_equal(PEM_write_X509(f, (*all)->x), 1);
        fclose(f);
        return path;
}

const char *pki_write_list(const char *name, X509_CRL *crl, bool der)
{
        const char *path = pki_path(name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(der ? i2d_X509_CRL_fp(f, crl) : PEM_write_X509_CRL(f, crl), 1);
        fclose(f);
        return path;
}

const char *pki_write_lists(const char *name, X509_CRL *const *all)
{
        const char *path = pki_path(name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (; *all; all++)
                assert_int_equal(PEM_write_X509_CRL(f, *all), 1);
        fclose(f);
        return path;
}

Trust *pki_trust(const PkiCertificate *authority, X509_CRL *crl)
{
        Reason reason = { "" };
        Trust *t = NULL;
        const char *list = crl ? pki_write_list("crl.pem", crl, false) : NULL;
        const TrustFiles files = { .authorities = PKI_BUNDLE("bundle.pem", authority),
                                   .lists = &list,
                                   .n_lists = !!list };
        if (trust_new(&files, &reason, &t) < 0)
                fail_msg("%s", reason.text);
        return t;
}

void pki_done(void)
{
        for (size_t i = 0; i < n_certificates; i++) {
                EVP_PKEY_free(certificates[i].key);
                X509_free(certificates[i].x);
        }
        for (size_t i = 0; i < n_lists; i++)
                X509_CRL_free(lists[i]);
        for (size_t i = 0; i < n_paths; i++)
                unlink(paths[i]);
        if (*directory)
                rmdir(directory);
        n_certificates = n_lists = n_paths = 0;
        *directory = '\0';
}
