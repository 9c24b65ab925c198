/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The operator's key, which is on no gateway: in a PEM file, or in a token (a smart card, an HSM)
 * that a PKCS#11 URI (RFC 7512) names. `source` is either; what begins with "pkcs11:" is a URI.
 *
 * PINs and pass phrases that are not in the URI are asked on the terminal: both functions may
 * block. No sentence of theirs has what stands behind the URI's "?", where a PIN may be. */

#include "base/util.h"
#include "platform/p256.h"
#include "platform/reason.h"

#define OPERATOR_KEY_MAX     ((size_t)64 * 1024) /* of a PEM file */
#define OPERATOR_DIGEST_SIZE 32

/* The P-256 public key in a PEM file (public key, private key or certificate), or of a token's
 * public key or certificate. -EBADMSG: another kind of key; -ENOENT: no such token or object;
 * -ENOTUNIQ: several; -EINVAL: no PKCS#11 URI; -EKEYREJECTED: the token refuses the PIN;
 * -ENOTTY: nobody to ask; the errno of the file. */
int operator_key_load(const char *source, uint8_t ret[static P256_POINT_SIZE], Reason *reason);
/* ECDSA over a SHA-256 digest, which is then verified with `point`: -EINVAL when the key there is
 * another one. Otherwise as above. */
int operator_sign(const char *source, const uint8_t point[static P256_POINT_SIZE],
                  const uint8_t digest[static OPERATOR_DIGEST_SIZE],
                  uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason);
