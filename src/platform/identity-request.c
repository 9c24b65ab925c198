/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The certificate request (PKCS #10, RFC 2986), signed by the key in the TPM. */
#include <errno.h>
#include <openssl/pem.h>

#include "platform/identity-internal.h"
#include "platform/san.h"

static int add_names(X509_REQ *req, const char *const *names, size_t n, Reason *reason)
{
        _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *san = NULL;
        if (n == 0)
                return 0;
        int r = san_new(names, n, &san, reason);
        if (r < 0)
                return r;
        STACK_OF(X509_EXTENSION) *extensions = NULL;
        bool good = X509V3_add1_i2d(&extensions, NID_subject_alt_name, san, 0, 0) == 1 &&
                    X509_REQ_add_extensions(req, extensions) == 1;
        sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
        return good ? 0 : reason_set(reason, -ENOMEM, "Out of memory");
}

static int build(Identity *id, const char *common_name, const char *const *names, size_t n,
                 X509_REQ *req, Reason *reason)
{
        X509_NAME *subject = X509_REQ_get_subject_name(req);
        if (X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
            X509_REQ_set_pubkey(req, id->pkey) != 1)
                return reason_set(reason, -EIO, "Cannot make a request: %s", ossl_error());
        if (X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                       (const uint8_t *)common_name, -1, -1, 0) != 1)
                return reason_set(reason, -EINVAL, "\"%s\" cannot be a common name: %s",
                                  common_name, ossl_error());
        return add_names(req, names, n, reason);
}

int identity_csr(Identity *id, const char *common_name, const char *const *names, size_t n_names,
                 char **ret_pem, Reason *reason)
{
        _cleanup_(X509_REQ_freep) X509_REQ *req = X509_REQ_new();
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        if (!req || !bio)
                return reason_set(reason, -ENOMEM, "Out of memory");
        int r = build(id, common_name, names, n_names, req, reason);
        if (r == 0)
                r = identity_check(id, reason); /* the provider has no way to tell why */
        if (r < 0)
                return r;
        if (X509_REQ_sign(req, id->pkey, EVP_sha256()) <= 0 ||
            PEM_write_bio_X509_REQ(bio, req) != 1)
                return reason_set(reason, -EIO, "Cannot sign the request: %s", ossl_error());
        char *text = NULL;
        long len = BIO_get_mem_data(bio, &text);
        char *pem = strndup(text, (size_t)len);
        if (!pem)
                return reason_set(reason, -ENOMEM, "Out of memory");
        *ret_pem = pem;
        return 0;
}
