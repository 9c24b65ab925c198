/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The endorsement key, by which the TPM's maker vouches for the TPM, and the proof that our
 * attestation key lives beside it: TCG EK Credential Profile for TPM 2.0, and TPM 2.0 Library Part
 * 1, section 24 (credential protection). */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>

#include "platform/identity-internal.h"
#include "platform/tpm-templates.h"

#define NV_CHUNK 512 /* no TPM hands out less at a time */

/* Where the profile puts them: certificate in NV memory, key as a persistent object if at all. */
typedef struct Endorsement {
        const TPM2B_PUBLIC *template;
        uint32_t certificate_index, persistent;
} Endorsement;

static const Endorsement endorsements[] = {
        { &template_endorsement_rsa, 0x01c00002, 0x81010001 }, /* low range, L-1 */
        { &template_endorsement_ecc, 0x01c0000a, 0x81010002 }, /* L-2 */
};

typedef struct Reading {
        IdentityEndorsement *ret;
        const Endorsement *which;
} Reading;

/* ---- the certificate ---- */

static int read_nv(Identity *id, ESYS_TR nv, size_t size, IdentityEndorsement *ret, Reason *reason)
{
        for (size_t at = 0; at < size;) {
                _cleanup_esys_ TPM2B_MAX_NV_BUFFER *chunk = NULL;
                uint16_t n = (uint16_t)MIN(size - at, (size_t)NV_CHUNK);
                TSS2_RC rc = Esys_NV_Read(tpm_esys(id->tpm), nv, nv,
                                          tpm_session(id->tpm, TPM_PROTECT_OUT), ESYS_TR_NONE,
                                          ESYS_TR_NONE, n, (uint16_t)at, &chunk);
                if (rc != TSS2_RC_SUCCESS)
                        return tpm_fail(id->tpm, reason, rc,
                                        "Cannot read the endorsement certificate");
                if (chunk->size != n)
                        return reason_set(reason, -EIO, "The TPM hands out half a certificate");
                memcpy(ret->certificate + at, chunk->buffer, n);
                at += n;
        }
        return 0;
}

/* The index may be larger than what is in it. */
static int keep_der(IdentityEndorsement *e, size_t size, Reason *reason)
{
        const uint8_t *p = e->certificate;
        _cleanup_(X509_freep) X509 *x = d2i_X509(NULL, &p, (long)size);
        if (!x) {
                ossl_error();
                return reason_set(reason, -EBADMSG, "The endorsement certificate is damaged");
        }
        e->certificate_len = (size_t)(p - e->certificate);
        return 0;
}

