/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the operator's policy opens: the key that signs, and the bytes that are sealed. */
#include <errno.h>

#include "platform/crypto.h"
#include "platform/identity-internal.h"

typedef struct SignOperation {
        const uint8_t *digest;
        uint8_t *ret;
} SignOperation;

static bool take_number(const TPM2B_ECC_PARAMETER *n, uint8_t *ret)
{
        const size_t size = P256_SIGNATURE_SIZE / 2;
        if (n->size > size)
                return false;
        memset(ret, 0, size);
        memcpy(ret + size - n->size, n->buffer, n->size);
        return true;
}

static int take_signature(const TPMT_SIGNATURE *s, uint8_t ret[static P256_SIGNATURE_SIZE],
                          Reason *reason)
{
        if (s->sigAlg != TPM2_ALG_ECDSA || !take_number(&s->signature.ecdsa.signatureR, ret) ||
            !take_number(&s->signature.ecdsa.signatureS, ret + P256_SIGNATURE_SIZE / 2))
                return reason_set(reason, -EIO, "The TPM's signature has an impossible size");
        return 0;
}

static int sign(Identity *id, void *argument, Reason *reason)
{
        static const TPMT_TK_HASHCHECK any = { .tag = TPM2_ST_HASHCHECK,
                                               .hierarchy = TPM2_RH_NULL };
        static const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_ECDSA,
                                                .details.ecdsa.hashAlg = TPM2_ALG_SHA256 };
        const SignOperation *o = argument;
        _cleanup_esys_ TPMT_SIGNATURE *s = NULL;
        TPM2B_DIGEST d = { .size = POLICY_DIGEST_SIZE };
        ESYS_TR session;
        int r = identity_authorize(id, &session, reason);
        if (r < 0)
                return r;
        memcpy(d.buffer, o->digest, POLICY_DIGEST_SIZE);
        TSS2_RC rc =
                Esys_Sign(tpm_esys(id->tpm), id->key, session, tpm_session(id->tpm, TPM_PROTECT_IN),
                          ESYS_TR_NONE, &d, &scheme, &any, &s);
        identity_tpm_flush(id->tpm, session);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "The TPM did not sign");
        return take_signature(s, o->ret, reason);
}

int identity_sign(Identity *id, const uint8_t digest[static POLICY_DIGEST_SIZE],
                  uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        SignOperation o = { digest, ret };
        return identity_run(id, sign, &o, reason);
}

int identity_check(Identity *id, Reason *reason)
{
        uint8_t digest[POLICY_DIGEST_SIZE], signature[P256_SIGNATURE_SIZE];
        if (crypto_random(digest, sizeof(digest)) < 0)
                return reason_set(reason, -EIO, "No randomness");
        return identity_sign(id, digest, signature, reason);
}

typedef struct UnsealOperation {
        uint8_t *ret;
} UnsealOperation;

static int unseal_loaded(Identity *id, ESYS_TR secret, uint8_t *ret, Reason *reason)
{
        TPM2B_SENSITIVE_DATA *data = NULL;
        ESYS_TR session;
        int r = identity_authorize(id, &session, reason);
        if (r < 0)
                return r;
        TSS2_RC rc = Esys_Unseal(tpm_esys(id->tpm), secret, session,
                                 tpm_session(id->tpm, TPM_PROTECT_OUT), ESYS_TR_NONE, &data);
        identity_tpm_flush(id->tpm, session);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "The TPM did not unseal the gateway's secret");
        if (data->size == IDENTITY_SECRET_SIZE)
                memcpy(ret, data->buffer, IDENTITY_SECRET_SIZE);
        else
                r = reason_set(reason, -EIO, "The gateway's secret has an impossible size");
        explicit_bzero(data, sizeof(*data));
        Esys_Free(data);
        return r;
}

static int unseal(Identity *id, void *argument, Reason *reason)
{
        const UnsealOperation *o = argument;
        return identity_with_object(id, &id->files.secret, unseal_loaded, o->ret, reason);
}

int identity_secret(Identity *id, const char *label, uint8_t ret[static IDENTITY_SECRET_SIZE],
                    Reason *reason)
{
        uint8_t sealed[IDENTITY_SECRET_SIZE];
        UnsealOperation o = { sealed };
        int r = identity_run(id, unseal, &o, reason);
        if (r == 0 && crypto_hkdf(BYTES(sealed, sizeof(sealed)), label, ret) < 0)
                r = reason_set(reason, -EIO, "Cannot derive a key");
        explicit_bzero(sealed, sizeof(sealed));
        return r;
}
