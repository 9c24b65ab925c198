/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The operator's key in a PKCS#11 token; errors as in platform/operator-key.h. */

#include "platform/operator-key.h"

bool pkcs11_is_uri(const char *source);
int pkcs11_load_point(const char *uri, uint8_t ret[static P256_POINT_SIZE], Reason *reason);
int pkcs11_sign(const char *uri, const uint8_t digest[static OPERATOR_DIGEST_SIZE],
                uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason);
