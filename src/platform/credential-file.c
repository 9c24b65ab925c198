/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "platform/credential.h"
#include "platform/file.h"
#include "platform/identity-internal.h"

#define KEY_MAX ((size_t)16 * 1024)

/* Nobody is asked for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *userdata)
{
        return -1;
}

static int load_key(const char *path, EVP_PKEY **ret, Reason *reason)
{
        uint8_t *pem = NULL;
        size_t len;
        int r = file_read(path, KEY_MAX, &pem, &len);
        if (r < 0)
                return reason_set(reason, r, "Cannot read %s: %s", path, strerror(-r));
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem, (int)len);
        EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
        OPENSSL_cleanse(pem, len);
        free(pem);
        ERR_clear_error();
        if (!key)
                return reason_set(reason, -EBADMSG, "%s holds no private key in PEM", path);
        *ret = key;
        return 0;
}

int credential_load(const char *certificate, const char *key, Credential **ret, Reason *reason)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *list = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
        int r = identity_read_certificates(certificate, &list, reason);
        if (r == 0)
                r = load_key(key, &pkey, reason);
        if (r < 0)
                return r;
        _cleanup_(X509_freep) X509 *leaf = sk_X509_shift(list);
        if (X509_check_private_key(leaf, pkey) != 1) {
                ERR_clear_error();
                return reason_set(reason, -EBADMSG, "The key in %s is not that of %s", key,
                                  certificate);
        }
        r = credential_new(pkey, leaf, list, false, ret);
        return r < 0 ? reason_set(reason, r, "%s cannot be used", certificate) : 0;
}
