/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>

#include "attest-fixture.h"
#include "base/str.h"
#include "domain/appraisal.h"

#define NOW (1000 * USEC_PER_SEC)

static const FixtureComponent references[] = {
        { "BL", 0xb1, "1.0", 0x51 },
        { "BL", 0xb2, "1.1", 0x51 }, /* another release of the same */
        { "SPE", 0xe1, NULL, 0x51 },
};
static const FixtureComponent good[] = {
        { "BL", 0xb1, "1.0", 0x51 },
        { "SPE", 0xe1, "7", 0x51 },
};

static const FixtureToken token = { .nonce = 1,
                                    .instance = 2,
                                    .implementation = 0xaa,
                                    .client_id = -1,
                                    .lifecycle = 0x3000,
                                    .components = good,
                                    .n = 2 };

static int signature_answer;

static int fake_verify(const void *key, int alg, Bytes message, Bytes signature, void *userdata)
{
        assert_ptr_equal(key, &signature_answer);
        assert_int_equal(alg, COSE_ES256);
        return signature_answer;
}

static const uint8_t instance[33] = { 1, [1 ... 32] = 2 };
static const Enrolment enrolled = { .instance_id = { instance, sizeof(instance) },
                                    .key = &signature_answer,
                                    .verify = fake_verify };

static ReferenceSet *load_with(const FixtureComponent *components, size_t n, Bytes extra)
{
        _cleanup_buf_ Buf b = BUF_INIT(FIXTURE_MAX);
        const FixtureCorim corim = {
                .implementation = 0xaa, .components = components, .n = n, .extra = extra
        };
        const CorimTrust trust = { 0 };
        char error[REFERENCE_ERROR_MAX] = "";
        ReferenceSet *s = NULL;

        fixture_corim(&corim, &b);
        const ReferenceFile file = { "f", buf_view(&b) };
        assert_int_equal(reference_set_load(&file, 1, &trust, fixture_sha256, NOW, &s, error), 0);
        return s;
}

static ReferenceSet *load(const FixtureComponent *components, size_t n)
{
        return load_with(components, n, BYTES(NULL, 0));
}

static int appraise_with(const FixtureToken *t, const Enrolment *e, const ReferenceSet *set,
                         Verdict *ret)
{
        _cleanup_buf_ Buf b = BUF_INIT(FIXTURE_MAX);
        const char *reason = NULL;
        PsaEvidence evidence;

        fixture_token(t, &b);
        if (!psa_evidence_read(buf_view(&b), &evidence, &reason))
                fail_msg("%s", reason);
        return appraisal_psa(&evidence, e, set, NOW, ret);
}

static Verdict appraise(const FixtureToken *t)
{
        _cleanup_(reference_set_unrefp) ReferenceSet *set =
                load(references, ELEMENTSOF(references));
        Verdict v;
        signature_answer = 1;
        assert_int_equal(appraise_with(t, &enrolled, set, &v), 0);
        return v;
}

static Verdict appraise_components(const FixtureComponent *components, size_t n)
{
        FixtureToken t = token;
        t.components = components;
        t.n = n;
        return appraise(&t);
}

static void affirming(void **state)
{
        Verdict v = appraise(&token);
        static const Ar4siVector expected = { { [AR4SI_INSTANCE_IDENTITY] = 2,
                                                [AR4SI_EXECUTABLES] = 2,
                                                [AR4SI_HARDWARE] = 2,
                                                [AR4SI_RUNTIME_OPAQUE] = 2,
                                                [AR4SI_STORAGE_OPAQUE] = 2 } };
        assert_memory_equal(&v.vector, &expected, sizeof(expected));
        assert_int_equal(v.tier, AR4SI_AFFIRMING);
        assert_int_equal(verdict_posture(&v), POSTURE_AFFIRMING);
        assert_string_equal(v.reason, "all components match their reference values (2)");
        assert_true(v.authentic);
        assert_false(v.foreign);

        const FixtureComponent newer[] = { references[1], good[1] };
        v = appraise_components(newer, 2);
        assert_int_equal(v.tier, AR4SI_AFFIRMING);
}

