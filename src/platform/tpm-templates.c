/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/tpm-templates.h"

#include <errno.h>

#define NUMBER_SIZE 32 /* of P-256 */

const TPM2B_PUBLIC template_storage = {
        .publicArea = {
                .type = TPM2_ALG_ECC,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_RESTRICTED |
                                    TPMA_OBJECT_DECRYPT | TPMA_OBJECT_FIXEDTPM |
                                    TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                    TPMA_OBJECT_NODA,
                .parameters.eccDetail = {
                        .symmetric = { .algorithm = TPM2_ALG_AES,
                                       .keyBits.aes = 128,
                                       .mode.aes = TPM2_ALG_CFB },
                        .scheme.scheme = TPM2_ALG_NULL,
                        .curveID = TPM2_ECC_NIST_P256,
                        .kdf.scheme = TPM2_ALG_NULL,
                },
                .unique.ecc = { .x.size = NUMBER_SIZE, .y.size = NUMBER_SIZE },
        },
};

#define ECDSA_P256_SHA256                                                                          \
        {                                                                                          \
                .symmetric.algorithm = TPM2_ALG_NULL,                                              \
                .scheme = { .scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256 },  \
                .curveID = TPM2_ECC_NIST_P256, .kdf.scheme = TPM2_ALG_NULL,                        \
        }

const TPM2B_PUBLIC template_attestation = {
        .publicArea = {
                .type = TPM2_ALG_ECC,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_RESTRICTED |
                                    TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_FIXEDTPM |
                                    TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                    TPMA_OBJECT_NODA,
                .parameters.eccDetail = ECDSA_P256_SHA256,
        },
};

#define ENDORSEMENT                                                                                \
        .nameAlg = TPM2_ALG_SHA256,                                                                \
        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |                       \
                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_ADMINWITHPOLICY |        \
                            TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,                          \
        .authPolicy = { .size = 32, .buffer = { 0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8,    \
                                                0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,    \
                                                0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64,    \
                                                0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa } }

#define AES_128_CFB                                                                                \
        {                                                                                          \
                .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB            \
        }

const TPM2B_PUBLIC template_endorsement_rsa = {
        .publicArea = { .type = TPM2_ALG_RSA,
                        ENDORSEMENT,
                        .parameters.rsaDetail = { .symmetric = AES_128_CFB,
                                                  .scheme.scheme = TPM2_ALG_NULL,
                                                  .keyBits = 2048 },
                        .unique.rsa.size = 256 },
};

const TPM2B_PUBLIC template_endorsement_ecc = {
        .publicArea = { .type = TPM2_ALG_ECC,
                        ENDORSEMENT,
                        .parameters.eccDetail = { .symmetric = AES_128_CFB,
                                                  .scheme.scheme = TPM2_ALG_NULL,
                                                  .curveID = TPM2_ECC_NIST_P256,
                                                  .kdf.scheme = TPM2_ALG_NULL },
                        .unique.ecc = { .x.size = NUMBER_SIZE, .y.size = NUMBER_SIZE } },
};

TPM2B_PUBLIC template_identity(const uint8_t policy[static POLICY_DIGEST_SIZE])
{
        TPM2B_PUBLIC pub = {
                .publicArea = {
                        .type = TPM2_ALG_ECC,
                        .nameAlg = TPM2_ALG_SHA256,
                        .objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_FIXEDTPM |
                                            TPMA_OBJECT_FIXEDPARENT |
                                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_NODA,
                        .authPolicy.size = POLICY_DIGEST_SIZE,
                        .parameters.eccDetail = ECDSA_P256_SHA256,
                },
        };
        memcpy(pub.publicArea.authPolicy.buffer, policy, POLICY_DIGEST_SIZE);
        return pub;
}

TPM2B_PUBLIC template_secret(const uint8_t policy[static POLICY_DIGEST_SIZE])
{
        TPM2B_PUBLIC pub = {
                .publicArea = {
                        .type = TPM2_ALG_KEYEDHASH,
                        .nameAlg = TPM2_ALG_SHA256,
                        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                            TPMA_OBJECT_NODA,
                        .authPolicy.size = POLICY_DIGEST_SIZE,
                        .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
                },
        };
        memcpy(pub.publicArea.authPolicy.buffer, policy, POLICY_DIGEST_SIZE);
        return pub;
}

TPM2B_PUBLIC template_operator(const uint8_t point[static P256_POINT_SIZE])
{
        TPM2B_PUBLIC pub = {
                .publicArea = {
                        .type = TPM2_ALG_ECC,
                        .nameAlg = TPM2_ALG_SHA256,
                        .objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_USERWITHAUTH,
                        .parameters.eccDetail = { .symmetric.algorithm = TPM2_ALG_NULL,
                                                  .scheme.scheme = TPM2_ALG_NULL,
                                                  .curveID = TPM2_ECC_NIST_P256,
                                                  .kdf.scheme = TPM2_ALG_NULL },
                        .unique.ecc = { .x.size = NUMBER_SIZE, .y.size = NUMBER_SIZE },
                },
        };
        memcpy(pub.publicArea.unique.ecc.x.buffer, point + 1, NUMBER_SIZE);
        memcpy(pub.publicArea.unique.ecc.y.buffer, point + 1 + NUMBER_SIZE, NUMBER_SIZE);
        return pub;
}

TPM2B_NV_PUBLIC template_counter(uint32_t index, bool written)
{
        return (TPM2B_NV_PUBLIC){
                .nvPublic = {
                        .nvIndex = index,
                        .nameAlg = TPM2_ALG_SHA256,
                        .attributes = (TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT) |
                                      TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD |
                                      TPMA_NV_NO_DA | (written ? TPMA_NV_WRITTEN : 0),
                        .dataSize = sizeof(uint64_t),
                },
        };
}

/* The TPM leaves leading zeroes out. */
static bool copy_number(const TPM2B_ECC_PARAMETER *n, uint8_t ret[static NUMBER_SIZE])
{
        if (n->size > NUMBER_SIZE)
                return false;
        memset(ret, 0, NUMBER_SIZE);
        memcpy(ret + NUMBER_SIZE - n->size, n->buffer, n->size);
        return true;
}

int public_to_point(const TPM2B_PUBLIC *pub, uint8_t ret[static P256_POINT_SIZE])
{
        const TPMT_PUBLIC *p = &pub->publicArea;
        uint8_t point[P256_POINT_SIZE] = { 0x04 };
        if (p->type != TPM2_ALG_ECC || p->parameters.eccDetail.curveID != TPM2_ECC_NIST_P256 ||
            !copy_number(&p->unique.ecc.x, point + 1) ||
            !copy_number(&p->unique.ecc.y, point + 1 + NUMBER_SIZE))
                return -EBADMSG;
        memcpy(ret, point, sizeof(point));
        return 0;
}

TPML_PCR_SELECTION pcr_selection(uint32_t mask)
{
        return (TPML_PCR_SELECTION){
                .count = 1,
                .pcrSelections[0] = { .hash = TPM2_ALG_SHA256,
                                      .sizeofSelect = 3,
                                      .pcrSelect = { (uint8_t)mask, (uint8_t)(mask >> 8),
                                                     (uint8_t)(mask >> 16) } },
        };
}
