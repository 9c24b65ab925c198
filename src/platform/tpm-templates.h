/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Public areas: what our keys and our counter are. For platform/ alone. */

#include <tss2/tss2_tpm2_types.h>

#include "platform/tpm-policy.h"

/* The storage root key of the TCG provisioning guidance, ECC P-256, zero-filled unique: the same
 * key each time it is created in the same TPM. */
extern const TPM2B_PUBLIC template_storage;
/* Signs anything, while its policy holds; no password opens it. What opens it is userWithAuth,
 * which is clear: a use of the key (USER role: to sign) asks for the policy and takes no authValue.
 * adminWithPolicy is clear too, so that the empty authValue is enough for the ADMIN role (Part 1,
 * 19.3): without it TPM2_Certify would want a branch of the policy that names that command, which
 * PolicyAuthorize cannot add later. That role opens two commands on this key. TPM2_Certify tells
 * what the key is and signs with the AK. TPM2_ObjectChangeAuth makes a blob with another authValue,
 * which nothing that signs ever asks for. */
TPM2B_PUBLIC template_identity(const uint8_t policy[static POLICY_DIGEST_SIZE]);
/* Data that the TPM hands out while the same policy holds. */
TPM2B_PUBLIC template_secret(const uint8_t policy[static POLICY_DIGEST_SIZE]);
/* Signs only what this TPM itself attests. */
extern const TPM2B_PUBLIC template_attestation;
/* The endorsement keys of the TCG EK Credential Profile, templates L-1 and L-2. */
extern const TPM2B_PUBLIC template_endorsement_rsa, template_endorsement_ecc;
/* The operator's public key as a TPM object of no TPM. */
TPM2B_PUBLIC template_operator(const uint8_t point[static P256_POINT_SIZE]);
/* A counter that its owner increments and everybody reads; `written` tells its name apart. */
TPM2B_NV_PUBLIC template_counter(uint32_t index, bool written);

/* The public point of an ECC P-256 key; -EBADMSG for any other. */
int public_to_point(const TPM2B_PUBLIC *pub, uint8_t ret[static P256_POINT_SIZE]);
/* The selection of PCRs of the SHA-256 bank. */
TPML_PCR_SELECTION pcr_selection(uint32_t mask);