/* COSE knows more algorithms than a PSA token may have. */
static void algorithms(void **state)
{
        static const struct {
                const char *header; /* a byte string around {1: alg} */
                size_t header_len, signature_len;
                const char *refused; /* a word of the reason; NULL: allowed */
        } table[] = {
                { "\x43\xa1\x01\x26", 4, 64, NULL },                 /* ES256 */
                { "\x44\xa1\x01\x38\x22", 5, 96, NULL },             /* ES384 */
                { "\x44\xa1\x01\x38\x23", 5, 132, NULL },            /* ES512 */
                { "\x43\xa1\x01\x27", 4, 64, "ES512" },              /* EdDSA */
                { "\x45\xa1\x01\x39\x01\x00", 6, 256, "algorithm" }, /* RS256 */
        };
        _cleanup_buf_ Buf b = BUF_INIT(FIXTURE_MAX);
        CoseSign1 es256;
        fixture_token(&token, &b);
        assert_int_equal(cose_sign1_read(buf_view(&b), COSE_TAGGED, &es256), COSE_OK);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_buf_ Buf t = BUF_INIT(FIXTURE_MAX);
                uint8_t signature[256] = { 0 };
                const char *reason = NULL;
                PsaEvidence e;
                CborWriter w = cbor_writer(&t);
                cbor_put_tag(&w, 18);
                cbor_put_array(&w, 4);
                cbor_put_encoded(&w, BYTES(table[i].header, table[i].header_len));
                cbor_put_map(&w, 0);
                cbor_put_bytes(&w, es256.payload);
                cbor_put_bytes(&w, BYTES(signature, table[i].signature_len));
                assert_int_equal(w.error, 0);
                assert_int_equal(psa_evidence_read(buf_view(&t), &e, &reason), !table[i].refused);
                if (table[i].refused)
                        assert_non_null(strstr(reason, table[i].refused));
        }
}

static void executables(void **state)
{
        static const struct {
                FixtureComponent c[3];
                size_t n;
                const char *reason;
        } t[] = {
                { { { "BL", 0x3f, "1.0", 0x51 }, { "SPE", 0xe1, NULL, 0x51 } },
                  2,
                  "component \"BL\" measurement 3f3f3f3f… matches no reference value" },
                { { { "BL", 0xb1, "1.0", 0x52 }, { "SPE", 0xe1, NULL, 0x51 } },
                  2,
                  "component \"BL\" measurement b1b1b1b1… is known, but under another name, "
                  "version or signer" },
                { { { "BL", 0xb1, "1.1", 0x51 }, { "SPE", 0xe1, NULL, 0x51 } },
                  2,
                  "component \"BL\" measurement b1b1b1b1… is known, but under another name, "
                  "version or signer" },
                { { { "BL", 0xb1, NULL, 0x51 }, { "SPE", 0xe1, NULL, 0x51 } },
                  2,
                  "component \"BL\" measurement b1b1b1b1… is known, but under another name, "
                  "version or signer" },
                { { { "XX", 0xb1, "1.0", 0x51 }, { "SPE", 0xe1, NULL, 0x51 } },
                  2,
                  "component \"XX\" measurement b1b1b1b1… is known, but under another name, "
                  "version or signer" },
                { { { NULL, 0xe1, NULL, 0x51 }, { "BL", 0xb1, "1.0", 0x51 } },
                  2,
                  "component \"\" measurement e1e1e1e1… is known, but under another name, "
                  "version or signer" },
                { { { "BL", 0xb1, "1.0", 0x51 } },
                  1,
                  "component \"SPE\" is missing from the report" },
                { { { "BL", 0xb1, "1.0", 0x51 },
                    { "SPE", 0xe1, NULL, 0x51 },
                    { "MORE", 0x77, NULL, 0x51 } },
                  3,
                  "component \"MORE\" measurement 77777777… matches no reference value" },
                { { { "B\nL\x1b", 0x3f, "1.0", 0x51 }, { "SPE", 0xe1, NULL, 0x51 } },
                  2,
                  "component \"B\\x0aL\\x1b\" measurement 3f3f3f3f… matches no reference value" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Verdict v = appraise_components(t[i].c, t[i].n);
                assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 33);
                assert_int_equal(v.tier, AR4SI_WARNING);
                assert_int_equal(verdict_posture(&v), POSTURE_WARNING);
                assert_string_equal(v.reason, t[i].reason);
                assert_true(v.authentic);
        }
}

/* A digest of another algorithm is not the same though its bytes are. */
static void digest_algorithm(void **state)
{
        const FixtureComponent sha3[] = { { "BL", 0xb1, "1.0", 0x51, 10 },
                                          { "SPE", 0xe1, NULL, 0x51, 7 } };
        _cleanup_(reference_set_unrefp) ReferenceSet *set = load(sha3, 2);
        Verdict v;
        signature_answer = 1;
        assert_int_equal(appraise_with(&token, &enrolled, set, &v), 0);
        assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 33);
}

