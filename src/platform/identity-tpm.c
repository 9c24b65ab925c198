/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The TPM's side of the identity: objects and counter. Straight-line ESYS calls. */
#include <endian.h>
#include <errno.h>

#include "platform/identity-internal.h"
#include "platform/tpm-templates.h"

/* The three sessions of a command: ours, with what it protects, and no other. */
#define WITH(tpm, protect) tpm_session(tpm, protect), ESYS_TR_NONE, ESYS_TR_NONE

void identity_tpm_flush(Tpm *tpm, ESYS_TR object)
{
        if (object != ESYS_TR_NONE)
                Esys_FlushContext(tpm_esys(tpm), object);
}

int identity_tpm_create_storage(Tpm *tpm, ESYS_TR *ret, TPM2B_PUBLIC *ret_pub, Reason *reason)
{
        TPM2B_SENSITIVE_CREATE sensitive = { 0 };
        TPM2B_DATA outside = { 0 };
        TPML_PCR_SELECTION pcrs = { 0 };
        ESYS_TR storage;
        _cleanup_esys_ TPM2B_PUBLIC *pub = NULL;
        TSS2_RC rc = Esys_CreatePrimary(tpm_esys(tpm), ESYS_TR_RH_OWNER,
                                        WITH(tpm, TPM_PROTECT_BOTH), &sensitive, &template_storage,
                                        &outside, &pcrs, &storage, &pub, NULL, NULL, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, reason, rc, "Cannot create the storage root key");
        *ret_pub = *pub;
        *ret = storage;
        return 0;
}

int identity_tpm_create_key(Tpm *tpm, ESYS_TR storage, const TPM2B_PUBLIC *template,
                            const TPM2B_SENSITIVE_DATA *sealed, IdentityBlob *ret, Reason *reason)
{
        TPM2B_SENSITIVE_CREATE sensitive = {
                .sensitive.data = sealed ? *sealed : (TPM2B_SENSITIVE_DATA){ 0 }
        };
        TPM2B_DATA outside = { 0 };
        TPML_PCR_SELECTION pcrs = { 0 };
        _cleanup_esys_ TPM2B_PRIVATE *priv = NULL;
        _cleanup_esys_ TPM2B_PUBLIC *pub = NULL;
        TSS2_RC rc = Esys_Create(tpm_esys(tpm), storage, WITH(tpm, TPM_PROTECT_BOTH), &sensitive,
                                 template, &outside, &pcrs, &priv, &pub, NULL, NULL, NULL);
        explicit_bzero(&sensitive, sizeof(sensitive));
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, reason, rc, "Cannot create a key in the TPM");
        *ret = (IdentityBlob){ .pub = *pub, .priv = *priv };
        return 0;
}

int identity_tpm_load(Tpm *tpm, ESYS_TR storage, const IdentityBlob *blob, ESYS_TR *ret,
                      Reason *reason)
{
        ESYS_TR key;
        TSS2_RC rc = Esys_Load(tpm_esys(tpm), storage, WITH(tpm, TPM_PROTECT_BOTH), &blob->priv,
                               &blob->pub, &key);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, reason, rc, "Cannot load the identity into the TPM");
        *ret = key;
        return 0;
}

/* Ours, or somebody else's object under the number that we use? */
static int check_counter(Tpm *tpm, ESYS_TR nv, uint32_t index, Reason *reason)
{
        _cleanup_esys_ TPM2B_NV_PUBLIC *pub = NULL;
        TSS2_RC rc = Esys_NV_ReadPublic(tpm_esys(tpm), nv, WITH(tpm, TPM_PROTECT_OUT), &pub, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, reason, rc, "Cannot read a counter's definition");
        TPM2B_NV_PUBLIC ours = template_counter(index, true);
        const TPMS_NV_PUBLIC *a = &pub->nvPublic, *b = &ours.nvPublic;
        if (a->nameAlg != b->nameAlg || a->dataSize != b->dataSize || a->authPolicy.size != 0 ||
            (a->attributes | TPMA_NV_WRITTEN) != b->attributes)
                return reason_set(reason, -EEXIST,
                                  "The TPM's NV index 0x%08x holds something that is not ours",
                                  index);
        return 0;
}

int identity_tpm_open_counter(Tpm *tpm, uint32_t index, ESYS_TR *ret, Reason *reason)
{
        ESYS_TR nv;
        TSS2_RC rc = Esys_TR_FromTPMPublic(tpm_esys(tpm), index, WITH(tpm, TPM_PROTECT_OUT), &nv);
        if (tpm_rc_base(rc) == TPM2_RC_HANDLE)
                return reason_set(reason, -ENOENT, "The TPM has no counter at 0x%08x any more",
                                  index);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, reason, rc, "Cannot find a counter");
        int r = check_counter(tpm, nv, index, reason);
        if (r < 0) {
                Esys_TR_Close(tpm_esys(tpm), &nv);
                return r;
        }
        *ret = nv;
        return 0;
}

