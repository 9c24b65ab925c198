/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/identity.h"

#include <errno.h>
#include <stdio.h>
#include <tss2/tss2_mu.h>

#include "base/log.h"
#include "platform/crypto.h"
#include "platform/identity-internal.h"
#include "platform/owner.h"
#include "platform/tpm-provider.h"
#include "platform/tpm-templates.h"

#define NONE        ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define PASSWORD    ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE
#define QUOTE_TRIES 3

static bool same_public(const TPM2B_PUBLIC *a, const TPM2B_PUBLIC *b)
{
        uint8_t x[sizeof(*a)], y[sizeof(*b)];
        size_t x_len = 0, y_len = 0;
        return Tss2_MU_TPM2B_PUBLIC_Marshal(a, x, sizeof(x), &x_len) == TSS2_RC_SUCCESS &&
               Tss2_MU_TPM2B_PUBLIC_Marshal(b, y, sizeof(y), &y_len) == TSS2_RC_SUCCESS &&
               bytes_equal(BYTES(x, x_len), BYTES(y, y_len));
}

/* A key that somebody put there and that a password opens is not an identity. */
static int check_files(Identity *id, Reason *reason)
{
        uint8_t policy[POLICY_DIGEST_SIZE];
        if (policy_authorize_digest(id->files.operator_point, policy) < 0)
                return reason_set(reason, -EIO, "Cannot compute the key's policy");
        TPM2B_PUBLIC key = template_identity(policy), ak = template_attestation;
        key.publicArea.unique = id->files.key.pub.publicArea.unique;
        ak.publicArea.unique = id->files.ak.pub.publicArea.unique;
        if (!same_public(&key, &id->files.key.pub) ||
            public_to_point(&id->files.key.pub, id->point) < 0)
                return reason_set(reason, -EBADMSG,
                                  "The identity key in %s is not one that opens by the operator's "
                                  "policy alone",
                                  id->directory);
        if (!same_public(&ak, &id->files.ak.pub) ||
            public_to_point(&id->files.ak.pub, id->ak_point) < 0)
                return reason_set(reason, -EBADMSG, "The attestation key in %s is not one",
                                  id->directory);
        return 0;
}

static int load_keys(Identity *id, Reason *reason)
{
        ESYS_TR storage;
        int r = identity_tpm_create_storage(id->tpm, &storage, reason);
        if (r < 0)
                return r;
        r = identity_tpm_load(id->tpm, storage, &id->files.key, &id->key, reason);
        if (r == 0)
                r = identity_tpm_load(id->tpm, storage, &id->files.ak, &id->ak, reason);
        identity_tpm_flush(id->tpm, storage);
        if (r == 0)
                r = identity_tpm_open_counter(id->tpm, id->files.counter_index, &id->counter,
                                              reason);
        return r;
}

/* The TPM went away, was reset or restarted, or it did not come back last time. */
static int load_again(Identity *id, Reason *reason)
{
        if (id->loaded)
                log_warning("The connection to the TPM is gone: connecting anew.");
        id->loaded = false;
        id->key = id->ak = id->counter = ESYS_TR_NONE;
        Esys_Free(TAKE_PTR(id->ticket)); /* another run of the TPM does not take it */
        int r = tpm_reconnect(id->tpm, reason);
        if (r == 0)
                r = load_keys(id, reason);
        if (r < 0)
                return r;
        id->loaded = true;
        log_notice("The TPM is back, and the identity is loaded into it again.");
        return 0;
}

/* Its turn at a TPM in which the identity is loaded. tpm_unlock() ends it. */
static int take_tpm(Identity *id, Reason *reason)
{
        int r = tpm_lock(id->tpm, reason);
        if (r < 0)
                return r;
        if (!id->loaded || tpm_broken(id->tpm))
                r = load_again(id, reason);
        if (r < 0)
                tpm_unlock(id->tpm);
        return r;
}

/* Does it belong to this identity, and did the operator sign it? */
static int check_policy(const Identity *id, const Policy *p, Reason *reason)
{
        if (memcmp(p->operator_point, id->files.operator_point, P256_POINT_SIZE) != 0)
                return reason_set(reason, -EBADMSG,
                                  "The policy names another operator key than the identity");
        if (p->counter_index != id->files.counter_index)
                return reason_set(reason, -EBADMSG,
                                  "The policy names another counter than the identity");
        return policy_verify(p, reason);
}