/* What a reference states and a token cannot show never matches. */
static void not_comparable(void **state)
{
        static const Bytes statements[] = {
                BYTES_LITERAL("\x01\x01"),                         /* security version */
                BYTES_LITERAL("\x0e\xa1\x00\x81\x82\x01\x41\x01"), /* integrity register */
                BYTES_LITERAL("\x03\xa0"),                         /* flags */
                BYTES_LITERAL("\x20\x01"),                         /* an extension */
        };
        signature_answer = 1;
        for (size_t i = 0; i < ELEMENTSOF(statements); i++) {
                _cleanup_(reference_set_unrefp) ReferenceSet *set =
                        load_with(references, ELEMENTSOF(references), statements[i]);
                Verdict v;
                assert_int_equal(appraise_with(&token, &enrolled, set, &v), 0);
                assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 33);
        }
}

/* References that say nothing but a digest are alternatives of anything. */
static void nameless_references(void **state)
{
        const FixtureComponent nameless[] = { { NULL, 0xb1, NULL, 0 },
                                              { NULL, 0xe1, NULL, 0 },
                                              { NULL, 0x99, NULL, 0 } };
        _cleanup_(reference_set_unrefp) ReferenceSet *set = load(nameless, 3);
        Verdict v;
        signature_answer = 1;
        assert_int_equal(appraise_with(&token, &enrolled, set, &v), 0);
        assert_int_equal(v.tier, AR4SI_AFFIRMING);
}

static void unmeasured(void **state)
{
        FixtureToken t = token;
        t.unmeasured = true;
        Verdict v = appraise(&t);
        assert_int_equal(v.tier, AR4SI_WARNING);
        assert_string_equal(v.reason, "the report holds no measurement of its software");
}

static void lifecycle(void **state)
{
        static const struct {
                uint16_t lifecycle;
                Ar4siTier tier;
                int8_t identity, executables;
        } t[] = {
                { 0x3000, AR4SI_AFFIRMING, 2, 2 },        { 0x30ff, AR4SI_AFFIRMING, 2, 2 },
                { 0x4000, AR4SI_WARNING, 2, 32 },         { 0x0000, AR4SI_CONTRAINDICATED, 96, 2 },
                { 0x1000, AR4SI_CONTRAINDICATED, 96, 2 }, { 0x2000, AR4SI_CONTRAINDICATED, 96, 2 },
                { 0x5000, AR4SI_CONTRAINDICATED, 96, 2 }, { 0x6000, AR4SI_CONTRAINDICATED, 96, 2 },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                FixtureToken f = token;
                f.lifecycle = t[i].lifecycle;
                Verdict v = appraise(&f);
                assert_int_equal(v.tier, t[i].tier);
                assert_int_equal(v.vector.claims[AR4SI_INSTANCE_IDENTITY], t[i].identity);
                assert_int_equal(v.vector.claims[AR4SI_RUNTIME_OPAQUE], t[i].identity);
                assert_int_equal(v.vector.claims[AR4SI_STORAGE_OPAQUE], t[i].identity);
                assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], t[i].executables);
        }
        FixtureToken f = token;
        f.lifecycle = 0x1000;
        Verdict v = appraise(&f);
        assert_string_equal(v.reason, "its security lifecycle is 0x1000, which is not \"secured\"");
        /* Worst wins, and the reason is the worst one's. */
        f.n = 1;
        v = appraise(&f);
        assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 33);
        assert_int_equal(v.tier, AR4SI_CONTRAINDICATED);
        assert_non_null(strstr(v.reason, "lifecycle"));
        /* Debugging and an unknown component: the higher value stays. */
        f.lifecycle = 0x4000;
        v = appraise(&f);
        assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 33);
        assert_int_equal(v.tier, AR4SI_WARNING);
}

static void unknown_implementation(void **state)
{
        FixtureToken t = token;
        t.implementation = 0xcc;
        Verdict v = appraise(&t);
        assert_int_equal(v.vector.claims[AR4SI_HARDWARE], 97);
        assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 33);
        assert_int_equal(v.tier, AR4SI_CONTRAINDICATED);
        assert_string_equal(v.reason, "no reference values for implementation cccccccc…");
        assert_int_equal(appraise_with(&token, &enrolled, NULL, &v), 0);
        assert_int_equal(v.tier, AR4SI_CONTRAINDICATED);
}

static void assert_rejected(const Verdict *v, const char *reason, bool foreign, bool authentic)
{
        for (Ar4siClaim c = 0; c < _AR4SI_CLAIM_MAX; c++)
                assert_int_equal(v->vector.claims[c], 99);
        assert_int_equal(v->tier, AR4SI_CONTRAINDICATED);
        assert_int_equal(verdict_posture(v), POSTURE_CONTRAINDICATED);
        assert_string_equal(v->reason, reason);
        assert_int_equal(v->foreign, foreign);
        assert_int_equal(v->authentic, authentic);
}

