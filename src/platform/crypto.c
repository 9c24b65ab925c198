/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/crypto.h"

#include <errno.h>
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "platform/file.h"
#include "platform/ossl.h"

#define KEY_FILE_MAX ((size_t)64 * 1024)

typedef struct KeyKind {
        const char *type;  /* libcrypto's name of the key type */
        const char *group; /* and of the curve, for EC */
        int alg;           /* COSE */
        size_t number;     /* bytes of r and of s; half a signature */
} KeyKind;

static const KeyKind key_kinds[] = {
        { "EC", "prime256v1", -7, 32 },
        { "EC", "secp384r1", -35, 48 },
        { "EC", "secp521r1", -36, 66 },
        { "ED25519", NULL, -8, 32 },
};

struct PublicKey {
        unsigned refs;
        EVP_PKEY *pkey;
        const KeyKind *kind;
        uint8_t spki_sha256[CRYPTO_SHA256_SIZE];
};

int crypto_sha256(Bytes data, uint8_t ret[static CRYPTO_SHA256_SIZE])
{
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        if (EVP_Digest(data.len > 0 ? data.data : (const uint8_t *)"", data.len, digest, &len,
                       EVP_sha256(), NULL) != 1 ||
            len != CRYPTO_SHA256_SIZE)
                return -EIO;
        memcpy(ret, digest, CRYPTO_SHA256_SIZE);
        return 0;
}

int crypto_random(void *p, size_t len)
{
        if (len > INT_MAX)
                return -EIO;
        return RAND_bytes(p, (int)len) == 1 ? 0 : -EIO;
}

uint32_t crypto_jitter(void)
{
        uint32_t v;
        return crypto_random(&v, sizeof(v)) < 0 ? UINT32_MAX / 2 : v;
}

int crypto_hkdf(Bytes secret, const char *label, uint8_t ret[static CRYPTO_SHA256_SIZE])
{
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx =
                EVP_PKEY_CTX_new_from_name(NULL, "HKDF", NULL);
        size_t len = CRYPTO_SHA256_SIZE;
        bool good =
                ctx && EVP_PKEY_derive_init(ctx) == 1 &&
                EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()) == 1 &&
                EVP_PKEY_CTX_set1_hkdf_key(ctx, secret.data, (int)secret.len) == 1 &&
                EVP_PKEY_CTX_add1_hkdf_info(ctx, (const uint8_t *)label, (int)strlen(label)) == 1 &&
                EVP_PKEY_derive(ctx, ret, &len) == 1 && len == CRYPTO_SHA256_SIZE;
        ERR_clear_error();
        return good ? 0 : -EIO;
}

int crypto_hmac(const uint8_t key[static CRYPTO_SHA256_SIZE], Bytes message,
                uint8_t ret[static CRYPTO_SHA256_SIZE])
{
        unsigned len = 0;
        if (!HMAC(EVP_sha256(), key, CRYPTO_SHA256_SIZE, message.data, message.len, ret, &len) ||
            len != CRYPTO_SHA256_SIZE)
                return -EIO;
        return 0;
}

bool crypto_same(const uint8_t *a, const uint8_t *b, size_t len)
{
        return CRYPTO_memcmp(a, b, len) == 0;
}

char *crypto_pem(const char *label, Bytes der)
{
        char *text = NULL;
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        if (!bio || PEM_write_bio(bio, label, "", der.data, (long)der.len) <= 0)
                return NULL;
        long len = BIO_get_mem_data(bio, &text);
        return strndup(text, (size_t)len);
}

/* NULL for a key that is not supported. Explicit curve parameters are not, even when they spell
 * out a curve that is. */
static const KeyKind *key_kind(const EVP_PKEY *pkey)
{
        char group[64] = "";
        int explicit_parameters = 0;
        if (EVP_PKEY_is_a(pkey, "EC")) {
                if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) != 1 ||
                    EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                                           &explicit_parameters) != 1 ||
                    explicit_parameters != 0)
                        return NULL;
        }
        for (size_t i = 0; i < ELEMENTSOF(key_kinds); i++) {
                const KeyKind *k = &key_kinds[i];
                if (EVP_PKEY_is_a(pkey, k->type) && (!k->group || strcmp(k->group, group) == 0))
                        return k;
        }
        return NULL;
}

/* Takes `pkey` over, also when it fails. */
static int public_key_from_pkey(EVP_PKEY *pkey, PublicKey **ret)
{
        _cleanup_(public_key_unrefp) PublicKey *k = calloc(1, sizeof(*k));
        if (!k) {
                EVP_PKEY_free(pkey);
                return -ENOMEM;
        }
        *k = (PublicKey){ .refs = 1, .pkey = pkey, .kind = pkey ? key_kind(pkey) : NULL };
        if (!k->kind)
                return -EBADMSG;
        _cleanup_openssl_ uint8_t *der = NULL;
        int len = i2d_PUBKEY(pkey, &der);
        if (len <= 0)
                return -EBADMSG;
        int r = crypto_sha256(BYTES(der, (size_t)len), k->spki_sha256);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(k);
        return 0;
}

