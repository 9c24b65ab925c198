/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/credential.h"

#include <errno.h>
#include <openssl/ssl.h>

#include "base/log.h"
#include "platform/ossl.h"

struct Credential {
        unsigned refs;
        EVP_PKEY *key;
        X509 *leaf;
        STACK_OF(X509) * chain;
        bool in_tpm;
        usec_t not_after;
};

Credential *credential_ref(Credential *c)
{
        if (c)
                c->refs++;
        return c;
}

Credential *credential_unref(Credential *c)
{
        if (!c || --c->refs > 0)
                return NULL;
        EVP_PKEY_free(c->key);
        X509_free(c->leaf);
        sk_X509_pop_free(c->chain, X509_free);
        free(c);
        return NULL;
}

bool credential_in_tpm(const Credential *c)
{
        return c->in_tpm;
}

usec_t credential_not_after(const Credential *c)
{
        return c->not_after;
}

int credential_new(EVP_PKEY *key, X509 *leaf, STACK_OF(X509) * chain, bool in_tpm, Credential **ret)
{
        if (X509_check_private_key(leaf, key) != 1) {
                log_error("The certificate is not for this private key: %s.", ossl_error());
                return -EIO;
        }
        _cleanup_(credential_unrefp) Credential *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->refs = 1;
        c->in_tpm = in_tpm;
        c->not_after = ossl_time(X509_get0_notAfter(leaf));
        c->chain = chain ? X509_chain_up_ref(chain) : sk_X509_new_null();
        if (!c->chain)
                return -ENOMEM;
        EVP_PKEY_up_ref(key);
        c->key = key;
        X509_up_ref(leaf);
        c->leaf = leaf;
        *ret = TAKE_PTR(c);
        return 0;
}

/* All three at once: a connection that begins in between never sees half a credential. */
int credential_use_ctx(const Credential *c, SSL_CTX *ctx)
{
        if (SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 1) == 1)
                return 0;
        log_error("Cannot use the TLS certificate: %s.", ossl_error());
        return -EIO;
}

int credential_use_ssl(const Credential *c, SSL *ssl)
{
        if (SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1) == 1)
                return 0;
        log_error("Cannot use the TLS certificate: %s.", ossl_error());
        return -EIO;
}
