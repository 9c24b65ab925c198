/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opens the identity key by the operator's policy, and says why when it does not open. */
#include <endian.h>
#include <errno.h>

#include "base/str.h"
#include "platform/identity-internal.h"
#include "platform/tpm-templates.h"

#define NONE          ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define WITH(protect) tpm_session(id->tpm, protect), ESYS_TR_NONE, ESYS_TR_NONE

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
static int verify_in_tpm(Identity *id, IdentityPolicy *p, Reason *reason)
{
        ESYS_CONTEXT *esys = tpm_esys(id->tpm);
        uint8_t hash[POLICY_DIGEST_SIZE];
        if (p->ticket)
                return 0;
        if (policy_to_be_signed(&p->policy, hash) < 0)
                return reason_set(reason, -EIO, "Cannot compute the policy's digest");
        TPM2B_PUBLIC op = template_operator(p->policy.operator_point);
        TPM2B_DIGEST digest = to_digest(hash);
        TPMT_SIGNATURE signature = to_signature(p->policy.signature);
        ESYS_TR key;
        TSS2_RC rc =
                Esys_LoadExternal(esys, WITH(TPM_PROTECT_WATCH), NULL, &op, ESYS_TR_RH_OWNER, &key);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot load the operator key");
        rc = Esys_VerifySignature(esys, key, WITH(TPM_PROTECT_IN), &digest, &signature, &p->ticket);
        identity_tpm_flush(id->tpm, key);
        if (tpm_rc_base(rc) == TPM2_RC_SIGNATURE)
                return reason_set(reason, -EBADMSG,
                                  "The installed policy's signature is not by the operator key");
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot check the policy's signature");
        return 0;
}

/* The TPM said no: because it is not in the state that the policy is for? */
static int explain(Identity *id, const Policy *p, TSS2_RC rc, Reason *reason)
{
        PcrValues now = { 0 };
        uint64_t counter;
        int r = p->hands_over ? 0 : identity_tpm_read_pcrs(id->tpm, p->pcrs.mask, &now, reason);
        if (r == 0)
                r = identity_tpm_read_counter(id->tpm, id->counter, &counter, reason);
        if (r == 0)
                r = policy_explain(p, &now, counter, reason);
        return r < 0 ? r : tpm_fail(id->tpm, reason, rc, "The TPM refused the installed policy");
}

static int add_pcrs(Identity *id, const Policy *p, ESYS_TR session, Reason *reason)
{
        uint8_t values[POLICY_DIGEST_SIZE];
        if (pcrs_digest(&p->pcrs, values) < 0)
                return reason_set(reason, -EIO, "Cannot compute the policy's digest");
        TPM2B_DIGEST digest = to_digest(values);
        TPML_PCR_SELECTION selection = pcr_selection(p->pcrs.mask);
        TSS2_RC rc = Esys_PolicyPCR(tpm_esys(id->tpm), session, WITH(TPM_PROTECT_IN), &digest,
                                    &selection);
        if (tpm_rc_base(rc) == TPM2_RC_VALUE)
                return explain(id, p, rc, reason);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot check the PCRs");
        return 0;
}

static int add_counter(Identity *id, const Policy *p, ESYS_TR session, Reason *reason)
{
        uint64_t maximum = htobe64(p->counter_maximum);
        TPM2B_OPERAND operand = { .size = sizeof(maximum) };
        memcpy(operand.buffer, &maximum, sizeof(maximum));
        TSS2_RC rc = Esys_PolicyNV(tpm_esys(id->tpm), id->counter, id->counter, session,
                                   WITH(TPM_PROTECT_IN), &operand, 0, TPM2_EO_UNSIGNED_LE);
        if (tpm_rc_base(rc) == TPM2_RC_POLICY)
                return explain(id, p, rc, reason);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot check the policy counter");
        return 0;
}

static int add_authorization(Identity *id, IdentityPolicy *p, ESYS_TR session, Reason *reason)
{
        uint8_t approved[POLICY_DIGEST_SIZE];
        TPM2B_NAME name = { .size = POLICY_NAME_SIZE };
        TPM2B_NONCE ref = { .size = sizeof(POLICY_REF) - 1 };
        memcpy(ref.buffer, POLICY_REF, ref.size);
        if (policy_digest(&p->policy, approved) < 0 ||
            operator_name(p->policy.operator_point, name.name) < 0)
                return reason_set(reason, -EIO, "Cannot compute the policy's digest");
        TPM2B_DIGEST digest = to_digest(approved);
        TSS2_RC rc = Esys_PolicyAuthorize(tpm_esys(id->tpm), session, WITH(TPM_PROTECT_IN), &digest,
                                          &ref, &name, p->ticket);
        if (rc != TSS2_RC_SUCCESS) {
                Esys_Free(TAKE_PTR(p->ticket)); /* of before a reset of the TPM, perhaps */
                return tpm_fail(id->tpm, reason, rc, "The TPM refused the installed policy");
        }
        return 0;
}

/* From who signed the policy back to the key that the identity was made for: each approves the next
 * by a hand-over. The TPM's own word for each is fetched before the session needs it. */
static int verify_chain(Identity *id, IdentityPolicy *p, Reason *reason)
{
        int r = 0;
        for (; p && r == 0; p = p->by)
                r = verify_in_tpm(id, p, reason);
        return r;
}

static int add_chain(Identity *id, IdentityPolicy *p, ESYS_TR session, Reason *reason)
{
        int r = add_pcrs(id, &p->policy, session, reason);
        for (; p && r == 0; p = p->by) {
                r = add_counter(id, &p->policy, session, reason);
                if (r == 0)
                        r = add_authorization(id, p, session, reason);
        }
        return r;
}

static int authorize_by(Identity *id, IdentityPolicy *p, ESYS_TR *ret_session, Reason *reason)
{
        static const TPMT_SYM_DEF none = { .algorithm = TPM2_ALG_NULL };
        ESYS_TR session;
        int r = verify_chain(id, p, reason);
        if (r < 0)
                return r;
        TSS2_RC rc = Esys_StartAuthSession(tpm_esys(id->tpm), ESYS_TR_NONE, ESYS_TR_NONE,
                                           WITH(TPM_PROTECT_WATCH), NULL, TPM2_SE_POLICY, &none,
                                           TPM2_ALG_SHA256, &session);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot start a policy session");
        r = add_chain(id, p, session, reason);
        if (r < 0) {
                identity_tpm_flush(id->tpm, session);
                return r;
        }
        *ret_session = session;
        return 0;
}

/* The one that held last holds as a rule; otherwise the state has changed, or nothing was chosen.
 */
int identity_authorize(Identity *id, ESYS_TR *ret_session, Reason *reason)
{
        int r = -EKEYREJECTED;
        if (id->current < id->n_policies)
                r = authorize_by(id, &id->policies[id->current], ret_session, reason);
        if (r != -EKEYREJECTED && r != -EKEYREVOKED)
                return r;
        r = identity_choose_policy(id, reason);
        return r < 0 ? r : authorize_by(id, &id->policies[id->current], ret_session, reason);
}
