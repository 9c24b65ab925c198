/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include "attest-util.h"
#include "base/util.h"
#include "proto/eat.h"

#define B32 "5820 1111111111111111111111111111111111111111111111111111111111111111 "
#define B33 "5821 011111111111111111111111111111111111111111111111111111111111111111 "
#define B31 "581f 11111111111111111111111111111111111111111111111111111111111111 "
#define B16 "50 11111111111111111111111111111111 "
#define B48                                                                                        \
        "5830 11111111111111111111111111111111111111111111111111111111111111111111111111111111"    \
        "1111111111111111 "
#define COMPONENT  "a2 02 " B32 "05 " B32
#define COMPONENTS "81" COMPONENT

#define P_TFM "7821 7461673a707361636572746966696564 2e6f72672c323032333a707361 2374666d "
#define P_200 "7818 687474703a2f2f61726d2e636f6d2f7073612f322e302e30 "
#define P_1   "71 5053415f494f545f50524f46494c455f31 "

/* A whole token's payload of RFC 9783, one claim of which a test replaces or leaves out. */
typedef enum Claim {
        NONCE,
        INSTANCE_ID,
        IMPLEMENTATION_ID,
        CLIENT_ID,
        LIFECYCLE,
        BOOT_SEED,
        SOFTWARE,
        PROFILE,
        _CLAIM_MAX,
} Claim;

typedef struct Form {
        const char *keys[_CLAIM_MAX];
        const char *values[_CLAIM_MAX];
} Form;

static const Form forms[] = {
        [PSA_DIALECT_PROFILE_1] = { { "3a000124ff", "3a00012500", "3a000124fa", "3a000124f8",
                                      "3a000124f9", "3a000124fb", "3a000124fd", "3a000124f7" },
                                    { B32, B33, B32, "01", "193000", B32, COMPONENTS, P_1 } },
        [PSA_DIALECT_2_0_0] = { { "0a", "190100", "19095c", "19095a", "19095b", "19095d", "19095f",
                                  "190109" },
                                { B32, B33, B32, "01", "193000", B32, COMPONENTS, P_200 } },
        [PSA_DIALECT_TFM] = { { "0a", "190100", "19095c", "19095a", "19095b", "19010c", "19095f",
                                "190109" },
                              { B32, B33, B32, "01", "193000", "48 0000000000000000", COMPONENTS,
                                P_TFM } },
};

static uint8_t storage[4096];

/* `value` NULL: without the claim. `extra`: another pair of key and value, or NULL. */
static EatOutcome read_with(PsaDialect d, Claim claim, const char *value, const char *extra,
                            PsaClaims *ret)
{
        _cleanup_buf_ Buf b = BUF_INIT(4096);
        const Form *f = &forms[d];
        unsigned n = _CLAIM_MAX - (claim < _CLAIM_MAX && !value ? 1u : 0u) + (extra ? 1u : 0u);

        assert_int_equal(buf_append_u8(&b, (uint8_t)(0xa0 + n)), 0);
        for (Claim c = 0; c < _CLAIM_MAX; c++) {
                const char *v = c == claim ? value : f->values[c];
                if (!v)
                        continue;
                put_hex(&b, f->keys[c]);
                put_hex(&b, v);
        }
        if (extra)
                put_hex(&b, extra);
        Bytes view = buf_view(&b);
        memcpy(storage, view.data, view.len);
        return eat_psa_read(BYTES(storage, view.len), ret);
}

static void dialects(void **state)
{
        for (PsaDialect d = PSA_DIALECT_PROFILE_1; d <= PSA_DIALECT_TFM; d++) {
                PsaClaims c;
                assert_int_equal(read_with(d, _CLAIM_MAX, NULL, NULL, &c), EAT_OK);
                assert_int_equal(c.dialect, d);
                assert_int_equal(c.nonce.len, 32);
                assert_int_equal(c.instance_id.len, 33);
                assert_int_equal(c.implementation_id.len, 32);
                assert_int_equal(c.client_id, 1);
                assert_int_equal(c.lifecycle, 0x3000);
                assert_int_equal(c.n_components, 1);
                assert_int_equal(c.components[0].value.len, 32);
                assert_null(c.components[0].type.data);
        }
}

