/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Apart from the arithmetic: who signs may need PKCS#11, and the daemon never signs. */
#include <string.h>

#include "platform/operator-key.h"
#include "platform/tpm-policy.h"

int policy_sign(Policy *p, const char *key_source, Reason *reason)
{
        uint8_t digest[POLICY_DIGEST_SIZE], signature[P256_SIGNATURE_SIZE];
        int r = policy_to_be_signed(p, digest);
        if (r < 0)
                return reason_set(reason, r, "Cannot compute what is to be signed");
        r = operator_sign(key_source, p->operator_point, digest, signature, reason);
        if (r < 0)
                return r;
        memcpy(p->signature, signature, sizeof(signature));
        p->is_signed = true;
        return 0;
}
