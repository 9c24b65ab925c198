/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "platform/crypto.h"
#include "platform/file.h"
#include "platform/ossl.h"

static void test_sha256(void **state)
{
        /* FIPS 180-4, the example "abc", and the empty message. */
        static const uint8_t abc[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                       0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                       0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                       0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
        uint8_t digest[CRYPTO_SHA256_SIZE];
        assert_int_equal(crypto_sha256(BYTES_LITERAL("abc"), digest), 0);
        assert_memory_equal(digest, abc, sizeof(abc));
        assert_int_equal(crypto_sha256(BYTES(NULL, 0), digest), 0);
        assert_int_equal(digest[0], 0xe3);
}

static void test_random(void **state)
{
        uint8_t a[32] = { 0 }, b[32] = { 0 };
        assert_int_equal(crypto_random(a, sizeof(a)), 0);
        assert_int_equal(crypto_random(b, sizeof(b)), 0);
        assert_memory_not_equal(a, b, sizeof(a));
}

typedef struct Kind {
        const char *type, *group;
        int alg;
        size_t number;
        const EVP_MD *(*digest)(void);
} Kind;

static const Kind kinds[] = {
        { "EC", "P-256", -7, 32, EVP_sha256 },
        { "EC", "P-384", -35, 48, EVP_sha384 },
        { "EC", "P-521", -36, 66, EVP_sha512 },
        { "ED25519", NULL, -8, 32, NULL },
};

static EVP_PKEY *generate(const Kind *k)
{
        EVP_PKEY *pkey = k->group ? EVP_EC_gen(k->group) : EVP_PKEY_Q_keygen(NULL, NULL, k->type);
        assert_non_null(pkey);
        return pkey;
}

/* What a COSE signer would put on the wire. */
static size_t sign_cose(EVP_PKEY *pkey, const Kind *k, Bytes message, uint8_t ret[static 132])
{
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        uint8_t der[160];
        size_t len = sizeof(der);
        assert_int_equal(EVP_DigestSignInit(ctx, NULL, k->digest ? k->digest() : NULL, NULL, pkey),
                         1);
        assert_int_equal(EVP_DigestSign(ctx, der, &len, message.data, message.len), 1);
        if (!k->group) {
                memcpy(ret, der, len);
                return len;
        }
        const uint8_t *p = der;
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)len);
        assert_non_null(sig);
        assert_true(BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret, (int)k->number) > 0);
        assert_true(BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret + k->number, (int)k->number) > 0);
        return 2 * k->number;
}

static PublicKey *public_of(EVP_PKEY *pkey)
{
        _cleanup_openssl_ uint8_t *der = NULL;
        int len = i2d_PUBKEY(pkey, &der);
        assert_true(len > 0);
        PublicKey *k = NULL;
        assert_int_equal(public_key_from_spki(BYTES(der, (size_t)len), &k), 0);
        return k;
}

static void verify_kind(const Kind *kind)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = generate(kind);
        _cleanup_(public_key_unrefp) PublicKey *k = public_of(pkey);
        Bytes message = BYTES_LITERAL("what was said");
        uint8_t sig[133] = { 0 };
        size_t len = sign_cose(pkey, kind, message, sig);
        assert_int_equal(public_key_verify_cose(k, kind->alg, message, BYTES(sig, len)), 1);
        assert_int_equal(
                public_key_verify_cose(k, kind->alg, BYTES_LITERAL("other"), BYTES(sig, len)), 0);
        assert_int_equal(public_key_verify_cose(k, kind->alg, message, BYTES(sig, len - 1)), 0);
        assert_int_equal(public_key_verify_cose(k, kind->alg, message, BYTES(sig, len + 1)), 0);
        assert_int_equal(public_key_verify_cose(k, kind->alg, message, BYTES(NULL, 0)), 0);
        for (int alg = -40; alg < 10; alg++)
                if (alg != kind->alg)
                        assert_int_equal(public_key_verify_cose(k, alg, message, BYTES(sig, len)),
                                         0);
        for (size_t i = 0; i < len; i++) {
                sig[i] ^= 1;
                assert_int_equal(public_key_verify_cose(k, kind->alg, message, BYTES(sig, len)), 0);
                sig[i] ^= 1;
        }
        /* r = s = 0 and r = s = all ones are out of range. */
        memset(sig, 0, len);
        assert_int_equal(public_key_verify_cose(k, kind->alg, message, BYTES(sig, len)), 0);
        memset(sig, 0xff, len);
        assert_int_equal(public_key_verify_cose(k, kind->alg, message, BYTES(sig, len)), 0);
}