static void ranges(void **state)
{
        static const struct {
                Claim claim;
                const char *value;
                EatOutcome outcome;
        } t[] = {
                { NONCE, NULL, EAT_E_NONCE },
                { NONCE, B31, EAT_E_NONCE },
                { NONCE, B33, EAT_E_NONCE },
                { NONCE, B48, EAT_OK },
                { NONCE, "40", EAT_E_NONCE },
                { NONCE, "81" B32, EAT_E_NONCE },
                { NONCE, "01", EAT_E_NONCE },
                { INSTANCE_ID, NULL, EAT_E_INSTANCE_ID },
                { INSTANCE_ID, B32, EAT_E_INSTANCE_ID },
                { INSTANCE_ID,
                  "5821 021111111111111111111111111111111111111111111111111111111111111111",
                  EAT_E_INSTANCE_ID },
                { IMPLEMENTATION_ID, NULL, EAT_E_IMPLEMENTATION_ID },
                { IMPLEMENTATION_ID, B31, EAT_E_IMPLEMENTATION_ID },
                { IMPLEMENTATION_ID, B33, EAT_E_IMPLEMENTATION_ID },
                { CLIENT_ID, NULL, EAT_E_CLIENT_ID },
                { CLIENT_ID, "00", EAT_E_CLIENT_ID },
                { CLIENT_ID, "20", EAT_OK },
                { CLIENT_ID, "1a7fffffff", EAT_OK },
                { CLIENT_ID, "1a80000000", EAT_E_CLIENT_ID },
                { CLIENT_ID, "3a7fffffff", EAT_OK },
                { CLIENT_ID, "3a80000000", EAT_E_CLIENT_ID },
                { CLIENT_ID, "f93c00", EAT_E_CLIENT_ID },
                { CLIENT_ID, "6131", EAT_E_CLIENT_ID },
                { LIFECYCLE, NULL, EAT_E_LIFECYCLE },
                { LIFECYCLE, "00", EAT_OK },
                { LIFECYCLE, "1930ff", EAT_OK },
                { LIFECYCLE, "193100", EAT_E_LIFECYCLE },
                { LIFECYCLE, "193800", EAT_E_LIFECYCLE },
                { LIFECYCLE, "1960ff", EAT_OK },
                { LIFECYCLE, "197000", EAT_E_LIFECYCLE },
                { LIFECYCLE, "20", EAT_E_LIFECYCLE },
                { LIFECYCLE, "1a00013000", EAT_E_LIFECYCLE },
                { BOOT_SEED, NULL, EAT_OK },
                { BOOT_SEED, "01", EAT_E_BOOT_SEED },
                { BOOT_SEED, B33, EAT_E_BOOT_SEED },
                { SOFTWARE, NULL, EAT_E_COMPONENTS },
                { SOFTWARE, "80", EAT_E_COMPONENTS },
                { SOFTWARE, COMPONENT, EAT_E_COMPONENTS },
                { SOFTWARE, "8101", EAT_E_COMPONENTS },
                { SOFTWARE, "81 a1 02 " B32, EAT_E_COMPONENTS },
                { SOFTWARE, "81 a1 05 " B32, EAT_E_COMPONENTS },
                { SOFTWARE, "81 a2 02 " B31 "05 " B32, EAT_E_COMPONENTS },
                { SOFTWARE, "81 a2 02 " B32 "05 " B16, EAT_E_COMPONENTS },
                { SOFTWARE, "81 a3 01 01 02 " B32 "05 " B32, EAT_E_COMPONENTS },
                { SOFTWARE, "81 a3 04 4101 02 " B32 "05 " B32, EAT_E_COMPONENTS },
                { SOFTWARE, "81 a3 06 01 02 " B32 "05 " B32, EAT_E_COMPONENTS },
                { SOFTWARE, "81 a3 07 01 02 " B48 "05 " B48, EAT_OK },
                { SOFTWARE, "82" COMPONENT COMPONENT, EAT_OK },
                { PROFILE, "01", EAT_E_PROFILE },
                { PROFILE, "6161", EAT_E_PROFILE },
        };
        for (PsaDialect d = PSA_DIALECT_PROFILE_1; d <= PSA_DIALECT_TFM; d++)
                for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                        PsaClaims c;
                        EatOutcome o = read_with(d, t[i].claim, t[i].value, NULL, &c);
                        if (o != t[i].outcome)
                                fail_msg("%s, row %zu: %s", psa_dialect_to_string(d), i,
                                         eat_outcome_to_string(o));
                }
}

