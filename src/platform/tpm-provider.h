/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A built-in OpenSSL provider that knows one thing: P-256 keys whose private half is elsewhere.
 * An EVP_PKEY from here signs with ECDSA and SHA-256 in TLS and X.509 like any other; everything
 * else stays with the default provider. The signature is made by a callback, which may yield its
 * fiber. For platform/ alone. */

#include "platform/p256.h"
#include "platform/reason.h"

struct evp_pkey_st;

typedef int (*TpmProviderSign)(void *userdata, const uint8_t digest[static 32],
                               uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason);

/* `userdata` has to live as long as the key and all that holds a reference to it. A signature
 * that fails is logged here, since libcrypto cannot carry the sentence. */
int tpm_provider_key(const uint8_t point[static P256_POINT_SIZE], TpmProviderSign sign,
                     void *userdata, struct evp_pkey_st **ret, Reason *reason);