static void test_verify(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                verify_kind(&kinds[i]);
}

static void test_unsupported_keys(void **state)
{
        PublicKey *k = NULL;
        static const Kind others[] = { { .type = "EC", .group = "secp256k1" },
                                       { .type = "X25519" } };
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                _cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = generate(&others[i]);
                _cleanup_openssl_ uint8_t *der = NULL;
                int len = i2d_PUBKEY(pkey, &der);
                assert_int_equal(public_key_from_spki(BYTES(der, (size_t)len), &k), -EBADMSG);
        }
        assert_null(k);
}

/* P-256 spelled out parameter by parameter: the way to smuggle in a curve of one's own. */
static void test_explicit_parameters(void **state)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = EVP_EC_gen("P-256");
        assert_int_equal(EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING,
                                                        OSSL_PKEY_EC_ENCODING_EXPLICIT),
                         1);
        _cleanup_openssl_ uint8_t *der = NULL;
        int len = i2d_PUBKEY(pkey, &der);
        assert_true(len > 200);
        PublicKey *k = NULL;
        assert_int_equal(public_key_from_spki(BYTES(der, (size_t)len), &k), -EBADMSG);
}

static void test_spki_exact(void **state)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = generate(&kinds[0]);
        uint8_t der[200] = { 0 }, *p = der;
        size_t len = (size_t)i2d_PUBKEY(pkey, &p);
        PublicKey *k = NULL;
        assert_int_equal(public_key_from_spki(BYTES(der, len + 1), &k), -EBADMSG);
        for (size_t i = 0; i < len; i++)
                assert_int_equal(public_key_from_spki(BYTES(der, i), &k), -EBADMSG);
        assert_int_equal(public_key_from_spki(BYTES(der, len), &k), 0);
        uint8_t pin[CRYPTO_SHA256_SIZE], expected[CRYPTO_SHA256_SIZE];
        assert_int_equal(public_key_spki_sha256(k, pin), 0);
        assert_int_equal(crypto_sha256(BYTES(der, len), expected), 0);
        assert_memory_equal(pin, expected, sizeof(pin));
        public_key_unref(k);
}

/* Writes `pkey` as PEM to a new file: the public key `copies` times, or the private key. */
static void write_pem(char *path, EVP_PKEY *pkey, int copies)
{
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        FILE *f = fdopen(fd, "w");
        for (int i = 0; i < copies; i++)
                assert_int_equal(PEM_write_PUBKEY(f, pkey), 1);
        if (copies == 0)
                assert_int_equal(PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL), 1);
        fclose(f);
}

static int load_pem(EVP_PKEY *pkey, int copies)
{
        char path[] = "/tmp/sallyport-test-crypto.XXXXXX";
        write_pem(path, pkey, copies);
        _cleanup_(public_key_unrefp) PublicKey *k = NULL;
        int r = public_key_load(path, &k);
        unlink(path);
        return r;
}

static void test_load(void **state)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = generate(&kinds[0]);
        PublicKey *k = NULL;
        assert_int_equal(load_pem(pkey, 1), 0);
        assert_int_equal(load_pem(pkey, 2), -EBADMSG);
        assert_int_equal(load_pem(pkey, 0), -EBADMSG);
        assert_int_equal(public_key_load("/nonexistent/key.pem", &k), -ENOENT);
        assert_int_equal(public_key_load("/dev/null", &k), -EBADMSG);
        assert_int_equal(public_key_load("/dev/zero", &k), -EFBIG);
}

static void test_file_atomic(void **state)
{
        char dir[] = "/tmp/sallyport-test-file.XXXXXX", path[64];
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/x", dir);
        assert_int_equal(file_write_atomic(path, BYTES_LITERAL("one"), 0600), 0);
        assert_int_equal(file_write_atomic(path, BYTES_LITERAL("two!"), 0600), 0);
        _cleanup_free_ uint8_t *data = NULL;
        size_t len;
        assert_int_equal(file_read(path, 3, &data, &len), -EFBIG);
        assert_int_equal(file_read(path, 4, &data, &len), 0);
        assert_string_equal((char *)data, "two!");
        assert_int_equal(file_write_atomic("/nonexistent/x", BYTES_LITERAL("a"), 0600), -ENOENT);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(dir), 0); /* nothing else was left in there */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sha256),
                cmocka_unit_test(test_random),
                cmocka_unit_test(test_verify),
                cmocka_unit_test(test_unsupported_keys),
                cmocka_unit_test(test_explicit_parameters),
                cmocka_unit_test(test_spki_exact),
                cmocka_unit_test(test_load),
                cmocka_unit_test(test_file_atomic),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
