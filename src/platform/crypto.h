/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Digests, randomness and signature verification: libcrypto behind plain types. */

#include "base/bytes.h"
#include "base/util.h"

#define CRYPTO_SHA256_SIZE 32

/* 0 or -EIO. */
int crypto_sha256(Bytes data, uint8_t ret[static CRYPTO_SHA256_SIZE]);
/* From the DRBG that libcrypto seeds; 0 or -EIO, and then nothing may be used. */
int crypto_random(void *p, size_t len);
/* So that gateways do not come back together: the middle of the range when there is no random. */
uint32_t crypto_jitter(void);

/* HKDF-SHA256 (RFC 5869) without salt, `label` as info: a key for one purpose out of `secret`,
 * which is as random as a key. 0 or -EIO. */
int crypto_hkdf(Bytes secret, const char *label, uint8_t ret[static CRYPTO_SHA256_SIZE]);

/* HMAC-SHA256 (RFC 2104). 0 or -EIO. */
int crypto_hmac(const uint8_t key[static CRYPTO_SHA256_SIZE], Bytes message,
                uint8_t ret[static CRYPTO_SHA256_SIZE]);
/* Whether two secrets or digests are the same, in a time that does not tell where they differ. */
bool crypto_same(const uint8_t *a, const uint8_t *b, size_t len);

/* A new PEM text (RFC 7468) of DER; NULL without memory. */
char *crypto_pem(const char *label, Bytes der);

/* A public key that somebody enrolled: EC P-256/P-384/P-521 or Ed25519. Reference-counted. */
typedef struct PublicKey PublicKey;

/* A PEM file with one SubjectPublicKeyInfo or certificate. -EBADMSG when it holds no key that is
 * supported; the errno of the file otherwise. */
int public_key_load(const char *path, PublicKey **ret);
/* DER SubjectPublicKeyInfo, exactly. -EBADMSG. */
int public_key_from_spki(Bytes der, PublicKey **ret);
PublicKey *public_key_ref(PublicKey *k);
PublicKey *public_key_unref(PublicKey *k);
DEFINE_CLEANUP(PublicKey, public_key_unref)

/* The COSE algorithm that its signatures are of; there is one for each kind of key. */
int public_key_alg(const PublicKey *k);
/* SHA-256 over the DER SubjectPublicKeyInfo: the pin. */
int public_key_spki_sha256(const PublicKey *k, uint8_t ret[static CRYPTO_SHA256_SIZE]);

/* Verifies a COSE signature (r || s for ECDSA, RFC 9053 section 2.1) made with COSE algorithm
 * `alg` (-7 ES256, -35 ES384, -36 ES512, -8 EdDSA). The curve must be the algorithm's own
 * (P-256, P-384, P-521, Ed25519) and the signature exactly its length.
 * 1 good, 0 bad or not for this key, negative errno when libcrypto failed. */
int public_key_verify_cose(const PublicKey *k, int alg, Bytes message, Bytes signature);
