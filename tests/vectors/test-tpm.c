/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vectors.h"

#include "proto/corim.h"
#include "proto/cose.h"
#include "proto/parsec.h"
#include "proto/tpm-attest.h"

#define PARSEC "tpm/parsec/"

/* A TPM's P-256 signature over `info`, under the key that the CoRIM enrols. */
static int verify_tpm(const PublicKey *key, Bytes info, Bytes signature)
{
        TpmSignature s;
        uint8_t raw[64];

        assert_true(tpm_signature_read(signature, &s));
        assert_int_equal(s.scheme, TPM_ALG_ID_ECDSA);
        assert_int_equal(s.hash, TPM_ALG_ID_SHA256);
        assert_true(tpm_signature_raw(&s, 32, raw));
        return public_key_verify_cose(key, COSE_ES256, info, BYTES(raw, sizeof(raw)));
}

static void parsec(void **state)
{
        static const uint8_t nonce[] = { 0xde, 0xad, 0xbe, 0xef, 0xde, 0xad, 0xbe, 0xef };
        _cleanup_file_ File f = file_load(PARSEC "evidence.cbor");
        _cleanup_file_ File corim = file_load(PARSEC "corim-parsec-tpm-valid.cbor");
        _cleanup_(corim_freep) Corim *c = NULL;
        _cleanup_(public_key_unrefp) PublicKey *ak = NULL;
        const CorimTrust trust = { 0 };
        ParsecEvidence e;
        TpmAttest kat, pat;
        TpmPublic public;

        assert_int_equal(corim_read(file_bytes(&corim), &trust, 1, &c), CORIM_OK);
        assert_int_equal(public_key_from_spki(BYTES(c->keys[0].spki, c->keys[0].spki_len), &ak), 0);
        assert_true(parsec_evidence_read(file_bytes(&f), &e));
        assert_true(bytes_equal(e.kid, c->keys[0].environment.instance.value));

        assert_true(tpm_attest_read(e.cert_info, &kat));
        assert_int_equal(kat.type, TPM_ATTEST_CERTIFY);
        assert_int_equal(verify_tpm(ak, e.cert_info, e.cert_signature), 1);
        assert_int_equal(tpm_name_matches(kat.name, e.public_area, sha256), 1);
        assert_true(tpm_public_read(e.public_area, &public));
        assert_int_equal(public.type, TPM_ALG_ID_ECC);
        assert_true(bytes_equal(kat.extra_data, BYTES(nonce, sizeof(nonce))));

        assert_true(tpm_attest_read(e.quote_info, &pat));
        assert_int_equal(pat.type, TPM_ATTEST_QUOTE);
        assert_int_equal(verify_tpm(ak, e.quote_info, e.quote_signature), 1);
        assert_true(bytes_equal(pat.extra_data, BYTES(nonce, sizeof(nonce))));
        assert_int_equal(pat.n_selections, 1);
        assert_int_equal(pat.selections[0].pcrs, 7); /* PCR 0 to 2 */
        assert_int_equal(pat.pcr_digest.len, 32);

        /* The two signatures are not each other's. */
        assert_int_equal(verify_tpm(ak, e.cert_info, e.quote_signature), 0);
}

/* What the writer makes of the same parts is read as the same again. */
static void parsec_again(void **state)
{
        _cleanup_file_ File f = file_load(PARSEC "evidence.cbor");
        _cleanup_buf_ Buf b = BUF_INIT(4096);
        ParsecEvidence e, again;

        assert_true(parsec_evidence_read(file_bytes(&f), &e));
        assert_int_equal(parsec_evidence_write(&e, &b), 0);
        assert_int_equal(buf_len(&b), f.len);
        assert_true(parsec_evidence_read(buf_view(&b), &again));
        assert_true(bytes_equal(e.kid, again.kid));
        assert_true(bytes_equal(e.cert_info, again.cert_info));
        assert_true(bytes_equal(e.cert_signature, again.cert_signature));
        assert_true(bytes_equal(e.public_area, again.public_area));
        assert_true(bytes_equal(e.quote_info, again.quote_info));
        assert_true(bytes_equal(e.quote_signature, again.quote_signature));
}