/* The one way in for DER, so that a PEM file is judged like what comes over the wire. */
int public_key_from_spki(Bytes der, PublicKey **ret)
{
        if (der.len == 0 || der.len > KEY_FILE_MAX)
                return -EBADMSG;
        const uint8_t *p = der.data;
        EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)der.len);
        ERR_clear_error();
        if (pkey && p != der.data + der.len) {
                EVP_PKEY_free(pkey);
                return -EBADMSG;
        }
        return public_key_from_pkey(pkey, ret);
}

static int public_key_from_certificate(Bytes der, PublicKey **ret)
{
        const uint8_t *p = der.data;
        _cleanup_(X509_freep) X509 *x = d2i_X509(NULL, &p, (long)der.len);
        EVP_PKEY *pkey = x && p == der.data + der.len ? X509_get_pubkey(x) : NULL;
        ERR_clear_error();
        return public_key_from_pkey(pkey, ret);
}

static int public_key_from_pem(Bytes pem, PublicKey **ret)
{
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
        if (!bio)
                return -ENOMEM;
        _cleanup_openssl_ char *name = NULL, *header = NULL;
        _cleanup_openssl_ uint8_t *der = NULL;
        long len;
        if (PEM_read_bio(bio, &name, &header, &der, &len) != 1) {
                ERR_clear_error();
                return -EBADMSG;
        }
        _cleanup_openssl_ char *name2 = NULL, *header2 = NULL;
        _cleanup_openssl_ uint8_t *der2 = NULL;
        long len2;
        int more = PEM_read_bio(bio, &name2, &header2, &der2, &len2);
        ERR_clear_error();
        if (more == 1)
                return -EBADMSG; /* which of them was meant? */
        if (strcmp(name, PEM_STRING_PUBLIC) == 0)
                return public_key_from_spki(BYTES(der, (size_t)len), ret);
        if (strcmp(name, PEM_STRING_X509) == 0)
                return public_key_from_certificate(BYTES(der, (size_t)len), ret);
        return -EBADMSG;
}

int public_key_load(const char *path, PublicKey **ret)
{
        _cleanup_free_ uint8_t *data = NULL;
        size_t len;
        int r = file_read(path, KEY_FILE_MAX, &data, &len);
        if (r < 0)
                return r;
        return public_key_from_pem(BYTES(data, len), ret);
}

PublicKey *public_key_ref(PublicKey *k)
{
        if (k)
                k->refs++;
        return k;
}

PublicKey *public_key_unref(PublicKey *k)
{
        if (!k || --k->refs > 0)
                return NULL;
        EVP_PKEY_free(k->pkey);
        free(k);
        return NULL;
}

int public_key_alg(const PublicKey *k)
{
        return k->kind->alg;
}

int public_key_spki_sha256(const PublicKey *k, uint8_t ret[static CRYPTO_SHA256_SIZE])
{
        memcpy(ret, k->spki_sha256, CRYPTO_SHA256_SIZE);
        return 0;
}

/* r || s, each `number` bytes, to the DER form that libcrypto verifies. */
static int ecdsa_to_der(Bytes raw, size_t number, uint8_t **ret, size_t *ret_len)
{
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *sig = ECDSA_SIG_new();
        BIGNUM *r = BN_bin2bn(raw.data, (int)number, NULL);
        BIGNUM *s = BN_bin2bn(raw.data + number, (int)number, NULL);
        if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
                BN_free(r);
                BN_free(s);
                return -ENOMEM;
        }
        int len = i2d_ECDSA_SIG(sig, ret);
        if (len <= 0)
                return -EIO;
        *ret_len = (size_t)len;
        return 0;
}

static const EVP_MD *alg_digest(int alg)
{
        switch (alg) {
        case -7:
                return EVP_sha256();
        case -35:
                return EVP_sha384();
        case -36:
                return EVP_sha512();
        default:
                return NULL; /* Ed25519 hashes by itself */
        }
}

static int verify(const PublicKey *k, Bytes message, Bytes signature)
{
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        if (!ctx)
                return -ENOMEM;
        if (EVP_DigestVerifyInit(ctx, NULL, alg_digest(k->kind->alg), NULL, k->pkey) != 1) {
                ERR_clear_error();
                return -EIO;
        }
        /* Anything but 1 comes from the bytes: a number out of range, a point off the curve. */
        int r = EVP_DigestVerify(ctx, signature.data, signature.len, message.data, message.len);
        ERR_clear_error();
        return r == 1;
}

int public_key_verify_cose(const PublicKey *k, int alg, Bytes message, Bytes signature)
{
        if (alg != k->kind->alg || signature.len != 2 * k->kind->number)
                return 0;
        if (message.len == 0)
                message.data = (const uint8_t *)"";
        if (!k->kind->group)
                return verify(k, message, signature);
        _cleanup_openssl_ uint8_t *der = NULL;
        size_t len;
        int r = ecdsa_to_der(signature, k->kind->number, &der, &len);
        if (r < 0)
                return r;
        return verify(k, message, BYTES(der, len));
}