static void load_policy(Identity *id)
{
        _cleanup_free_ char *path = identity_path(id->directory, "policy.json");
        int r = path ? policy_load(path, &id->policy, &id->policy_reason)
                     : reason_set(&id->policy_reason, -ENOMEM, "Out of memory");
        if (r == -ENOENT)
                r = reason_set(&id->policy_reason, -ENOKEY,
                               "No policy is installed, so the identity key cannot be used: see "
                               "\"sallyportctl policy predict\"");
        if (r == 0)
                r = check_policy(id, &id->policy, &id->policy_reason);
        id->policy_error = r;
        id->has_policy = r == 0;
}

static int sign_for_provider(void *userdata, const uint8_t digest[static POLICY_DIGEST_SIZE],
                             uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        return identity_sign(userdata, digest, ret, reason);
}

int identity_open(const char *tcti, const char *state_directory, Identity **ret, Reason *reason)
{
        _cleanup_(identity_freep) Identity *id = calloc(1, sizeof(*id));
        if (!id || !(id->state_directory = strdup(state_directory)) ||
            !(id->directory = identity_path(state_directory, "identity")))
                return reason_set(reason, -ENOMEM, "Out of memory");
        id->key = id->ak = id->counter = ESYS_TR_NONE;
        int r = identity_files_read(id->directory, &id->files, reason);
        if (r == 0)
                r = check_files(id, reason);
        if (r < 0)
                return r;
        r = tpm_open(tcti, &id->tpm, reason);
        if (r == -ENOENT) /* its device or socket: there is an identity */
                r = -ENODEV;
        if (r == 0)
                r = load_keys(id, reason);
        if (r == 0)
                r = tpm_provider_key(id->point, sign_for_provider, id, &id->pkey, reason);
        if (r < 0)
                return r;
        id->loaded = true;
        load_policy(id);
        identity_load_certificate(id);
        *ret = TAKE_PTR(id);
        return 0;
}

Identity *identity_free(Identity *id)
{
        if (!id)
                return NULL;
        EVP_PKEY_free(id->pkey);
        X509_free(id->leaf);
        sk_X509_pop_free(id->chain, X509_free);
        Esys_Free(id->ticket);
        if (id->tpm) {
                identity_tpm_flush(id->tpm, id->key);
                identity_tpm_flush(id->tpm, id->ak);
        }
        tpm_free(id->tpm);
        free(id->directory);
        free(id->state_directory);
        free(id);
        return NULL;
}

int identity_attach(Identity *id, Loop *loop)
{
        return tpm_attach(id->tpm, loop);
}

bool identity_busy(const Identity *id)
{
        return tpm_busy(id->tpm);
}

void identity_abandon(Identity *id)
{
        tpm_abandon(id->tpm);
}

static bool take_number(const TPM2B_ECC_PARAMETER *n, uint8_t *ret)
{
        const size_t size = P256_SIGNATURE_SIZE / 2;
        if (n->size > size)
                return false;
        memset(ret, 0, size);
        memcpy(ret + size - n->size, n->buffer, n->size);
        return true;
}

static int sign_locked(Identity *id, const uint8_t digest[static POLICY_DIGEST_SIZE],
                       uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        ESYS_TR session;
        int r = identity_authorize(id, &session, reason);
        if (r < 0)
                return r;
        static const TPMT_TK_HASHCHECK any = { .tag = TPM2_ST_HASHCHECK,
                                               .hierarchy = TPM2_RH_NULL };
        static const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_ECDSA,
                                                .details.ecdsa.hashAlg = TPM2_ALG_SHA256 };
        TPM2B_DIGEST d = { .size = POLICY_DIGEST_SIZE };
        memcpy(d.buffer, digest, POLICY_DIGEST_SIZE);
        _cleanup_esys_ TPMT_SIGNATURE *s = NULL;
        TSS2_RC rc = Esys_Sign(tpm_esys(id->tpm), id->key, session, ESYS_TR_NONE, ESYS_TR_NONE, &d,
                               &scheme, &any, &s);
        identity_tpm_flush(id->tpm, session);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "The TPM did not sign");
        if (!take_number(&s->signature.ecdsa.signatureR, ret) ||
            !take_number(&s->signature.ecdsa.signatureS, ret + P256_SIGNATURE_SIZE / 2))
                return reason_set(reason, -EIO, "The TPM's signature has an impossible size");
        return 0;
}

