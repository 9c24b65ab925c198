/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* P-256 keys and signatures between their forms: the TPM's plain numbers, PEM, DER. */

#include "base/bytes.h"
#include "base/util.h"

#define P256_POINT_SIZE     65 /* 0x04 || x || y */
#define P256_SIGNATURE_SIZE 64 /* r || s */
#define P256_DER_MAX        72 /* a signature as ECDSA-Sig-Value (RFC 3279 section 2.2.3) */

struct evp_pkey_st;
/* NULL when the point is not on the curve. */
struct evp_pkey_st *p256_from_point(const uint8_t point[static P256_POINT_SIZE]);
/* -EBADMSG for any other kind of key. */
int p256_to_point(const struct evp_pkey_st *key, uint8_t ret[static P256_POINT_SIZE]);
/* A new PEM public key; NULL when the point is not on the curve. */
char *p256_point_to_pem(const uint8_t point[static P256_POINT_SIZE]);
/* From a PEM public key or certificate. -EBADMSG. */
int p256_point_from_pem(const char *pem, uint8_t ret[static P256_POINT_SIZE]);
/* Of the DER SubjectPublicKeyInfo: the pin of the key. 0 or -EIO. */
int p256_spki_sha256(const uint8_t point[static P256_POINT_SIZE], uint8_t ret[static 32]);

int p256_signature_from_der(Bytes der, uint8_t ret[static P256_SIGNATURE_SIZE]);
int p256_signature_to_der(const uint8_t signature[static P256_SIGNATURE_SIZE],
                          uint8_t ret[static P256_DER_MAX], size_t *ret_len);
