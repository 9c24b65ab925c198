/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/p256.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "platform/crypto.h"
#include "platform/ossl.h"

#define NUMBER_SIZE 32

struct evp_pkey_st *p256_from_point(const uint8_t point[static P256_POINT_SIZE])
{
        uint8_t copy[P256_POINT_SIZE];
        memcpy(copy, point, sizeof(copy));
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"prime256v1",
                                                 0),
                OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof(copy)),
                OSSL_PARAM_construct_end(),
        };
        EVP_PKEY *key = NULL;
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx =
                EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
        if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
            EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
                ERR_clear_error();
        return key;
}

int p256_to_point(const struct evp_pkey_st *key, uint8_t ret[static P256_POINT_SIZE])
{
        char group[32];
        _cleanup_(BN_freep) BIGNUM *x = NULL, *y = NULL;
        if (!EVP_PKEY_is_a(key, "EC") ||
            EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
            strcmp(group, "prime256v1") != 0 ||
            EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) != 1 ||
            EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) != 1) {
                ERR_clear_error();
                return -EBADMSG;
        }
        uint8_t point[P256_POINT_SIZE] = { 0x04 };
        if (BN_bn2binpad(x, point + 1, NUMBER_SIZE) < 0 ||
            BN_bn2binpad(y, point + 1 + NUMBER_SIZE, NUMBER_SIZE) < 0)
                return -EBADMSG;
        memcpy(ret, point, sizeof(point));
        return 0;
}

char *p256_point_to_pem(const uint8_t point[static P256_POINT_SIZE])
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = p256_from_point(point);
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        if (!key || !bio || PEM_write_bio_PUBKEY(bio, key) != 1) {
                ERR_clear_error();
                return NULL;
        }
        char *text;
        long len = BIO_get_mem_data(bio, &text);
        return strndup(text, (size_t)len);
}

int p256_point_from_pem(const char *pem, uint8_t ret[static P256_POINT_SIZE])
{
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem, -1);
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key =
                bio ? PEM_read_bio_PUBKEY(bio, NULL, ossl_no_pass_phrase, NULL) : NULL;
        if (!key && bio) {
                (void)BIO_reset(bio);
                _cleanup_(X509_freep) X509 *x =
                        PEM_read_bio_X509(bio, NULL, ossl_no_pass_phrase, NULL);
                key = x ? X509_get_pubkey(x) : NULL;
        }
        ERR_clear_error();
        return key ? p256_to_point(key, ret) : -EBADMSG;
}

int p256_signature_from_der(Bytes der, uint8_t ret[static P256_SIGNATURE_SIZE])
{
        const uint8_t *p = der.data;
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der.len);
        uint8_t raw[P256_SIGNATURE_SIZE];
        if (!sig || p != der.data + der.len ||
            BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, NUMBER_SIZE) < 0 ||
            BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + NUMBER_SIZE, NUMBER_SIZE) < 0) {
                ERR_clear_error();
                return -EBADMSG;
        }
        memcpy(ret, raw, sizeof(raw));
        return 0;
}

int p256_signature_to_der(const uint8_t signature[static P256_SIGNATURE_SIZE],
                          uint8_t ret[static P256_DER_MAX], size_t *ret_len)
{
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *sig = ECDSA_SIG_new();
        BIGNUM *r = BN_bin2bn(signature, NUMBER_SIZE, NULL);
        BIGNUM *s = BN_bin2bn(signature + NUMBER_SIZE, NUMBER_SIZE, NULL);
        if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
                BN_free(r);
                BN_free(s);
                return -ENOMEM;
        }
        int len = i2d_ECDSA_SIG(sig, &ret);
        if (len <= 0)
                return -EIO;
        *ret_len = (size_t)len;
        return 0;
}

int p256_spki_sha256(const uint8_t point[static P256_POINT_SIZE], uint8_t ret[static 32])
{
        _cleanup_openssl_ uint8_t *der = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = p256_from_point(point);
        int len = key ? i2d_PUBKEY(key, &der) : -1;
        return len <= 0 ? -EIO : crypto_sha256(BYTES(der, (size_t)len), ret);
}
