/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/tpm-attest.h"

#include "base/util.h"
#include "proto/parsec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

static void read_all(Bytes in)
{
        TpmAttest a;
        TpmSignature s;
        TpmPublic p;
        uint8_t raw[2 * 32];

        if (tpm_attest_read(in, &a))
                require(a.n_selections <= TPM_SELECTIONS_MAX && a.extra_data.len <= in.len);
        if (tpm_signature_read(in, &s))
                (void)tpm_signature_raw(&s, 32, raw);
        if (tpm_public_read(in, &p))
                require(p.x.len + p.y.len + p.modulus.len <= in.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_buf_ Buf b = BUF_INIT(2 * size + 256);
        ParsecEvidence e, again;

        read_all(BYTES(data, size));
        if (!parsec_evidence_read(BYTES(data, size), &e))
                return 0;
        read_all(e.cert_info);
        read_all(e.cert_signature);
        read_all(e.public_area);
        read_all(e.quote_info);
        read_all(e.quote_signature);
        require(parsec_evidence_write(&e, &b) == 0);
        require(parsec_evidence_read(buf_view(&b), &again));
        require(bytes_equal(e.quote_info, again.quote_info));
        return 0;
}
