/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the TPM says of itself and of our key, signed by the attestation key. */
#include <errno.h>
#include <tss2/tss2_mu.h>

#include "platform/identity-internal.h"
#include "platform/tpm-templates.h"

#define QUOTE_TRIES 3

typedef struct AttestOperation {
        TPM2B_DATA nonce;
        IdentityAttestation *ret;
} AttestOperation;

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
        TSS2_RC rc =
                Esys_Quote(tpm_esys(id->tpm), id->ak, tpm_session(id->tpm, TPM_PROTECT_BOTH),
                           ESYS_TR_NONE, ESYS_TR_NONE, nonce, &scheme, &pcrs, &attest, &signature);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "The TPM did not quote its PCRs");
        if (!quote_covers(attest, &ret->pcrs))
                return 1;
        return take_attestation(attest, signature, ret, reason);
}

static int quote(Identity *id, void *argument, Reason *reason)
{
        const AttestOperation *o = argument;
        int r = 1;
        for (unsigned i = 0; i < QUOTE_TRIES && r == 1; i++)
                r = quote_once(id, &o->nonce, o->ret, reason);
        if (r == 1)
                r = reason_set(reason, -EIO, "The TPM's quote does not cover its PCR values");
        return r;
}

int identity_quote(Identity *id, Bytes nonce, IdentityAttestation *ret, Reason *reason)
{
        AttestOperation o = { .ret = ret };
        int r = to_qualifying(nonce, &o.nonce, reason);
        return r < 0 ? r : identity_run(id, quote, &o, reason);
}

static int certify(Identity *id, void *argument, Reason *reason)
{
        static const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
        const AttestOperation *o = argument;
        _cleanup_esys_ TPM2B_ATTEST *attest = NULL;
        _cleanup_esys_ TPMT_SIGNATURE *signature = NULL;
        TSS2_RC rc = Esys_Certify(tpm_esys(id->tpm), id->key, id->ak, ESYS_TR_PASSWORD,
                                  tpm_session(id->tpm, TPM_PROTECT_BOTH), ESYS_TR_NONE, &o->nonce,
                                  &scheme, &attest, &signature);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "The TPM did not certify the identity key");
        o->ret->pcrs = (PcrValues){ 0 };
        return take_attestation(attest, signature, o->ret, reason);
}

int identity_certify(Identity *id, Bytes nonce, IdentityAttestation *ret, Reason *reason)
{
        AttestOperation o = { .ret = ret };
        int r = to_qualifying(nonce, &o.nonce, reason);
        return r < 0 ? r : identity_run(id, certify, &o, reason);
}
