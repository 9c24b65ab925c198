/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Linked in place of platform/minter.c: the daemon with a TLS key as any other server has one. An
 * ordinary P-256 key in memory, certified once by the CA in the PEM file that SALLYPORT_PLAIN_CA
 * names: its key, its certificate, the chain above. The TPM has no part in it. What the daemon
 * with its minted key costs is measured against this; it is never installed. */
#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "platform/minter.h"
#include "platform/ossl.h"
#include "platform/san.h"

#define DAY (24 * 60 * 60L)

struct Minter {
        Credential *credential;
};

typedef struct Authority {
        EVP_PKEY *key;
        STACK_OF(X509) * chain; /* its own certificate first */
} Authority;

static void authority_done(Authority *a)
{
        EVP_PKEY_free(a->key);
        sk_X509_pop_free(a->chain, X509_free);
}

static bool authority_load(Authority *ret)
{
        const char *path = getenv("SALLYPORT_PLAIN_CA");
        FILE *f = path ? fopen(path, "re") : NULL;
        if (!f)
                return false;
        ret->key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        rewind(f);
        ret->chain = sk_X509_new_null();
        for (X509 *x; (x = PEM_read_X509(f, NULL, NULL, NULL));)
                sk_X509_push(ret->chain, x);
        fclose(f);
        return ret->key && sk_X509_num(ret->chain) > 0;
}

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
        X509V3_CTX ctx;
        X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        bool good = e && X509_add_ext(x, e, -1) == 1;
        X509_EXTENSION_free(e);
        return good;
}

/* The same extensions as the minted leaf has: a client has as much to read and to check. */
static bool certify(X509 *x, EVP_PKEY *key, const Authority *ca, const MinterParams *p,
                    GENERAL_NAMES *san)
{
        X509 *issuer = sk_X509_value(ca->chain, 0);
        return X509_set_version(x, X509_VERSION_3) == 1 &&
               ASN1_INTEGER_set(X509_get_serialNumber(x), (long)(now_realtime() / USEC_PER_SEC)) &&
               X509_set_issuer_name(x, X509_get_subject_name(issuer)) == 1 &&
               X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_UTF8,
                                          (const uint8_t *)p->names[0], -1, -1, 0) == 1 &&
               X509_gmtime_adj(X509_getm_notBefore(x), -300) &&
               X509_gmtime_adj(X509_getm_notAfter(x), DAY) && X509_set_pubkey(x, key) == 1 &&
               add_extension(x, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
               add_extension(x, issuer, NID_key_usage, "critical,digitalSignature") &&
               add_extension(x, issuer, NID_ext_key_usage, "serverAuth") &&
               add_extension(x, issuer, NID_subject_key_identifier, "hash") &&
               add_extension(x, issuer, NID_authority_key_identifier, "keyid") &&
               X509_add1_ext_i2d(x, NID_subject_alt_name, san, 0, X509V3_ADD_DEFAULT) == 1 &&
               X509_sign(x, ca->key, EVP_sha256()) > 0;
}

static int make(const MinterParams *p, Credential **ret, Reason *reason)
{
        _cleanup_(authority_done) Authority ca = { 0 };
        _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *san = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
        _cleanup_(X509_freep) X509 *x = X509_new();
        if (!authority_load(&ca))
                return reason_set(reason, -EINVAL,
                                  "SALLYPORT_PLAIN_CA= names no key with its "
                                  "certificate");
        int r = san_new(p->names, p->n_names, &san, reason);
        if (r < 0)
                return r;
        if (!key || !x || !certify(x, key, &ca, p, san))
                return reason_set(reason, -EIO, "Cannot certify the key: %s", ossl_error());
        r = credential_new(key, x, ca.chain, false, ret);
        return r < 0 ? reason_set(reason, r, "The certificate cannot be used") : 0;
}

int minter_new(const MinterParams *p, Minter **ret, Reason *reason)
{
        _cleanup_(minter_freep) Minter *m = calloc(1, sizeof(*m));
        if (!m)
                return reason_set(reason, -ENOMEM, "Out of memory");
        int r = make(p, &m->credential, reason);
        if (r < 0)
                return r;
        p->handler(m->credential, p->userdata);
        *ret = TAKE_PTR(m);
        return 0;
}

Minter *minter_free(Minter *m)
{
        if (!m)
                return NULL;
        credential_unref(m->credential);
        free(m);
        return NULL;
}

/* The identity's certificate is not this key's. */
void minter_renew(Minter *m)
{
}