static void identity(void **state)
{
        static const int32_t allowed[] = { 7, -1 }, others[] = { 7, 1 };
        _cleanup_(reference_set_unrefp) ReferenceSet *set =
                load(references, ELEMENTSOF(references));
        FixtureToken t = token;
        Enrolment e = enrolled;
        Verdict v;

        signature_answer = 0;
        assert_int_equal(appraise_with(&t, &e, set, &v), 0);
        assert_rejected(&v, "the signature does not hold under the enrolled key", false, false);
        signature_answer = -EIO;
        assert_int_equal(appraise_with(&t, &e, set, &v), -EIO);
        signature_answer = 1;
        t.instance = 3;
        assert_int_equal(appraise_with(&t, &e, set, &v), 0);
        assert_rejected(&v, "the report is of another Instance ID than the enrolled one", true,
                        false);
        t = token;
        e.key = NULL;
        assert_int_equal(appraise_with(&t, &e, set, &v), 0);
        assert_rejected(&v, "no attestation identity is enrolled for this device", false, false);
        e = enrolled;
        e.instance_id = BYTES(NULL, 0);
        assert_int_equal(appraise_with(&t, &e, set, &v), 0);
        assert_rejected(&v, "no attestation identity is enrolled for this device", false, false);
        e = enrolled;
        e.client_ids = others;
        e.n_client_ids = 2;
        assert_int_equal(appraise_with(&t, &e, set, &v), 0);
        assert_rejected(&v, "the client id is not one that may ask for reports", false, true);
        e.client_ids = allowed;
        assert_int_equal(appraise_with(&t, &e, set, &v), 0);
        assert_int_equal(v.tier, AR4SI_AFFIRMING);
}

static void not_tokens(void **state)
{
        static const uint8_t large[PSA_TOKEN_MAX + 1] = { 0xd2 };
        PsaEvidence e;
        const char *reason = NULL;

        assert_false(psa_evidence_read(BYTES(NULL, 0), &e, &reason));
        assert_string_equal(reason, "the token is empty or larger than 4096 bytes");
        assert_false(psa_evidence_read(BYTES(large, sizeof(large)), &e, &reason));
        assert_string_equal(reason, "the token is empty or larger than 4096 bytes");
        assert_false(psa_evidence_read(BYTES_LITERAL("\xd2\x80"), &e, &reason));
        assert_string_equal(reason, "not a well-formed COSE_Sign1 message");
}

/* Negative values have the tiers of positive ones, so that numbers alone do not tell. */
static void worst_value_stays(void **state)
{
        Verdict v = { 0 };
        verdict_claim(&v, AR4SI_HARDWARE, -97, "first");
        verdict_claim(&v, AR4SI_HARDWARE, 2, "second");
        assert_int_equal(v.vector.claims[AR4SI_HARDWARE], -97);
        verdict_claim(&v, AR4SI_EXECUTABLES, 32, "third");
        verdict_claim(&v, AR4SI_EXECUTABLES, 33, "fourth");
        verdict_claim(&v, AR4SI_EXECUTABLES, 2, "fifth");
        assert_int_equal(v.vector.claims[AR4SI_EXECUTABLES], 33);
        assert_int_equal(ar4si_vector_tier(&v.vector), AR4SI_CONTRAINDICATED);
        assert_string_equal(v.reason, "first");
}

static void long_reason(void **state)
{
        char text[400];
        Verdict v = { 0 };
        for (size_t i = 0; i + 3 < sizeof(text); i += 3)
                memcpy(text + i, "…", 4);
        verdict_reject(&v, text);
        assert_true(strlen(v.reason) < REASON_MAX);
        assert_int_equal(strlen(v.reason) % 3, 0);
        v = (Verdict){ 0 };
        verdict_claim(&v, AR4SI_HARDWARE, 97, "%s", text);
        assert_true(utf8_valid(bytes_from_str(v.reason)));
        assert_int_equal(verdict_posture(&(Verdict){ 0 }), POSTURE_UNATTESTED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(affirming),
                cmocka_unit_test(algorithms),
                cmocka_unit_test(executables),
                cmocka_unit_test(nameless_references),
                cmocka_unit_test(not_comparable),
                cmocka_unit_test(digest_algorithm),
                cmocka_unit_test(unmeasured),
                cmocka_unit_test(lifecycle),
                cmocka_unit_test(unknown_implementation),
                cmocka_unit_test(identity),
                cmocka_unit_test(not_tokens),
                cmocka_unit_test(worst_value_stays),
                cmocka_unit_test(long_reason),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