int identity_sign(Identity *id, const uint8_t digest[static POLICY_DIGEST_SIZE],
                  uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        int r = take_tpm(id, reason);
        if (r < 0)
                return r;
        r = sign_locked(id, digest, ret, reason);
        tpm_unlock(id->tpm);
        return r;
}

int identity_check(Identity *id, Reason *reason)
{
        uint8_t digest[POLICY_DIGEST_SIZE], signature[P256_SIGNATURE_SIZE];
        if (crypto_random(digest, sizeof(digest)) < 0)
                return reason_set(reason, -EIO, "No randomness");
        return identity_sign(id, digest, signature, reason);
}

static int take_attestation(const TPM2B_ATTEST *attest, const TPMT_SIGNATURE *signature,
                            IdentityAttestation *ret, Reason *reason)
{
        size_t len = 0;
        if (attest->size > sizeof(ret->attest) ||
            Tss2_MU_TPMT_SIGNATURE_Marshal(signature, ret->signature, sizeof(ret->signature),
                                           &len) != TSS2_RC_SUCCESS)
                return reason_set(reason, -EIO, "The TPM's attestation has an impossible size");
        memcpy(ret->attest, attest->attestationData, attest->size);
        ret->attest_len = attest->size;
        ret->signature_len = len;
        return 0;
}

static int to_qualifying(Bytes nonce, TPM2B_DATA *ret, Reason *reason)
{
        if (nonce.len > IDENTITY_NONCE_MAX)
                return reason_set(reason, -ERANGE, "The nonce is too long for the TPM");
        *ret = (TPM2B_DATA){ .size = (uint16_t)nonce.len };
        if (nonce.len > 0)
                memcpy(ret->buffer, nonce.data, nonce.len);
        return 0;
}

/* Are the values that were read those that the quote covers? */
static bool quote_covers(const TPM2B_ATTEST *attest, const PcrValues *pcrs)
{
        TPMS_ATTEST a;
        size_t used = 0;
        uint8_t digest[POLICY_DIGEST_SIZE];
        return Tss2_MU_TPMS_ATTEST_Unmarshal(attest->attestationData, attest->size, &used, &a) ==
                       TSS2_RC_SUCCESS &&
               a.type == TPM2_ST_ATTEST_QUOTE && pcrs_digest(pcrs, digest) == 0 &&
               bytes_equal(BYTES(digest, sizeof(digest)), BYTES(a.attested.quote.pcrDigest.buffer,
                                                                a.attested.quote.pcrDigest.size));
}

/* 1 when a PCR was extended between reading and quoting. */
static int quote_once(Identity *id, const TPM2B_DATA *nonce, IdentityAttestation *ret,
                      Reason *reason)
{
        static const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
        TPML_PCR_SELECTION pcrs = pcr_selection(id->files.pcrs);
        _cleanup_esys_ TPM2B_ATTEST *attest = NULL;
        _cleanup_esys_ TPMT_SIGNATURE *signature = NULL;
        int r = identity_tpm_read_pcrs(id->tpm, id->files.pcrs, &ret->pcrs, reason);
        if (r < 0)
                return r;
        TSS2_RC rc = Esys_Quote(tpm_esys(id->tpm), id->ak, PASSWORD, nonce, &scheme, &pcrs, &attest,
                                &signature);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "The TPM did not quote its PCRs");
        if (!quote_covers(attest, &ret->pcrs))
                return 1;
        return take_attestation(attest, signature, ret, reason);
}

int identity_quote(Identity *id, Bytes nonce, IdentityAttestation *ret, Reason *reason)
{
        TPM2B_DATA qualifying;
        int r = to_qualifying(nonce, &qualifying, reason);
        if (r == 0)
                r = take_tpm(id, reason);
        if (r < 0)
                return r;
        r = 1;
        for (unsigned i = 0; i < QUOTE_TRIES && r == 1; i++)
                r = quote_once(id, &qualifying, ret, reason);
        tpm_unlock(id->tpm);
        if (r == 1)
                r = reason_set(reason, -EIO, "The TPM's quote does not cover its PCR values");
        return r;
}

