/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <string.h>

#include "base/str.h"
#include "platform/est-message.h"
#include "platform/ossl.h"

static void base64(void **state)
{
        static const struct {
                const char *text, *content;
        } cases[] = {
                { "aGVsbG8=", "hello" },
                { "aGVs\r\nbG8=\r\n", "hello" },
                { " a G V s b G 8 = ", "hello" },
                { "aGVsbG8", NULL },  /* not padded */
                { "aGVsbG9=", NULL }, /* bits that encode nothing */
                { "aGV-bG8=", NULL },
                { "aGVsbG8=aGVs", NULL },
                { "", NULL },
                { "\n", NULL },
                { "====", NULL },
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ uint8_t *out = NULL;
                size_t len = 0;
                bool good = est_decode(bytes_from_str(cases[i].text), &out, &len);
                if (good != (cases[i].content != NULL))
                        fail_msg("\"%s\"", cases[i].text);
                if (good)
                        assert_true(bytes_equal(BYTES(out, len), bytes_from_str(cases[i].content)));
        }
        static const uint8_t all[] = { 0xfb, 0xff, 0xbf };
        _cleanup_free_ char *text = est_encode(BYTES(all, sizeof(all)));
        assert_string_equal(text, "+/+/");
        _cleanup_free_ uint8_t *back = NULL;
        size_t len;
        assert_true(est_decode(bytes_from_str(text), &back, &len));
        assert_true(bytes_equal(BYTES(back, len), BYTES(all, sizeof(all))));
}

/* The example of RFC 7030 section 4.5.2: challengePassword, secp384r1, a MAC address. */
static void example(void **state)
{
        static const char text[] = "MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJ"
                                   "DjEJBgcrBgEBAQEWBggqhkjOPQQDAw==";
        Reason reason;
        _cleanup_est_attributes_ EstAttributes a = { 0 };
        assert_true(est_read_attributes(bytes_from_str(text), &a, &reason));
        assert_true(a.linking);
        assert_null(a.extensions);
        assert_non_null(strstr(a.cannot, "another kind (secp384r1)"));
}

/* What a server answered to simpleenroll: RFC 7030 appendix A.3. */
static void answer(void **state)
{
        static const char text[] =
                "MIIDOAYJKoZIhvcNAQcCoIIDKTCCAyUCAQExADALBgkqhkiG9w0BBwGgggMLMIID\n"
                "BzCCAe+gAwIBAgIBFTANBgkqhkiG9w0BAQUFADAbMRkwFwYDVQQDExBlc3RFeGFt\n"
                "cGxlQ0EgTndOMB4XDTEzMDUwOTIzMTU1M1oXDTE0MDUwOTIzMTU1M1owHzEdMBsG\n"
                "A1UEAxMUZGVtb3N0ZXA0IDEzNjgxNDEzNTIwggEiMA0GCSqGSIb3DQEBAQUAA4IB\n"
                "DwAwggEKAoIBAQClNp+kdz+Nj8XpEp9kaumWxDZ3eFYJpQKz9ddD5e5OzUeCm103\n"
                "ZIXQIxc0eVtMCatnRr3dnZRCAxGjwbqoB3eKt29/XSQffVv+odbyw0WdkQOIbntC\n"
                "Qry8YdcBZ+8LjI/N7M2krmjmoSLmLwU2V4aNKf0YMLR5Krmah3Ik31jmYCSvwTnv\n"
                "6mx6pr2pTJ82JavhTEIIt/fAYq1RYhkM1CXoBL+yhEoDanN7TzC94skfS3VV+f53\n"
                "J9SkUxTYcy1Rw0k3VXfxWwy+cSKEPREl7I6k0YeKtDEVAgBIEYM/L1S69RXTLuji\n"
                "rwnqSRjOquzkAkD31BE961KZCxeYGrhxaR4PAgMBAAGjUjBQMA4GA1UdDwEB/wQE\n"
                "AwIEsDAdBgNVHQ4EFgQU/qDdB6ii6icQ8wGMXvy1jfE4xtUwHwYDVR0jBBgwFoAU\n"
                "scRp5lujBKfYl6OLO7+5arIyQjwwDQYJKoZIhvcNAQEFBQADggEBACmxg1hvL6+7\n"
                "a+lFTARoxainBx5gxdZ9omSb0L+qL+4PDvg/+KHzKsDnMCrcU6M4YP5n0EDKmGa6\n"
                "4lY8fbET4tt7juJg6ixb95/760Th0vuctwkGr6+D6ETTfqyHnrbhX3lAhnB+0Ja7\n"
                "o1gv4CWxh1I8aRaTXdpOHORvN0SMXdcrlCys2vrtOl+LjR2a3kajJO6eQ5leOdzF\n"
                "QlZfOPhaLWen0e2BLNJI0vsC2Fa+2LMCnfC38XfGALa5A8e7fNHXWZBjXZLBCza3\n"
                "rEs9Mlh2CjA/ocSC/WxmMvd+Eqnt/FpggRy+F8IZSRvBaRUCtGE1lgDmu6AFUxce\n"
                "R4POrT2xz8ChADEA\n";
        Reason reason = { "" };
        char name[64];
        _cleanup_(x509_stack_freep) STACK_OF(X509) *list = NULL;
        if (!est_read_certificates(bytes_from_str(text), &list, &reason))
                fail_msg("%s", reason.text);
        assert_int_equal(sk_X509_num(list), 1);
        X509_NAME_get_text_by_NID(X509_get_subject_name(sk_X509_value(list, 0)), NID_commonName,
                                  name, sizeof(name));
        assert_string_equal(name, "demostep4 1368141352");
}