/* UUID, length, TPMS_ATTEST, TPMT_SIGNATURE. No nonce in it: stale wherever one was issued. */
static void enacttrust(void **state)
{
        _cleanup_file_ File f = file_load("tpm/enacttrust/basic.token");
        _cleanup_(public_key_unrefp) PublicKey *key = key_load("tpm/enacttrust/basic.pem.pub");
        Reader r = reader_new(file_bytes(&f));
        TpmAttest a;

        reader_skip(&r, 16);
        Bytes info = reader_bytes(&r, reader_u16(&r));
        assert_true(tpm_attest_read(info, &a));
        assert_int_equal(a.type, TPM_ATTEST_QUOTE);
        assert_int_equal(a.extra_data.len, 0);
        assert_int_equal(a.n_selections, 1);
        assert_int_equal(a.selections[0].pcrs, 0x1e);
        assert_int_equal(verify_tpm(key, info, reader_rest(&r)), 1);
}

/* A quote of a real vTPM: readable, and unacceptable by policy (SHA-1 throughout, no nonce). */
static void windows(void **state)
{
        _cleanup_file_ File attest = file_load("tpm/go-attestation/win-gcp.attest");
        _cleanup_file_ File sig = file_load("tpm/go-attestation/win-gcp.sig");
        _cleanup_file_ File area = file_load("tpm/go-attestation/win-gcp.tpmt_public");
        TpmAttest a;
        TpmSignature s;
        TpmPublic p;

        assert_true(tpm_attest_read(file_bytes(&attest), &a));
        assert_int_equal(a.selections[0].hash, TPM_ALG_ID_SHA1);
        assert_int_equal(a.selections[0].pcrs, 0xffffff);
        assert_int_equal(a.extra_data.len, 0);
        assert_true(tpm_signature_read(file_bytes(&sig), &s));
        assert_int_equal(s.scheme, TPM_ALG_ID_RSASSA);
        assert_int_equal(s.hash, TPM_ALG_ID_SHA1);
        assert_int_equal(s.bytes.len, 256);
        assert_true(tpm_public_read(file_bytes(&area), &p));
        assert_int_equal(p.type, TPM_ALG_ID_RSA);
        assert_int_equal(p.attributes, 0x50472);
        assert_int_equal(p.modulus.len, 256);
}

static void cut_short(void **state)
{
        _cleanup_file_ File f = file_load(PARSEC "evidence.cbor");
        ParsecEvidence e, none;
        TpmAttest a;
        TpmSignature s;
        TpmPublic p;

        assert_true(parsec_evidence_read(file_bytes(&f), &e));
        for (size_t n = 0; n < f.len; n++)
                assert_false(parsec_evidence_read(BYTES(f.data, n), &none));
        for (size_t n = 0; n < e.quote_info.len; n++)
                assert_false(tpm_attest_read(BYTES(e.quote_info.data, n), &a));
        for (size_t n = 0; n < e.cert_info.len; n++)
                assert_false(tpm_attest_read(BYTES(e.cert_info.data, n), &a));
        for (size_t n = 0; n < e.quote_signature.len; n++)
                assert_false(tpm_signature_read(BYTES(e.quote_signature.data, n), &s));
        for (size_t n = 0; n < e.public_area.len; n++)
                assert_false(tpm_public_read(BYTES(e.public_area.data, n), &p));
        /* One byte more, which the container happens to hold behind each. */
        assert_false(tpm_attest_read(BYTES(e.cert_info.data, e.cert_info.len + 1), &a));
        assert_false(tpm_public_read(BYTES(e.public_area.data, e.public_area.len + 1), &p));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parsec),     cmocka_unit_test(parsec_again),
                cmocka_unit_test(enacttrust), cmocka_unit_test(windows),
                cmocka_unit_test(cut_short),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