static int define_counter(Tpm *tpm, uint32_t index, ESYS_TR *ret, Reason *reason)
{
        TPM2B_AUTH no_password = { 0 };
        TPM2B_NV_PUBLIC pub = template_counter(index, false);
        ESYS_TR nv;
        TSS2_RC rc = Esys_NV_DefineSpace(tpm_esys(tpm), ESYS_TR_RH_OWNER, WITH(tpm, TPM_PROTECT_IN),
                                         &no_password, &pub, &nv);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, reason, rc, "Cannot define a counter");
        *ret = nv;
        return 0;
}

int identity_tpm_increment(Tpm *tpm, ESYS_TR counter, uint64_t *ret, Reason *reason)
{
        TSS2_RC rc = Esys_NV_Increment(tpm_esys(tpm), ESYS_TR_RH_OWNER, counter,
                                       WITH(tpm, TPM_PROTECT_AUTH));
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, reason, rc, "Cannot increment a counter");
        int r = identity_tpm_read_counter(tpm, counter, ret, reason);
        /* What is run once more after a loss would be incremented twice. */
        return r == -ESTALE || r == -EACCES ? -EIO : r;
}

/* A counter has a value, and its final name, only after its first increment. */
int identity_tpm_create_counter(Tpm *tpm, uint32_t index, uint64_t *ret, Reason *reason)
{
        ESYS_TR nv = ESYS_TR_NONE;
        int r = identity_tpm_open_counter(tpm, index, &nv, reason);
        if (r == -ENOENT)
                r = define_counter(tpm, index, &nv, reason);
        if (r < 0)
                return r;
        if (identity_tpm_read_counter(tpm, nv, ret, reason) < 0)
                r = identity_tpm_increment(tpm, nv, ret, reason);
        Esys_TR_Close(tpm_esys(tpm), &nv);
        return r;
}

int identity_tpm_read_counter(Tpm *tpm, ESYS_TR counter, uint64_t *ret, Reason *reason)
{
        _cleanup_esys_ TPM2B_MAX_NV_BUFFER *data = NULL;
        uint64_t value;
        TSS2_RC rc = Esys_NV_Read(tpm_esys(tpm), counter, counter, WITH(tpm, TPM_PROTECT_OUT),
                                  sizeof(value), 0, &data);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, reason, rc, "Cannot read a counter");
        if (data->size != sizeof(value))
                return reason_set(reason, -EIO, "A counter has an impossible size");
        memcpy(&value, data->buffer, sizeof(value));
        *ret = be64toh(value);
        return 0;
}

/* Copies what one TPM2_PCR_Read gave; returns the PCRs that it was about. */
static uint32_t take_pcrs(const TPML_PCR_SELECTION *read, const TPML_DIGEST *values, PcrValues *ret)
{
        if (read->count != 1 || read->pcrSelections[0].sizeofSelect < 3)
                return 0;
        const uint8_t *s = read->pcrSelections[0].pcrSelect;
        uint32_t mask = s[0] | (uint32_t)s[1] << 8 | (uint32_t)s[2] << 16, taken = 0;
        uint32_t next = 0;
        for (unsigned i = 0; i < POLICY_PCR_COUNT && next < values->count; i++) {
                if (!(mask & 1U << i))
                        continue;
                const TPM2B_DIGEST *d = &values->digests[next++];
                if (d->size != POLICY_DIGEST_SIZE)
                        return 0;
                memcpy(ret->values[i], d->buffer, POLICY_DIGEST_SIZE);
                taken |= 1U << i;
        }
        return taken;
}

/* The TPM hands out at most eight values at a time. */
int identity_tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrValues *ret, Reason *reason)
{
        PcrValues pcrs = { .mask = mask };
        for (uint32_t left = mask; left != 0;) {
                TPML_PCR_SELECTION want = pcr_selection(left);
                _cleanup_esys_ TPML_PCR_SELECTION *read = NULL;
                _cleanup_esys_ TPML_DIGEST *values = NULL;
                TSS2_RC rc = Esys_PCR_Read(tpm_esys(tpm), WITH(tpm, TPM_PROTECT_WATCH), &want, NULL,
                                           &read, &values);
                if (rc != TSS2_RC_SUCCESS)
                        return tpm_fail(tpm, reason, rc, "Cannot read PCRs");
                uint32_t taken = take_pcrs(read, values, &pcrs) & left;
                if (taken == 0)
                        return reason_set(reason, -EIO,
                                          "The TPM has no SHA-256 bank with all of these PCRs");
                left &= ~taken;
        }
        *ret = pcrs;
        return 0;
}
