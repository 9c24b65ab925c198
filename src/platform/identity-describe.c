/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The public side of the identity, in the forms that a report to a verifier has. */
#include <errno.h>
#include <tss2/tss2_mu.h>

#include "platform/crypto.h"
#include "platform/identity-internal.h"

/* TPM 2.0 Library Part 1, 16: the name algorithm and the digest of the public area. */
static int ak_name(const Identity *id, uint8_t ret[static POLICY_NAME_SIZE])
{
        uint8_t area[512];
        size_t len = 0;
        if (Tss2_MU_TPMT_PUBLIC_Marshal(&id->files.ak.pub.publicArea, area, sizeof(area), &len) !=
            TSS2_RC_SUCCESS)
                return -EIO;
        ret[0] = TPM2_ALG_SHA256 >> 8;
        ret[1] = TPM2_ALG_SHA256 & 0xff;
        return crypto_sha256(BYTES(area, len), ret + 2);
}

int identity_describe(const Identity *id, IdentityDescription *ret)
{
        IdentityDescription d = { 0 };
        size_t len = 0;
        TSS2_RC rc = Tss2_MU_TPMT_PUBLIC_Marshal(&id->files.key.pub.publicArea, d.public_area,
                                                 sizeof(d.public_area), &len);
        if (rc != TSS2_RC_SUCCESS)
                return -EIO;
        d.public_area_len = len;
        d.ak_id[0] = 0x01;
        int r = p256_spki_sha256(id->point, d.spki_sha256);
        if (r >= 0)
                r = p256_spki_sha256(id->ak_point, d.ak_id + 1);
        if (r >= 0)
                r = ak_name(id, d.ak_name);
        if (r < 0)
                return r;
        *ret = d;
        return 0;
}
