/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/operator-key.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "platform/file.h"
#include "platform/operator-pkcs11.h"
#include "platform/ossl.h"
#include "platform/terminal.h"

/* A file whose content is wiped. */
typedef struct Secret {
        uint8_t *data;
        size_t len;
} Secret;

static void secret_done(Secret *s)
{
        if (s->data)
                explicit_bzero(s->data, s->len);
        free(s->data);
}

/* Read once: it may be a pipe. */
static int read_pem(const char *path, Secret *ret, Reason *reason)
{
        int r = file_read(path, OPERATOR_KEY_MAX, &ret->data, &ret->len);
        return r < 0 ? reason_set(reason, r, "Cannot open %s: %s", path, strerror(-r)) : 0;
}

typedef struct PassPhrase {
        const char *path;
        bool asked;
        int error; /* negative: there is none */
} PassPhrase;

/* libcrypto's own question goes to standard input where there is no terminal, and waits there. It
 * tries a key in several ways and would ask in each. */
static int ask_pass_phrase(char *buf, int size, int for_writing, void *userdata)
{
        PassPhrase *p = userdata;
        char question[256];
        if (p->error < 0)
                return -1;
        snprintf(question, sizeof(question), "Pass phrase of %s: ", p->path);
        p->asked = true;
        p->error = terminal_ask_secret(question, buf, (size_t)size);
        return p->error < 0 ? -1 : (int)strlen(buf);
}

static int no_private_key(const PassPhrase *p, Reason *reason)
{
        if (p->error == -ENOTTY)
                return reason_set(reason, p->error,
                                  "%s is encrypted, and there is no terminal to ask for its pass "
                                  "phrase",
                                  p->path);
        if (p->error < 0)
                return reason_set(reason, p->error, "No pass phrase was given for %s", p->path);
        if (p->asked)
                return reason_set(reason, -EBADMSG, "This is not the pass phrase of %s", p->path);
        return reason_set(reason, -EBADMSG, "%s holds no private key", p->path);
}

static int parse_private(const char *path, const Secret *pem, EVP_PKEY **ret, Reason *reason)
{
        PassPhrase phrase = { .path = path };
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
        EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, ask_pass_phrase, &phrase) : NULL;
        ERR_clear_error();
        if (!key)
                return no_private_key(&phrase, reason);
        *ret = key;
        return 0;
}

static int load_pem(const char *path, uint8_t ret[static P256_POINT_SIZE], Reason *reason)
{
        _cleanup_(secret_done) Secret pem = { 0 };
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        int r = read_pem(path, &pem, reason);
        if (r < 0)
                return r;
        if (p256_point_from_pem((const char *)pem.data, ret) == 0)
                return 0;
        r = parse_private(path, &pem, &key, reason);
        if (r == -ENOTTY || r == -ECANCELED)
                return r;
        if (r < 0 || p256_to_point(key, ret) < 0)
                return reason_set(reason, -EBADMSG, "%s holds no P-256 key", path);
        return 0;
}

static int sign_pem(const char *path, const uint8_t digest[static OPERATOR_DIGEST_SIZE],
                    uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        _cleanup_(secret_done) Secret pem = { 0 };
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        uint8_t point[P256_POINT_SIZE], der[P256_DER_MAX];
        size_t len = sizeof(der);
        int r = read_pem(path, &pem, reason);
        if (r == 0)
                r = parse_private(path, &pem, &key, reason);
        if (r < 0)
                return r;
        if (p256_to_point(key, point) < 0)
                return reason_set(reason, -EBADMSG, "%s holds no P-256 key", path);
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
        if (!ctx || EVP_PKEY_sign_init(ctx) != 1 ||
            EVP_PKEY_sign(ctx, der, &len, digest, OPERATOR_DIGEST_SIZE) != 1 ||
            p256_signature_from_der(BYTES(der, len), ret) < 0)
                return reason_set(reason, -EIO, "Cannot sign with %s: %s", path, ossl_error());
        return 0;
}

static bool verifies(const uint8_t point[static P256_POINT_SIZE],
                     const uint8_t digest[static OPERATOR_DIGEST_SIZE],
                     const uint8_t signature[static P256_SIGNATURE_SIZE])
{
        uint8_t der[P256_DER_MAX];
        size_t len;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = p256_from_point(point);
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
        bool good = ctx && p256_signature_to_der(signature, der, &len) == 0 &&
                    EVP_PKEY_verify_init(ctx) == 1 &&
                    EVP_PKEY_verify(ctx, der, len, digest, OPERATOR_DIGEST_SIZE) == 1;
        ERR_clear_error();
        return good;
}

int operator_key_load(const char *source, uint8_t ret[static P256_POINT_SIZE], Reason *reason)
{
        return pkcs11_is_uri(source) ? pkcs11_load_point(source, ret, reason)
                                     : load_pem(source, ret, reason);
}

/* That it verifies shows at once that the key is the right one and that a token did its work. */
int operator_sign(const char *source, const uint8_t point[static P256_POINT_SIZE],
                  const uint8_t digest[static OPERATOR_DIGEST_SIZE],
                  uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        uint8_t signature[P256_SIGNATURE_SIZE];
        bool is_uri = pkcs11_is_uri(source);
        int r = is_uri ? pkcs11_sign(source, digest, signature, reason)
                       : sign_pem(source, digest, signature, reason);
        if (r < 0)
                return r;
        if (!verifies(point, digest, signature))
                return reason_set(reason, -EINVAL,
                                  "%.*s is not the operator key that this policy names",
                                  is_uri ? (int)strcspn(source, "?") : (int)strlen(source), source);
        memcpy(ret, signature, sizeof(signature));
        return 0;
}
