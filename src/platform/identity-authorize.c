/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opens the identity key by the operator's policy, and says why when it does not open. */
#include <endian.h>
#include <errno.h>

#include "base/str.h"
#include "platform/identity-internal.h"
#include "platform/tpm-templates.h"

#define NONE     ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE

static TPM2B_DIGEST to_digest(const uint8_t d[static POLICY_DIGEST_SIZE])
{
        TPM2B_DIGEST digest = { .size = POLICY_DIGEST_SIZE };
        memcpy(digest.buffer, d, POLICY_DIGEST_SIZE);
        return digest;
}

static TPMT_SIGNATURE to_signature(const uint8_t raw[static P256_SIGNATURE_SIZE])
{
        TPMT_SIGNATURE s = { .sigAlg = TPM2_ALG_ECDSA,
                             .signature.ecdsa = { .hash = TPM2_ALG_SHA256,
                                                  .signatureR.size = P256_SIGNATURE_SIZE / 2,
                                                  .signatureS.size = P256_SIGNATURE_SIZE / 2 } };
        memcpy(s.signature.ecdsa.signatureR.buffer, raw, P256_SIGNATURE_SIZE / 2);
        memcpy(s.signature.ecdsa.signatureS.buffer, raw + P256_SIGNATURE_SIZE / 2,
               P256_SIGNATURE_SIZE / 2);
        return s;
}

/* Has the TPM check the operator's signature. Its ticket holds until the TPM is reset. */
static int verify_in_tpm(Identity *id, Reason *reason)
{
        ESYS_CONTEXT *esys = tpm_esys(id->tpm);
        uint8_t hash[POLICY_DIGEST_SIZE];
        if (id->ticket)
                return 0;
        if (policy_to_be_signed(&id->policy, hash) < 0)
                return reason_set(reason, -EIO, "Cannot compute the policy's digest");
        TPM2B_PUBLIC op = template_operator(id->files.operator_point);
        TPM2B_DIGEST digest = to_digest(hash);
        TPMT_SIGNATURE signature = to_signature(id->policy.signature);
        ESYS_TR key;
        TSS2_RC rc = Esys_LoadExternal(esys, NONE, NULL, &op, ESYS_TR_RH_OWNER, &key);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot load the operator key");
        rc = Esys_VerifySignature(esys, key, NONE, &digest, &signature, &id->ticket);
        identity_tpm_flush(id->tpm, key);
        if (tpm_rc_base(rc) == TPM2_RC_SIGNATURE)
                return reason_set(reason, -EBADMSG,
                                  "The installed policy's signature is not by the operator key");
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot check the policy's signature");
        return 0;
}

static int pcrs_differ(Identity *id, TSS2_RC rc, Reason *reason)
{
        PcrValues now;
        const PcrValues *want = &id->policy.pcrs;
        int r = identity_tpm_read_pcrs(id->tpm, want->mask, &now, reason);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                char is[2 * POLICY_DIGEST_SIZE + 1], wants[2 * POLICY_DIGEST_SIZE + 1];
                if (!(want->mask & 1U << i) ||
                    memcmp(now.values[i], want->values[i], POLICY_DIGEST_SIZE) == 0)
                        continue;
                hex_encode(BYTES(now.values[i], POLICY_DIGEST_SIZE), is);
                hex_encode(BYTES(want->values[i], POLICY_DIGEST_SIZE), wants);
                return reason_set(reason, -EKEYREJECTED,
                                  "The TPM's PCR values are not those that the installed policy "
                                  "allows: PCR %u is %s, the policy wants %s",
                                  i, is, wants);
        }
        return tpm_fail(id->tpm, reason, rc, "The TPM refused the installed policy's PCRs");
}

static int add_pcrs(Identity *id, ESYS_TR session, Reason *reason)
{
        uint8_t values[POLICY_DIGEST_SIZE];
        if (pcrs_digest(&id->policy.pcrs, values) < 0)
                return reason_set(reason, -EIO, "Cannot compute the policy's digest");
        TPM2B_DIGEST digest = to_digest(values);
        TPML_PCR_SELECTION selection = pcr_selection(id->policy.pcrs.mask);
        TSS2_RC rc = Esys_PolicyPCR(tpm_esys(id->tpm), session, NONE, &digest, &selection);
        if (tpm_rc_base(rc) == TPM2_RC_VALUE)
                return pcrs_differ(id, rc, reason);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot check the PCRs");
        return 0;
}

static int add_counter(Identity *id, ESYS_TR session, Reason *reason)
{
        uint64_t maximum = htobe64(id->policy.counter_maximum), now = 0;
        TPM2B_OPERAND operand = { .size = sizeof(maximum) };
        memcpy(operand.buffer, &maximum, sizeof(maximum));
        TSS2_RC rc = Esys_PolicyNV(tpm_esys(id->tpm), id->counter, id->counter, session, PASSWORD,
                                   &operand, 0, TPM2_EO_UNSIGNED_LE);
        if (rc == TPM2_RC_POLICY) {
                int r = identity_tpm_read_counter(id->tpm, id->counter, &now, reason);
                return r < 0 ? r
                             : reason_set(reason, -EKEYREVOKED,
                                          "The installed policy was retired: the counter stands "
                                          "at %llu, the policy holds up to %llu",
                                          (unsigned long long)now,
                                          (unsigned long long)id->policy.counter_maximum);
        }
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot check the policy counter");
        return 0;
}

static int add_authorization(Identity *id, ESYS_TR session, Reason *reason)
{
        uint8_t approved[POLICY_DIGEST_SIZE];
        TPM2B_NAME name = { .size = POLICY_NAME_SIZE };
        TPM2B_NONCE ref = { .size = sizeof(POLICY_REF) - 1 };
        memcpy(ref.buffer, POLICY_REF, ref.size);
        if (policy_digest(&id->policy, approved) < 0 ||
            operator_name(id->files.operator_point, name.name) < 0)
                return reason_set(reason, -EIO, "Cannot compute the policy's digest");
        TPM2B_DIGEST digest = to_digest(approved);
        TSS2_RC rc = Esys_PolicyAuthorize(tpm_esys(id->tpm), session, NONE, &digest, &ref, &name,
                                          id->ticket);
        if (rc != TSS2_RC_SUCCESS) {
                Esys_Free(TAKE_PTR(id->ticket)); /* of before a reset of the TPM, perhaps */
                return tpm_fail(id->tpm, reason, rc, "The TPM refused the installed policy");
        }
        return 0;
}

int identity_authorize(Identity *id, ESYS_TR *ret_session, Reason *reason)
{
        if (!id->has_policy) {
                *reason = id->policy_reason;
                return id->policy_error;
        }
        int r = verify_in_tpm(id, reason);
        if (r < 0)
                return r;
        static const TPMT_SYM_DEF none = { .algorithm = TPM2_ALG_NULL };
        ESYS_TR session;
        TSS2_RC rc = Esys_StartAuthSession(tpm_esys(id->tpm), ESYS_TR_NONE, ESYS_TR_NONE, NONE,
                                           NULL, TPM2_SE_POLICY, &none, TPM2_ALG_SHA256, &session);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot start a policy session");
        r = add_pcrs(id, session, reason);
        if (r == 0)
                r = add_counter(id, session, reason);
        if (r == 0)
                r = add_authorization(id, session, reason);
        if (r < 0) {
                identity_tpm_flush(id->tpm, session);
                return r;
        }
        *ret_session = session;
        return 0;
}
