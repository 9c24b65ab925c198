/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <jansson.h>

#include "base/str.h"
#include "proto/ear.h"

static void tiers(void **state)
{
        static const struct {
                int8_t value;
                Ar4siTier tier;
        } t[] = {
                { 0, AR4SI_NONE },
                { 1, AR4SI_NONE },
                { -1, AR4SI_NONE },
                { 2, AR4SI_AFFIRMING },
                { 31, AR4SI_AFFIRMING },
                { 32, AR4SI_WARNING },
                { 95, AR4SI_WARNING },
                { 96, AR4SI_CONTRAINDICATED },
                { 127, AR4SI_CONTRAINDICATED },
                { -2, AR4SI_AFFIRMING },
                { -32, AR4SI_AFFIRMING },
                { -33, AR4SI_WARNING },
                { -96, AR4SI_WARNING },
                { -97, AR4SI_CONTRAINDICATED },
                { -128, AR4SI_CONTRAINDICATED },
        };
        for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
                assert_int_equal(ar4si_claim_tier(t[i].value), t[i].tier);
        Ar4siVector v = { { 2, 0, 33 } };
        assert_int_equal(ar4si_vector_tier(&v), AR4SI_WARNING);
        v.claims[AR4SI_SOURCED_DATA] = 97;
        assert_int_equal(ar4si_vector_tier(&v), AR4SI_CONTRAINDICATED);
}

static const EarSubmod submod = {
        .name = "dev3",
        .status = AR4SI_WARNING,
        .vector = { { [AR4SI_INSTANCE_IDENTITY] = 2, [AR4SI_EXECUTABLES] = 33 } },
        .policy_id = "ni:///sha-256;x",
        .reason = "component \"BL\" matches no reference value",
};

static json_t *part(const char *text, size_t len)
{
        uint8_t *data = NULL;
        size_t n = 0;
        assert_int_equal(base64url_decode_new(BYTES(text, len), &data, &n), 0);
        json_t *j = json_loadb((const char *)data, n, JSON_REJECT_DUPLICATES, NULL);
        free(data);
        assert_non_null(j);
        return j;
}

static void jwt(void **state)
{
        const Ear ear = { .nonce = BYTES_LITERAL("12345678"),
                          .issued = 1700000000 * USEC_PER_SEC + 7,
                          .expires = 1700003600 * USEC_PER_SEC,
                          .developer = "https://example.org",
                          .build = "sallyport 1",
                          .submods = &submod,
                          .n_submods = 1 };
        uint8_t signature[64] = { 0xff };
        _cleanup_buf_ Buf b = BUF_INIT(4096);

        assert_int_equal(ear_signing_input(&ear, &b), 0);
        assert_int_equal(ear_sign(&b, BYTES(signature, 63)), -EINVAL);
        assert_int_equal(ear_sign(&b, BYTES(signature, 64)), 0);
        assert_int_equal(buf_append_u8(&b, 0), 0);
        char *text = (char *)b.data + b.start;
        char *dot = strchr(text, '.'), *end = strrchr(text, '.');
        assert_ptr_not_equal(dot, end);
        assert_int_equal(strlen(end + 1), 86);

        json_t *header = part(text, (size_t)(dot - text));
        assert_string_equal(json_string_value(json_object_get(header, "alg")), "ES256");
        json_t *c = part(dot + 1, (size_t)(end - dot - 1));
        json_t *expected = json_pack(
                "{s:s, s:I, s:I, s:s, s:{s:s, s:s}, s:{s:{s:s, s:{s:i, s:i}, s:s, s:{s:s}}}}",
                "eat_profile", "tag:github.com,2023:veraison/ear", "iat", (json_int_t)1700000000,
                "exp", (json_int_t)1700003600, "eat_nonce", "MTIzNDU2Nzg", "ear.verifier-id",
                "developer", "https://example.org", "build", "sallyport 1", "submods", "dev3",
                "ear.status", "warning", "ear.trustworthiness-vector", "instance-identity", 2,
                "executables", 33, "ear.appraisal-policy-id", "ni:///sha-256;x",
                "ear.veraison.policy-claims", "reason",
                "component \"BL\" matches no reference value");
        assert_non_null(expected);
        assert_true(json_equal(c, expected));
        json_decref(expected);
        json_decref(c);
        json_decref(header);
}

static void refused(void **state)
{
        Ear ear = { .developer = "d", .build = "\xff", .submods = &submod, .n_submods = 1 };
        _cleanup_buf_ Buf b = BUF_INIT(4096), small = BUF_INIT(64);

        assert_int_equal(ear_signing_input(&ear, &b), -EINVAL);
        ear.build = "b";
        ear.n_submods = 0;
        assert_int_equal(ear_signing_input(&ear, &b), -EINVAL);
        ear.n_submods = 1;
        assert_int_equal(ear_signing_input(&ear, &small), -ENOBUFS);
        assert_int_equal(ear_signing_input(&ear, &b), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tiers),
                cmocka_unit_test(jwt),
                cmocka_unit_test(refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