static void boot_seeds(void **state)
{
        PsaClaims c;
        assert_int_equal(read_with(PSA_DIALECT_TFM, BOOT_SEED, B16, NULL, &c), EAT_OK);
        assert_int_equal(read_with(PSA_DIALECT_TFM, BOOT_SEED, "47 00000000000000", NULL, &c),
                         EAT_E_BOOT_SEED);
        assert_int_equal(read_with(PSA_DIALECT_2_0_0, BOOT_SEED, B16, NULL, &c), EAT_E_BOOT_SEED);
        assert_int_equal(read_with(PSA_DIALECT_PROFILE_1, BOOT_SEED, B16, NULL, &c),
                         EAT_E_BOOT_SEED);
}

/* Only the first profile may go without its name, and say that nothing is measured. */
static void first_profile(void **state)
{
        PsaClaims c;
        assert_int_equal(read_with(PSA_DIALECT_PROFILE_1, PROFILE, NULL, NULL, &c), EAT_OK);
        assert_int_equal(read_with(PSA_DIALECT_TFM, PROFILE, NULL, NULL, &c), EAT_E_NONCE);
        assert_int_equal(read_with(PSA_DIALECT_PROFILE_1, SOFTWARE, NULL, "3a000124fe 01", &c),
                         EAT_OK);
        assert_int_equal(c.n_components, 0);
        assert_int_equal(read_with(PSA_DIALECT_PROFILE_1, SOFTWARE, NULL, "3a000124fe 02", &c),
                         EAT_E_COMPONENTS);
        assert_int_equal(read_with(PSA_DIALECT_PROFILE_1, _CLAIM_MAX, NULL, "3a000124fe 01", &c),
                         EAT_E_COMPONENTS); /* both */
        assert_int_equal(read_with(PSA_DIALECT_TFM, SOFTWARE, NULL, "3a000124fe 01", &c),
                         EAT_E_COMPONENTS);
}

static void other_payloads(void **state)
{
        PsaClaims c;
        assert_int_equal(read_with(PSA_DIALECT_TFM, _CLAIM_MAX, NULL, "1a000f4240 01", &c), EAT_OK);
        assert_int_equal(eat_psa_read(BYTES_LITERAL("\x80"), &c), EAT_E_MALFORMED);
        assert_int_equal(eat_psa_read(BYTES_LITERAL(""), &c), EAT_E_MALFORMED);
        assert_int_equal(eat_psa_read(BYTES_LITERAL("\xbf\xff"), &c), EAT_E_MALFORMED);
        assert_int_equal(eat_psa_read(BYTES_LITERAL("\xa0"), &c), EAT_E_NONCE);
        assert_int_equal(read_with(PSA_DIALECT_TFM, _CLAIM_MAX, NULL, "0a " B32, &c),
                         EAT_E_MALFORMED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(dialects),       cmocka_unit_test(ranges),
                cmocka_unit_test(boot_seeds),     cmocka_unit_test(first_profile),
                cmocka_unit_test(other_payloads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