int identity_certify(Identity *id, Bytes nonce, IdentityAttestation *ret, Reason *reason)
{
        static const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
        TPM2B_DATA qualifying;
        _cleanup_esys_ TPM2B_ATTEST *attest = NULL;
        _cleanup_esys_ TPMT_SIGNATURE *signature = NULL;
        int r = to_qualifying(nonce, &qualifying, reason);
        if (r == 0)
                r = take_tpm(id, reason);
        if (r < 0)
                return r;
        TSS2_RC rc =
                Esys_Certify(tpm_esys(id->tpm), id->key, id->ak, ESYS_TR_PASSWORD, ESYS_TR_PASSWORD,
                             ESYS_TR_NONE, &qualifying, &scheme, &attest, &signature);
        if (rc != TSS2_RC_SUCCESS)
                r = tpm_fail(id->tpm, reason, rc, "The TPM did not certify the identity key");
        tpm_unlock(id->tpm);
        ret->pcrs = (PcrValues){ 0 };
        return r < 0 ? r : take_attestation(attest, signature, ret, reason);
}

int identity_read_pcrs(Identity *id, uint32_t mask, PcrValues *ret, Reason *reason)
{
        int r = take_tpm(id, reason);
        if (r < 0)
                return r;
        r = identity_tpm_read_pcrs(id->tpm, mask, ret, reason);
        tpm_unlock(id->tpm);
        return r;
}

int identity_read_counter(Identity *id, uint64_t *ret, Reason *reason)
{
        int r = take_tpm(id, reason);
        if (r < 0)
                return r;
        r = identity_tpm_read_counter(id->tpm, id->counter, ret, reason);
        tpm_unlock(id->tpm);
        return r;
}

static int write_policy(const Identity *id, const Policy *p, Reason *reason)
{
        _cleanup_owner_ Owner owner = { 0 };
        _cleanup_free_ char *path = identity_path(id->directory, "policy.json");
        int r = path ? owner_begin(id->state_directory, &owner, reason)
                     : reason_set(reason, -ENOMEM, "Out of memory");
        return r < 0 ? r : policy_save(p, path, reason);
}

int identity_install_policy(Identity *id, const Policy *p, Reason *reason)
{
        int r = check_policy(id, p, reason);
        if (r == 0)
                r = take_tpm(id, reason); /* nobody is in the middle of the old one */
        if (r < 0)
                return r;
        r = write_policy(id, p, reason);
        if (r == 0) {
                id->policy = *p;
                id->has_policy = true;
                id->policy_error = 0;
                Esys_Free(TAKE_PTR(id->ticket));
        }
        tpm_unlock(id->tpm);
        return r;
}

int identity_retire_policies(Identity *id, uint64_t *ret_counter, Reason *reason)
{
        int r = take_tpm(id, reason);
        if (r < 0)
                return r;
        TSS2_RC rc = Esys_NV_Increment(tpm_esys(id->tpm), ESYS_TR_RH_OWNER, id->counter, PASSWORD);
        if (rc != TSS2_RC_SUCCESS)
                r = tpm_fail(id->tpm, reason, rc, "Cannot increment the policy counter");
        else
                r = identity_tpm_read_counter(id->tpm, id->counter, ret_counter, reason);
        tpm_unlock(id->tpm);
        return r;
}

uint32_t identity_pcrs(const Identity *id)
{
        return id->files.pcrs;
}

uint32_t identity_counter_index(const Identity *id)
{
        return id->files.counter_index;
}

const uint8_t *identity_point(const Identity *id)
{
        return id->point;
}

const uint8_t *identity_attestation_point(const Identity *id)
{
        return id->ak_point;
}

const uint8_t *identity_operator_point(const Identity *id)
{
        return id->files.operator_point;
}

const Policy *identity_policy(const Identity *id)
{
        return id->has_policy ? &id->policy : NULL;
}

struct evp_pkey_st *identity_pkey(const Identity *id)
{
        return id->pkey;
}
