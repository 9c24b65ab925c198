/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vectors.h"

#include "base/str.h"
#include "domain/appraisal.h"

typedef enum Answer {
        ACCEPT,
        REJECT_MALFORMED, /* not a token that is read at all */
        REJECT_SIGNATURE,
} Answer;

#define RFC  "psa/rfc9783-draft/"
#define TFM  "psa/tf-m/"
#define VERA "psa/veraison-services/"

static const struct {
        const char *token, *key;
        Answer answer;
        PsaDialect dialect;
        uint16_t lifecycle;
        int32_t client_id;
        size_t n_components;
        const char *nonce; /* hex of its first bytes */
        const char *instance_id;
} vectors[] = {
        { RFC "psa-sign1.cbor", RFC "tfm-es-iak.pub.pem", ACCEPT, PSA_DIALECT_TFM, 0x3000,
          2147483647, 1, "0101010101", "010202" },
        { RFC "psa-mac0.cbor", RFC "tfm-es-iak.pub.pem", REJECT_MALFORMED },
        { TFM "psa-2_0_0_sign1.bin", TFM "public.pem", ACCEPT, PSA_DIALECT_2_0_0, 0x3000, 3002, 2,
          "0000000000", "01fa58" },
        { TFM "psa-iot-1_sign1.bin", TFM "public.pem", ACCEPT, PSA_DIALECT_PROFILE_1, 0x3000, 3002,
          2, "0000000000", "01fa58" },
        { TFM "psa-2_0_0_mac0.bin", TFM "public.pem", REJECT_MALFORMED },
        { TFM "psa-iot-1_mac0.bin", TFM "public.pem", REJECT_MALFORMED },
        { VERA "psa-token.cbor", VERA "psa-token.iak.pub.pem", ACCEPT, PSA_DIALECT_PROFILE_1,
          0x3000, 2, 4, NULL, "01" },
        { VERA "psaintegtoken.cbor", VERA "ec.p256.pub.pem", ACCEPT, PSA_DIALECT_2_0_0, 0x3000, 1,
          3, "414a7c17", "01ceebae" },
        { VERA "psa.good.cose", VERA "ec.p256.pub.pem", ACCEPT, PSA_DIALECT_2_0_0, 0x3000, 1, 3,
          "414a7c17", "01ceebae" },
        { VERA "psa-evidence.cbor", VERA "ec.p256.pub.pem", ACCEPT, PSA_DIALECT_2_0_0, 0x3000, 1, 3,
          "414a7c17", "01ceebae" },
        /* Each under a key that is another's. */
        { RFC "psa-sign1.cbor", TFM "public.pem", REJECT_SIGNATURE },
        { TFM "psa-2_0_0_sign1.bin", VERA "ec.p256.pub.pem", REJECT_SIGNATURE },
        { TFM "psa-iot-1_sign1.bin", RFC "tfm-es-iak.pub.pem", REJECT_SIGNATURE },
        { VERA "psa-token.cbor", VERA "ec.p256.pub.pem", REJECT_SIGNATURE },
        { VERA "psa-evidence.cbor", VERA "psa-token.iak.pub.pem", REJECT_SIGNATURE },
};

static void assert_prefix(Bytes b, const char *hex)
{
        uint8_t expected[64];
        size_t n = strlen(hex) / 2;

        assert_int_equal(hex_decode(hex, expected, n), 0);
        assert_true(b.len >= n);
        assert_memory_equal(b.data, expected, n);
}

static void tokens(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                _cleanup_file_ File f = file_load(vectors[i].token);
                _cleanup_(public_key_unrefp) PublicKey *key = key_load(vectors[i].key);
                const char *reason = NULL;
                PsaEvidence e;

                print_message("%s under %s\n", vectors[i].token, vectors[i].key);
                if (vectors[i].answer == REJECT_MALFORMED) {
                        assert_false(psa_evidence_read(file_bytes(&f), &e, &reason));
                        assert_non_null(reason);
                        continue;
                }
                if (!psa_evidence_read(file_bytes(&f), &e, &reason))
                        fail_msg("%s", reason);
                int good =
                        cose_sign1_verify(&e.envelope, BYTES(NULL, 0), verify_with_key, key, NULL);
                assert_int_equal(good, vectors[i].answer == ACCEPT);
                if (vectors[i].answer != ACCEPT)
                        continue;
                assert_int_equal(e.claims.dialect, vectors[i].dialect);
                assert_int_equal(e.claims.lifecycle, vectors[i].lifecycle);
                assert_int_equal(e.claims.client_id, vectors[i].client_id);
                assert_int_equal(e.claims.n_components, vectors[i].n_components);
                if (vectors[i].nonce)
                        assert_prefix(e.claims.nonce, vectors[i].nonce);
                assert_prefix(e.claims.instance_id, vectors[i].instance_id);
        }
}

