/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Claims of a PSA attestation token, in the three dialects that devices in the field speak:
 * PSA_IOT_PROFILE_1, http://arm.com/psa/2.0.0 and RFC 9783 (tag:psacertified.org,2023:psa#tfm). */

#include "base/bytes.h"

#define PSA_COMPONENTS_MAX 32
#define PSA_TOKEN_MAX      4096

typedef enum PsaDialect {
        PSA_DIALECT_PROFILE_1,
        PSA_DIALECT_2_0_0,
        PSA_DIALECT_TFM,
} PsaDialect;
const char *psa_dialect_to_string(PsaDialect d);

/* Views into the payload; a view without data is an absent claim. */
typedef struct PsaComponent {
        Bytes type, value, version, signer, description;
} PsaComponent;

typedef struct PsaClaims {
        PsaDialect dialect;
        Bytes nonce;             /* 32, 48 or 64 bytes */
        Bytes instance_id;       /* 33 bytes, the first is 01 */
        Bytes implementation_id; /* 32 bytes */
        int32_t client_id;       /* not 0; negative: non-secure caller */
        uint16_t lifecycle;      /* 0x0000 to 0x60ff */
        Bytes boot_seed;
        PsaComponent components[PSA_COMPONENTS_MAX];
        size_t n_components; /* 0 only where PROFILE_1 says that there are no measurements */
} PsaClaims;

typedef enum EatOutcome {
        EAT_OK,
        EAT_E_MALFORMED,
        EAT_E_PROFILE,
        EAT_E_NONCE,
        EAT_E_INSTANCE_ID,
        EAT_E_IMPLEMENTATION_ID,
        EAT_E_CLIENT_ID,
        EAT_E_LIFECYCLE,
        EAT_E_BOOT_SEED,
        EAT_E_COMPONENTS,
} EatOutcome;
/* One line for a person. */
const char *eat_outcome_to_string(EatOutcome o);

/* Reads the payload of a token: every claim that RFC 9783 demands is there and in its range. */
EatOutcome eat_psa_read(Bytes payload, PsaClaims *ret);