typedef struct Case {
        const char *hex; /* of the list's content, below 128 bytes */
        bool readable;
        const char *cannot;
} Case;

#define OID_EC     "06072a8648ce3d0201"
#define OID_P256   "06082a8648ce3d030107"
#define OID_P384   "06052b81040022"
#define OID_SHA256 "06082a8648ce3d040302"
#define OID_SHA384 "06082a8648ce3d040303"
#define OID_RSA    "06092a864886f70d010101"
#define OID_EXT    "06092a864886f70d01090e"

static void attributes(void **state)
{
        static const Case cases[] = {
                { "", true, "" },
                { "06032a0304", true, "" }, /* nobody knows it */
                { OID_EC, true, "" },
                { OID_RSA, true, "(RSA)" },
                { OID_RSA OID_EC, true, "" },
                { "3015" OID_EC "310a" OID_P256, true, "" },
                { "3012" OID_EC "3107" OID_P384, true, "(secp384r1)" },
                { "301c" OID_EC "3111" OID_P384 OID_P256, true, "" },
                { OID_SHA384, true, "ECDSA with SHA-256" },
                { OID_SHA384 OID_SHA256, true, "" },
                { "300d" OID_EXT "3100", true, "" },
                { "300f" OID_EXT "31023000", true, "" },
                { "300f" OID_EXT "31023001", false, "" },
                { "02012a", false, "" },      /* an INTEGER */
                { "3003" OID_EC, false, "" }, /* cut */
                { "0603", false, "" },
                { "300b" OID_RSA, false, "" }, /* an attribute without values */
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t der[130];
                Reason reason;
                _cleanup_est_attributes_ EstAttributes a = { 0 };
                size_t len = strlen(cases[i].hex) / 2;
                der[0] = 0x30;
                der[1] = (uint8_t)len;
                assert_int_equal(hex_decode(cases[i].hex, der + 2, len), 0);
                _cleanup_free_ char *text = est_encode(BYTES(der, len + 2));
                if (est_read_attributes(bytes_from_str(text), &a, &reason) != cases[i].readable ||
                    (*cases[i].cannot ? !strstr(a.cannot, cases[i].cannot) : a.cannot[0] != '\0'))
                        fail_msg("%s: \"%s\"", cases[i].hex, a.cannot);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(base64),
                cmocka_unit_test(example),
                cmocka_unit_test(answer),
                cmocka_unit_test(attributes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