static int read_from(Identity *id, ESYS_TR nv, IdentityEndorsement *ret, Reason *reason)
{
        _cleanup_esys_ TPM2B_NV_PUBLIC *pub = NULL;
        TSS2_RC rc =
                Esys_NV_ReadPublic(tpm_esys(id->tpm), nv, tpm_session(id->tpm, TPM_PROTECT_OUT),
                                   ESYS_TR_NONE, ESYS_TR_NONE, &pub, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot find the endorsement certificate");
        size_t size = pub->nvPublic.dataSize;
        if (size > sizeof(ret->certificate))
                return reason_set(reason, -EFBIG, "The endorsement certificate is too large");
        int r = read_nv(id, nv, size, ret, reason);
        return r < 0 ? r : keep_der(ret, size, reason);
}

static int read_certificate(Identity *id, uint32_t index, IdentityEndorsement *ret, Reason *reason)
{
        ESYS_TR nv;
        TSS2_RC rc = Esys_TR_FromTPMPublic(tpm_esys(id->tpm), index,
                                           tpm_session(id->tpm, TPM_PROTECT_OUT), ESYS_TR_NONE,
                                           ESYS_TR_NONE, &nv);
        if (tpm_rc_base(rc) == TPM2_RC_HANDLE)
                return 0; /* there is none */
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot find the endorsement certificate");
        int r = read_from(id, nv, ret, reason);
        Esys_TR_Close(tpm_esys(id->tpm), &nv);
        return r;
}

/* The first that its maker certified; without any the first. */
static int choose(Identity *id, Reading *o, Reason *reason)
{
        o->which = &endorsements[0];
        for (size_t i = 0; i < ELEMENTSOF(endorsements); i++) {
                *o->ret = (IdentityEndorsement){ 0 };
                int r = read_certificate(id, endorsements[i].certificate_index, o->ret, reason);
                if (r < 0)
                        return r;
                if (o->ret->certificate_len == 0)
                        continue;
                o->which = &endorsements[i];
                break;
        }
        return 0;
}

/* ---- the key ---- */

static bool same_but_unique(const TPM2B_PUBLIC *a, TPM2B_PUBLIC b)
{
        b.publicArea.unique = a->publicArea.unique;
        return identity_same_public(a, &b);
}

/* Provisioned by somebody else, which saves the minute that a chip may take to make it. */
static bool find_persistent(Identity *id, const Endorsement *e, ESYS_TR *ret, TPM2B_PUBLIC *ret_pub)
{
        ESYS_TR key;
        _cleanup_esys_ TPM2B_PUBLIC *pub = NULL;
        ESYS_CONTEXT *esys = tpm_esys(id->tpm);
        if (Esys_TR_FromTPMPublic(esys, e->persistent, tpm_session(id->tpm, TPM_PROTECT_OUT),
                                  ESYS_TR_NONE, ESYS_TR_NONE, &key) != TSS2_RC_SUCCESS)
                return false;
        TSS2_RC rc = Esys_ReadPublic(esys, key, tpm_session(id->tpm, TPM_PROTECT_OUT), ESYS_TR_NONE,
                                     ESYS_TR_NONE, &pub, NULL, NULL);
        if (rc != TSS2_RC_SUCCESS || !same_but_unique(pub, *e->template)) {
                Esys_TR_Close(esys, &key);
                return false;
        }
        *ret_pub = *pub;
        *ret = key;
        return true;
}

static int create(Identity *id, const Endorsement *e, ESYS_TR *ret, TPM2B_PUBLIC *ret_pub,
                  Reason *reason)
{
        static const TPM2B_SENSITIVE_CREATE sensitive = { 0 };
        static const TPM2B_DATA outside = { 0 };
        static const TPML_PCR_SELECTION pcrs = { 0 };
        _cleanup_esys_ TPM2B_PUBLIC *pub = NULL;
        TSS2_RC rc = Esys_CreatePrimary(tpm_esys(id->tpm), ESYS_TR_RH_ENDORSEMENT,
                                        tpm_session(id->tpm, TPM_PROTECT_BOTH), ESYS_TR_NONE,
                                        ESYS_TR_NONE, &sensitive, e->template, &outside, &pcrs, ret,
                                        &pub, NULL, NULL, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot create the endorsement key");
        *ret_pub = *pub;
        return 0;
}

typedef struct Key {
        ESYS_TR handle;
        bool persistent;
        TPM2B_PUBLIC pub;
} Key;

static int open_key(Identity *id, const Endorsement *e, Key *ret, Reason *reason)
{
        ret->persistent = find_persistent(id, e, &ret->handle, &ret->pub);
        return ret->persistent ? 0 : create(id, e, &ret->handle, &ret->pub, reason);
}

static void close_key(Identity *id, Key *k)
{
        if (k->persistent)
                Esys_TR_Close(tpm_esys(id->tpm), &k->handle);
        else
                identity_tpm_flush(id->tpm, k->handle);
}

static EVP_PKEY *rsa_key(const TPMT_PUBLIC *p)
{
        EVP_PKEY *key = NULL;
        const uint32_t exponent = p->parameters.rsaDetail.exponent;
        _cleanup_(BN_freep) BIGNUM *n = BN_bin2bn(p->unique.rsa.buffer, p->unique.rsa.size, NULL);
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        OSSL_PARAM *params = NULL;
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx =
                EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        if (n && build && ctx && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
            OSSL_PARAM_BLD_push_uint32(build, OSSL_PKEY_PARAM_RSA_E, exponent ? exponent : 65537) ==
                    1 &&
            (params = OSSL_PARAM_BLD_to_param(build)) && EVP_PKEY_fromdata_init(ctx) == 1 &&
            EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
                key = NULL;
        OSSL_PARAM_free(params);
        OSSL_PARAM_BLD_free(build);
        return key;
}

static int to_spki(const TPM2B_PUBLIC *pub, IdentityEndorsement *ret, Reason *reason)
{
        uint8_t point[P256_POINT_SIZE], *p = ret->spki;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        if (pub->publicArea.type == TPM2_ALG_RSA)
                key = rsa_key(&pub->publicArea);
        else if (public_to_point(pub, point) == 0)
                key = p256_from_point(point);
        int len = key ? i2d_PUBKEY(key, NULL) : -1;
        if (len <= 0 || (size_t)len > sizeof(ret->spki) || i2d_PUBKEY(key, &p) != len)
                return reason_set(reason, -EIO, "The endorsement key cannot be read: %s",
                                  ossl_error());
        ret->spki_len = (size_t)len;
        return 0;
}

static int read_endorsement(Identity *id, void *argument, Reason *reason)
{
        Reading *o = argument;
        Key key;
        int r = choose(id, o, reason);
        if (r == 0)
                r = open_key(id, o->which, &key, reason);
        if (r < 0)
                return r;
        r = to_spki(&key.pub, o->ret, reason);
        close_key(id, &key);
        return r;
}

int identity_endorsement(Identity *id, IdentityEndorsement *ret, Reason *reason)
{
        Reading o = { .ret = ret };
        return identity_run(id, read_endorsement, &o, reason);
}

/* ---- credential activation ---- */

typedef struct Activation {
        TPM2B_ID_OBJECT credential;
        TPM2B_ENCRYPTED_SECRET secret;
        TPM2B_DIGEST *ret;
} Activation;

/* The profile's policy for the key: who has the (empty) authorization of the hierarchy. */
static int endorsement_session(Identity *id, ESYS_TR *ret, Reason *reason)
{
        static const TPMT_SYM_DEF none = { .algorithm = TPM2_ALG_NULL };
        ESYS_CONTEXT *esys = tpm_esys(id->tpm);
        TSS2_RC rc = Esys_StartAuthSession(
                esys, ESYS_TR_NONE, ESYS_TR_NONE, tpm_session(id->tpm, TPM_PROTECT_WATCH),
                ESYS_TR_NONE, ESYS_TR_NONE, NULL, TPM2_SE_POLICY, &none, TPM2_ALG_SHA256, ret);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot start a policy session");
        rc = Esys_PolicySecret(esys, ESYS_TR_RH_ENDORSEMENT, *ret,
                               tpm_session(id->tpm, TPM_PROTECT_AUTH), ESYS_TR_NONE, ESYS_TR_NONE,
                               NULL, NULL, NULL, 0, NULL, NULL);
        if (rc == TSS2_RC_SUCCESS)
                return 0;
        identity_tpm_flush(id->tpm, *ret);
        return tpm_fail(id->tpm, reason, rc, "The TPM's endorsement hierarchy does not open");
}

static int activate_with(Identity *id, const Activation *a, ESYS_TR key, Reason *reason)
{
        ESYS_TR session;
        _cleanup_esys_ TPM2B_DIGEST *found = NULL;
        int r = endorsement_session(id, &session, reason);
        if (r < 0)
                return r;
        TSS2_RC rc = Esys_ActivateCredential(tpm_esys(id->tpm), id->ak, key,
                                             tpm_session(id->tpm, TPM_PROTECT_BOTH), session,
                                             ESYS_TR_NONE, &a->credential, &a->secret, &found);
        identity_tpm_flush(id->tpm, session);
        /* libtpms says FAILURE for what does not decrypt, and is well. */
        TSS2_RC base = tpm_rc_base(rc);
        if (base == TPM2_RC_INTEGRITY || base == TPM2_RC_VALUE || base == TPM2_RC_SIZE ||
            base == TPM2_RC_FAILURE)
                return reason_set(reason, -EBADMSG,
                                  "The credential is not for this TPM's endorsement key and this "
                                  "gateway's attestation key");
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "The TPM did not activate the credential");
        *a->ret = *found;
        explicit_bzero(found, sizeof(*found));
        return 0;
}

/* By what it was encrypted to, which its size tells. */
static int activate(Identity *id, void *argument, Reason *reason)
{
        const Activation *a = argument;
        const Endorsement *e = &endorsements[a->secret.size == 256 ? 0 : 1];
        Key key;
        int r = open_key(id, e, &key, reason);
        if (r < 0)
                return r;
        r = activate_with(id, a, key.handle, reason);
        close_key(id, &key);
        return r;
}

int identity_activate(Identity *id, Bytes credential, Bytes secret,
                      uint8_t ret[static IDENTITY_CREDENTIAL_MAX], size_t *ret_len, Reason *reason)
{
        TPM2B_DIGEST found;
        Activation a = { .ret = &found };
        if (credential.len > sizeof(a.credential.credential) ||
            secret.len > sizeof(a.secret.secret))
                return reason_set(reason, -EBADMSG, "The credential is too large for a TPM");
        a.credential.size = (uint16_t)credential.len;
        a.secret.size = (uint16_t)secret.len;
        memcpy(a.credential.credential, credential.data, credential.len);
        memcpy(a.secret.secret, secret.data, secret.len);
        int r = identity_run(id, activate, &a, reason);
        if (r == 0 && found.size > IDENTITY_CREDENTIAL_MAX)
                r = reason_set(reason, -EIO, "The credential has an impossible size");
        if (r == 0) {
                memcpy(ret, found.buffer, found.size);
                *ret_len = found.size;
        }
        explicit_bzero(&found, sizeof(found));
        return r;
}
