/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/tpm-attest.h"

#include "base/reader.h"

#define TPM_GENERATED UINT32_C(0xff544347)

/* Every TPM2B: a 16-bit length and the bytes. */
static Bytes read_2b(Reader *r)
{
        return reader_bytes(r, reader_u16(r));
}

/* TPML_PCR_SELECTION. A bitmap is at most 4 bytes long here: PCR 0 to 31. */
static void read_selections(Reader *r, TpmAttest *a)
{
        uint32_t n = reader_u32(r);
        if (n > TPM_SELECTIONS_MAX) {
                reader_fail(r);
                return;
        }
        for (uint32_t i = 0; i < n; i++) {
                TpmPcrSelection s = { .hash = reader_u16(r) };
                uint8_t size = reader_u8(r);
                if (size > 4)
                        reader_fail(r);
                for (unsigned k = 0; k < size && reader_ok(r); k++)
                        s.pcrs |= (uint32_t)reader_u8(r) << 8 * k;
                a->selections[i] = s;
        }
        a->n_selections = n;
}

bool tpm_attest_read(Bytes b, TpmAttest *ret)
{
        TpmAttest a = { 0 };
        Reader r = reader_new(b);

        if (reader_u32(&r) != TPM_GENERATED)
                return false;
        uint16_t type = reader_u16(&r);
        a.qualified_signer = read_2b(&r);
        a.extra_data = read_2b(&r);
        a.clock = reader_u64(&r);
        a.reset_count = reader_u32(&r);
        a.restart_count = reader_u32(&r);
        uint8_t safe = reader_u8(&r);
        a.safe = safe == 1;
        a.firmware_version = reader_u64(&r);
        switch (type) {
        case TPM_ATTEST_QUOTE:
                read_selections(&r, &a);
                a.pcr_digest = read_2b(&r);
                break;
        case TPM_ATTEST_CERTIFY:
                a.name = read_2b(&r);
                a.qualified_name = read_2b(&r);
                break;
        default:
                return false;
        }
        if (!reader_done(&r) || safe > 1)
                return false;
        a.type = (TpmAttestType)type;
        *ret = a;
        return true;
}

bool tpm_signature_read(Bytes b, TpmSignature *ret)
{
        Reader r = reader_new(b);
        TpmSignature s = { .scheme = reader_u16(&r), .hash = reader_u16(&r) };

        switch (s.scheme) {
        case TPM_ALG_ID_ECDSA:
                s.r = read_2b(&r);
                s.s = read_2b(&r);
                break;
        case TPM_ALG_ID_RSASSA:
        case TPM_ALG_ID_RSAPSS:
                s.bytes = read_2b(&r);
                break;
        default:
                return false;
        }
        if (!reader_done(&r))
                return false;
        *ret = s;
        return true;
}

/* TPMT_SYM_DEF_OBJECT: the cipher of a storage key, none for signing keys. */
static void skip_symmetric(Reader *r)
{
        if (reader_u16(r) != TPM_ALG_ID_NULL)
                reader_skip(r, 4); /* keyBits and mode */
}

/* TPMT_ECC_SCHEME, TPMT_RSA_SCHEME: an algorithm and, unless it is none, its hash. */
static void read_scheme(Reader *r, uint16_t *ret, uint16_t *ret_hash)
{
        *ret = reader_u16(r);
        *ret_hash = *ret == TPM_ALG_ID_NULL ? TPM_ALG_ID_NULL : reader_u16(r);
}

bool tpm_public_read(Bytes b, TpmPublic *ret)
{
        Reader r = reader_new(b);
        TpmPublic p = { .type = reader_u16(&r), .name_hash = reader_u16(&r) };
        uint16_t kdf, kdf_hash;

        p.attributes = reader_u32(&r);
        p.auth_policy = read_2b(&r);
        skip_symmetric(&r);
        read_scheme(&r, &p.scheme, &p.scheme_hash);
        switch (p.type) {
        case TPM_ALG_ID_ECC:
                p.curve = reader_u16(&r);
                read_scheme(&r, &kdf, &kdf_hash);
                p.x = read_2b(&r);
                p.y = read_2b(&r);
                break;
        case TPM_ALG_ID_RSA:
                p.key_bits = reader_u16(&r);
                p.exponent = reader_u32(&r);
                p.modulus = read_2b(&r);
                break;
        default:
                return false;
        }
        if (!reader_done(&r))
                return false;
        *ret = p;
        return true;
}

static bool pad_left(Bytes number, size_t size, uint8_t *ret)
{
        if (number.len > size)
                return false;
        memset(ret, 0, size - number.len);
        if (number.len > 0)
                memcpy(ret + size - number.len, number.data, number.len);
        return true;
}

bool tpm_signature_raw(const TpmSignature *s, size_t size, uint8_t *ret)
{
        return s->scheme == TPM_ALG_ID_ECDSA && pad_left(s->r, size, ret) &&
               pad_left(s->s, size, ret + size);
}

int tpm_name_matches(Bytes name, Bytes public_area, int (*sha256)(Bytes data, uint8_t *ret))
{
        uint8_t expected[2 + 32] = { TPM_ALG_ID_SHA256 >> 8, TPM_ALG_ID_SHA256 & 0xff };

        int r = sha256(public_area, expected + 2);
        if (r < 0)
                return r;
        return bytes_equal(name, BYTES(expected, sizeof(expected)));
}
