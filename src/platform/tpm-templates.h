/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Public areas: what our keys and our counter are. For platform/ alone. */

#include <tss2/tss2_tpm2_types.h>

#include "platform/tpm-policy.h"

/* The storage root key of the TCG provisioning guidance, ECC P-256, zero-filled unique: the same
 * key each time it is created in the same TPM. */
extern const TPM2B_PUBLIC template_storage;
/* Signs anything, restricted to what its policy says; no password opens it. */
TPM2B_PUBLIC template_identity(const uint8_t policy[static POLICY_DIGEST_SIZE]);
/* Signs only what this TPM itself attests. */
extern const TPM2B_PUBLIC template_attestation;
/* The operator's public key as a TPM object of no TPM. */
TPM2B_PUBLIC template_operator(const uint8_t point[static P256_POINT_SIZE]);
/* A counter that its owner increments and everybody reads; `written` tells its name apart. */
TPM2B_NV_PUBLIC template_counter(uint32_t index, bool written);

/* The public point of an ECC P-256 key; -EBADMSG for any other. */
int public_to_point(const TPM2B_PUBLIC *pub, uint8_t ret[static P256_POINT_SIZE]);
/* The selection of PCRs of the SHA-256 bank. */
TPML_PCR_SELECTION pcr_selection(uint32_t mask);
