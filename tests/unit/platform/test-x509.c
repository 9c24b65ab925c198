/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/ec.h>
#include <stdio.h>

#include "platform/crypto.h"
#include "platform/ossl.h"
#include "platform/x509.h"

/* A certificate signed by its own key. Names are raw bytes, so that a test can be hostile. */
typedef struct Spec {
        Bytes cn[2];
        Bytes dns[10];
        size_t n_dns;
        Bytes uri;
} Spec;

static void add_alt_name(GENERAL_NAMES *names, int type, Bytes value)
{
        ASN1_IA5STRING *s = ASN1_IA5STRING_new();
        assert_int_equal(ASN1_STRING_set(s, value.data, (int)value.len), 1);
        GENERAL_NAME *n = GENERAL_NAME_new();
        GENERAL_NAME_set0_value(n, type, s);
        sk_GENERAL_NAME_push(names, n);
}

static X509 *make(const Spec *spec)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *x = X509_new();
        X509_set_version(x, X509_VERSION_3);
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), 0xabcdef0123);
        X509_set_pubkey(x, key);
        ASN1_TIME_set(X509_getm_notBefore(x), 1700000000);
        ASN1_TIME_set(X509_getm_notAfter(x), 1800000000);
        X509_NAME *subject = X509_get_subject_name(x);
        for (size_t i = 0; i < 2; i++)
                if (spec->cn[i].data)
                        assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                                                    spec->cn[i].data,
                                                                    (int)spec->cn[i].len, -1, 0),
                                         1);
        X509_NAME *issuer = X509_get_issuer_name(x);
        X509_NAME_add_entry_by_txt(issuer, "CN", MBSTRING_UTF8, (const uint8_t *)"CA\n, one", -1,
                                   -1, 0);
        _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
        for (size_t i = 0; i < spec->n_dns; i++)
                add_alt_name(names, GEN_DNS, spec->dns[i]);
        if (spec->uri.data)
                add_alt_name(names, GEN_URI, spec->uri);
        if (sk_GENERAL_NAME_num(names) > 0)
                assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
        assert_true(X509_sign(x, key, EVP_sha256()) > 0);
        return x;
}

static int read_spec(const Spec *spec, PeerCertificate *ret)
{
        _cleanup_(X509_freep) X509 *x = make(spec);
        return peer_certificate_read(x, ret);
}

static void test_facts(void **state)
{
        Spec spec = { .cn = { BYTES_LITERAL("meter-7") },
                      .dns = { BYTES_LITERAL("meter-7.example") },
                      .n_dns = 1,
                      .uri = BYTES_LITERAL("urn:dev:ow:10e2073a01080063") };
        PeerCertificate c;
        _cleanup_(X509_freep) X509 *x = make(&spec);
        assert_int_equal(peer_certificate_read(x, &c), 0);
        assert_string_equal(c.common_name, "meter-7");
        assert_int_equal(c.n_names, 2);
        assert_string_equal(c.names[0], "meter-7.example");
        assert_string_equal(c.names[1], "urn:dev:ow:10e2073a01080063");
        assert_string_equal(c.serial, "abcdef0123");
        assert_string_equal(c.issuer, "CN=CA\\0A\\, one");
        assert_int_equal(c.not_before, 1700000000 * USEC_PER_SEC);
        assert_int_equal(c.not_after, 1800000000 * USEC_PER_SEC);
        uint8_t spki[512], *p = spki, pin[CRYPTO_SHA256_SIZE];
        int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &p);
        assert_int_equal(crypto_sha256(BYTES(spki, (size_t)len), pin), 0);
        assert_memory_equal(c.spki_sha256, pin, sizeof(pin));
}

static void test_no_names(void **state)
{
        PeerCertificate c;
        assert_int_equal(read_spec(&(Spec){ 0 }, &c), 0);
        assert_string_equal(c.common_name, "");
        assert_int_equal(c.n_names, 0);
}

static void test_nul_bytes(void **state)
{
        PeerCertificate c = { .serial = "untouched" };
        Spec cn = { .cn = { BYTES_LITERAL("meter-7\0.evil") } };
        Spec dns = { .dns = { BYTES_LITERAL("meter-7\0.evil") }, .n_dns = 1 };
        Spec uri = { .uri = BYTES_LITERAL("urn:x\0") };
        assert_int_equal(read_spec(&cn, &c), -EBADMSG);
        assert_int_equal(read_spec(&dns, &c), -EBADMSG);
        assert_int_equal(read_spec(&uri, &c), -EBADMSG);
        assert_string_equal(c.serial, "untouched");
}

static void test_two_common_names(void **state)
{
        PeerCertificate c;
        Spec spec = { .cn = { BYTES_LITERAL("meter-7"), BYTES_LITERAL("meter-8") } };
        assert_int_equal(read_spec(&spec, &c), -EBADMSG);
}

static void test_too_much(void **state)
{
        PeerCertificate c;
        Spec spec = { .n_dns = PEER_NAMES_MAX };
        for (size_t i = 0; i < ELEMENTSOF(spec.dns); i++)
                spec.dns[i] = BYTES_LITERAL("a.example");
        assert_int_equal(read_spec(&spec, &c), 0);
        assert_int_equal(c.n_names, PEER_NAMES_MAX);
        spec.n_dns++;
        assert_int_equal(read_spec(&spec, &c), -EBADMSG);

        uint8_t name[PEER_NAME_MAX + 1];
        memset(name, 'a', sizeof(name));
        spec = (Spec){ .dns = { BYTES(name, PEER_NAME_MAX) }, .n_dns = 1 };
        assert_int_equal(read_spec(&spec, &c), 0);
        spec.dns[0].len++;
        assert_int_equal(read_spec(&spec, &c), -EBADMSG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_facts),     cmocka_unit_test(test_no_names),
                cmocka_unit_test(test_nul_bytes), cmocka_unit_test(test_two_common_names),
                cmocka_unit_test(test_too_much),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
