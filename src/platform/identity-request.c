/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The certificate request (PKCS #10, RFC 2986), signed by the key in the TPM. */
#include "platform/identity-request.h"

#include <errno.h>

#include "platform/crypto.h"
#include "platform/identity-internal.h"
#include "platform/san.h"

static int no_memory(Reason *reason)
{
        return reason_set(reason, -ENOMEM, "Out of memory");
}

/* Of the certificate in force: the same bytes, with whatever kinds of names it has. */
static int copy_names(const X509 *leaf, STACK_OF(X509_EXTENSION) * *list, Reason *reason)
{
        int i = X509_get_ext_by_NID(leaf, NID_subject_alt_name, -1);
        if (i >= 0 && !X509v3_add_ext(list, X509_get_ext(leaf, i), -1))
                return no_memory(reason);
        return 0;
}

static int add_names(const IdentityRequest *q, STACK_OF(X509_EXTENSION) * *list, Reason *reason)
{
        _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *san = NULL;
        if (q->n_names == 0)
                return 0;
        int r = san_new(q->names, q->n_names, &san, reason);
        if (r < 0)
                return r;
        return X509V3_add1_i2d(list, NID_subject_alt_name, san, 0, 0) == 1 ? 0 : no_memory(reason);
}

static int add_extensions(Identity *id, const IdentityRequest *q, X509_REQ *req, Reason *reason)
{
        STACK_OF(X509_EXTENSION) *list = NULL;
        int r = q->renewal ? copy_names(id->leaf, &list, reason) : add_names(q, &list, reason);
        for (int i = 0; r == 0 && q->extensions && i < sk_X509_EXTENSION_num(q->extensions); i++)
                if (!X509v3_add_ext(&list, sk_X509_EXTENSION_value(q->extensions, i), -1))
                        r = no_memory(reason);
        if (r == 0 && list && X509_REQ_add_extensions(req, list) != 1)
                r = no_memory(reason);
        sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
        return r;
}

static int set_subject(Identity *id, const IdentityRequest *q, X509_REQ *req, Reason *reason)
{
        if (q->renewal)
                return X509_REQ_set_subject_name(req, X509_get_subject_name(id->leaf)) == 1
                               ? 0
                               : no_memory(reason);
        if (X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(req), NID_commonName,
                                       MBSTRING_UTF8, (const uint8_t *)q->common_name, -1, -1,
                                       0) != 1)
                return reason_set(reason, -EINVAL, "\"%s\" cannot be a common name: %s",
                                  q->common_name, ossl_error());
        return 0;
}

static int build(Identity *id, const IdentityRequest *q, X509_REQ *req, Reason *reason)
{
        if (q->renewal && !id->leaf) {
                *reason = id->certificate_reason;
                return id->certificate_error;
        }
        if (X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
            X509_REQ_set_pubkey(req, id->pkey) != 1)
                return reason_set(reason, -EIO, "Cannot make a request: %s", ossl_error());
        int r = set_subject(id, q, req, reason);
        return r < 0 ? r : add_extensions(id, q, req, reason);
}

static int make(Identity *id, const IdentityRequest *q, X509_REQ **ret, Reason *reason)
{
        _cleanup_(X509_REQ_freep) X509_REQ *req = X509_REQ_new();
        if (!req)
                return no_memory(reason);
        int r = build(id, q, req, reason);
        if (r == 0 && q->attest)
                r = identity_add_evidence(id, q->nonce, req, reason);
        if (r == 0)
                r = identity_check(id, reason); /* the provider has no way to tell why */
        if (r < 0)
                return r;
        if (X509_REQ_sign(req, id->pkey, EVP_sha256()) <= 0)
                return reason_set(reason, -EIO, "Cannot sign the request: %s", ossl_error());
        *ret = TAKE_PTR(req);
        return 0;
}

int identity_request(Identity *id, const IdentityRequest *request, uint8_t **ret_der,
                     size_t *ret_len, Reason *reason)
{
        _cleanup_(X509_REQ_freep) X509_REQ *req = NULL;
        int r = make(id, request, &req, reason);
        if (r < 0)
                return r;
        int len = i2d_X509_REQ(req, NULL);
        uint8_t *der = len > 0 ? malloc((size_t)len) : NULL, *p = der;
        if (!der || i2d_X509_REQ(req, &p) != len) {
                free(der);
                return no_memory(reason);
        }
        *ret_der = der;
        *ret_len = (size_t)len;
        return 0;
}

int identity_csr(Identity *id, const IdentityRequest *request, char **ret_pem, Reason *reason)
{
        _cleanup_free_ uint8_t *der = NULL;
        size_t len;
        int r = identity_request(id, request, &der, &len, reason);
        if (r < 0)
                return r;
        *ret_pem = crypto_pem("CERTIFICATE REQUEST", BYTES(der, len));
        return *ret_pem ? 0 : no_memory(reason);
}