/* Every bit of a token changed: none may still verify, none may do harm. */
static void bit_flips(void **state)
{
        _cleanup_file_ File f = file_load(VERA "psa-evidence.cbor");
        _cleanup_(public_key_unrefp) PublicKey *key = key_load(VERA "ec.p256.pub.pem");

        for (size_t bit = 0; bit < f.len * 8; bit++) {
                const char *reason;
                PsaEvidence e;
                f.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
                if (psa_evidence_read(file_bytes(&f), &e, &reason))
                        assert_int_equal(cose_sign1_verify(&e.envelope, BYTES(NULL, 0),
                                                           verify_with_key, key, NULL),
                                         0);
                f.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
}

static Verdict appraise(const char *token, const char *corim)
{
        _cleanup_file_ File t = file_load(token), c = file_load(corim);
        _cleanup_(public_key_unrefp) PublicKey *key = key_load(VERA "ec.p256.pub.pem");
        _cleanup_(reference_set_unrefp) ReferenceSet *set = NULL;
        const ReferenceFile file = { corim, file_bytes(&c) };
        char error[REFERENCE_ERROR_MAX] = "";
        const CorimTrust trust = { 0 };
        const char *reason = NULL;
        Verdict v;
        PsaEvidence e;

        assert_int_equal(reference_set_load(&file, 1, &trust, sha256, 1, &set, error), 0);
        assert_true(psa_evidence_read(file_bytes(&t), &e, &reason));
        const Enrolment enrolment = { .instance_id = e.claims.instance_id,
                                      .key = key,
                                      .verify = verify_with_key };
        assert_int_equal(appraisal_psa(&e, &enrolment, set, 1, &v), 0);
        print_message("%s against %s: %s: %s\n", token, corim, ar4si_tier_to_string(v.tier),
                      v.reason);
        return v;
}

static void appraisals(void **state)
{
        Verdict v = appraise(VERA "psa-evidence.cbor", VERA "psa-endorsements.cbor");
        assert_int_equal(v.tier, AR4SI_AFFIRMING);
        assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 2);
        assert_int_equal(v.vector.claims[AR4SI_HARDWARE], 2);

        /* Digests and names match, the signer that the reference states does not. */
        v = appraise(VERA "psa.good.cose", VERA "corim-psa-valid.cbor");
        assert_int_equal(v.tier, AR4SI_WARNING);
        assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 33);
}

/* The key that a CoRIM enrols is the one the token verifies under. */
static void enrolled_key(void **state)
{
        _cleanup_file_ File t = file_load(VERA "psa-evidence.cbor");
        _cleanup_file_ File c = file_load(VERA "psa-endorsements.cbor");
        _cleanup_(reference_set_unrefp) ReferenceSet *set = NULL;
        _cleanup_(public_key_unrefp) PublicKey *key = NULL;
        const ReferenceFile file = { "psa-endorsements.cbor", file_bytes(&c) };
        char error[REFERENCE_ERROR_MAX] = "";
        const CorimTrust trust = { 0 };
        const char *reason;
        PsaEvidence e;

        assert_int_equal(reference_set_load(&file, 1, &trust, sha256, 1, &set, error), 0);
        assert_true(psa_evidence_read(file_bytes(&t), &e, &reason));
        Bytes spki = reference_set_attest_key(set, e.claims.instance_id, 1);
        assert_int_equal(public_key_from_spki(spki, &key), 0);
        assert_int_equal(cose_sign1_verify(&e.envelope, BYTES(NULL, 0), verify_with_key, key, NULL),
                         1);
        uint8_t other[33] = { 1 };
        assert_int_equal(reference_set_attest_key(set, BYTES(other, 33), 1).len, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tokens),
                cmocka_unit_test(bit_flips),
                cmocka_unit_test(appraisals),
                cmocka_unit_test(enrolled_key),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
