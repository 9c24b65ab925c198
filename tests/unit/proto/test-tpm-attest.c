/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>

#include "attest-util.h"
#include "base/util.h"
#include "proto/parsec.h"
#include "proto/tpm-attest.h"

#define HEAD  "0001aa 00026e6e 0000000000000001 00000002 00000003 01 0000000000000004 "
#define MAGIC "ff544347 "

static void attests(void **state)
{
        static const struct {
                const char *hex;
                bool ok;
        } t[] = {
                { MAGIC "8018" HEAD "00000001 000b 03 950000 0001dd", true },
                { MAGIC "8018" HEAD "00000000 0000", true },
                { MAGIC "8018" HEAD "00000001 000b 03 950000 0001dd 00", false },
                { MAGIC "8018" HEAD "00000001 000b 03 950000 0002dd", false },
                { MAGIC "8018" HEAD "00000001 000b 05 9500000000 0001dd", false },
                { MAGIC "8018" HEAD "00000005 000b 00 000b 00 000b 00 000b 00 000b 00 0000",
                  false },
                { MAGIC "8018" HEAD "ffffffff", false },
                { MAGIC "8017" HEAD "0001cc 0001bb", true },
                { MAGIC "801a" HEAD "0001cc 0001bb", false },
                { MAGIC "8019" HEAD "0001cc 0001bb", false },
                { MAGIC "8014" HEAD "0001cc 0001bb", false },
                { "ff544348 8017" HEAD "0001cc 0001bb", false },
                { MAGIC "8017 0001aa 00026e6e 0000000000000001 00000002 00000003 02"
                        "0000000000000004 0001cc 0001bb",
                  false },
                { "", false },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_buf_ Buf b = BUF_INIT(256);
                TpmAttest a;
                put_hex(&b, t[i].hex);
                if (tpm_attest_read(buf_view(&b), &a) != t[i].ok)
                        fail_msg("row %zu", i);
        }
}

static void quote(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(256);
        TpmAttest a;
        put_hex(&b, MAGIC "8018" HEAD "00000002 000b 03 950000 000c 04 00000080 0001dd");
        assert_true(tpm_attest_read(buf_view(&b), &a));
        assert_int_equal(a.type, TPM_ATTEST_QUOTE);
        assert_true(bytes_equal(a.qualified_signer, BYTES_LITERAL("\xaa")));
        assert_true(bytes_equal(a.extra_data, BYTES_LITERAL("nn")));
        assert_int_equal(a.clock, 1);
        assert_int_equal(a.reset_count, 2);
        assert_int_equal(a.restart_count, 3);
        assert_true(a.safe);
        assert_int_equal(a.firmware_version, 4);
        assert_int_equal(a.n_selections, 2);
        assert_int_equal(a.selections[0].hash, TPM_ALG_ID_SHA256);
        assert_int_equal(a.selections[0].pcrs, 0x95);
        assert_int_equal(a.selections[1].pcrs, 0x80000000);
        assert_true(bytes_equal(a.pcr_digest, BYTES_LITERAL("\xdd")));
}

static void signatures(void **state)
{
        static const struct {
                const char *hex;
                bool ok, raw;
        } t[] = {
                { "0018000b 000101 000102", true, true },
                { "0018000b 0005 0102030405 000102", true, false }, /* r larger than the field */
                { "0018000b 000101 0005 0102030405", true, false },
                { "0018000b 000101 000102 00", false, false },
                { "0018000b 000101", false, false },
                { "0014000b 000101", true, false },
                { "0016000b 000101", true, false },
                { "0005000b 000101", false, false },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_buf_ Buf b = BUF_INIT(256);
                uint8_t raw[8];
                TpmSignature s;
                put_hex(&b, t[i].hex);
                assert_int_equal(tpm_signature_read(buf_view(&b), &s), t[i].ok);
                if (!t[i].ok)
                        continue;
                assert_int_equal(tpm_signature_raw(&s, 4, raw), t[i].raw);
                if (t[i].raw)
                        assert_memory_equal(raw, "\0\0\0\1\0\0\0\2", 8);
        }
}

static int xor_hash(Bytes data, uint8_t *ret)
{
        memset(ret, data.data[0], 32);
        return data.data[0] == 0xee ? -EIO : 0;
}

static void names(void **state)
{
        uint8_t name[34] = { 0x00, 0x0b };
        memset(name + 2, 0x23, 32);
        assert_int_equal(tpm_name_matches(BYTES(name, 34), BYTES_LITERAL("\x23"), xor_hash), 1);
        assert_int_equal(tpm_name_matches(BYTES(name, 34), BYTES_LITERAL("\x24"), xor_hash), 0);
        assert_int_equal(tpm_name_matches(BYTES(name, 33), BYTES_LITERAL("\x23"), xor_hash), 0);
        name[1] = 0x04;
        assert_int_equal(tpm_name_matches(BYTES(name, 34), BYTES_LITERAL("\x23"), xor_hash), 0);
        assert_int_equal(tpm_name_matches(BYTES(name, 34), BYTES_LITERAL("\xee"), xor_hash), -EIO);
}

static void parsec(void **state)
{
#define KAT(kid) "636b6174 a5 636b6964 41" kid "63736967 40 6674706d566572 63322e30"
#define PAT(kid) "63706174 a4 636b6964 41" kid "63736967 40 6674706d566572 63322e30"
#define AREA     "6770756241726561 40 6863657274496e666f 40"
#define QUOTE    "6a617474657374496e666f 40"
        static const struct {
                const char *hex;
                bool ok;
        } t[] = {
                { "a2" KAT("01") AREA PAT("01") QUOTE, true },
                { "a2" PAT("01") QUOTE KAT("01") AREA, true },
                { "a2" KAT("01") AREA PAT("02") QUOTE, false }, /* two keys */
                { "a1" KAT("01") AREA, false },
                { "a2" KAT("01") AREA "63706175 01", false },
                { "a2" KAT("01") AREA PAT("01") QUOTE "00", false },
                { "a2 636b6174 a0" PAT("01") QUOTE, false },
                { "a2 636b6174 01" PAT("01") QUOTE, false },
                { "a2" KAT("01") AREA
                  "63706174 a4 636b6964 4101 63736967 40 6674706d566572 63322e31" QUOTE,
                  false }, /* another version */
                { "a2" KAT("01") AREA PAT("01") "6a617474657374496e666e 40", false },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_buf_ Buf b = BUF_INIT(512);
                ParsecEvidence e;
                put_hex(&b, t[i].hex);
                if (parsec_evidence_read(buf_view(&b), &e) != t[i].ok)
                        fail_msg("row %zu", i);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(attests), cmocka_unit_test(quote),  cmocka_unit_test(signatures),
                cmocka_unit_test(names),   cmocka_unit_test(parsec),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
