/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vectors.h"

#include <jansson.h>

#include "base/str.h"
#include "proto/cose.h"

#define NOT_READ (-1) /* refused before there is a signature to verify */

static const struct {
        const char *file;
        CoseFlags flags;
        int answer;      /* NOT_READ, 0 or 1 */
        CoseOutcome why; /* for NOT_READ */
} vectors[] = {
        { "sign1-tests/sign-pass-01.json", COSE_TAGGED, NOT_READ, COSE_E_ALGORITHM },
        { "sign1-tests/sign-pass-02.json", COSE_TAGGED, 1 },
        { "sign1-tests/sign-pass-03.json", COSE_UNTAGGED, 1 },
        { "sign1-tests/sign-pass-03.json", COSE_TAGGED, NOT_READ, COSE_E_TAG },
        { "sign1-tests/sign-fail-01.json", COSE_TAGGED, NOT_READ, COSE_E_TAG },
        { "sign1-tests/sign-fail-02.json", COSE_TAGGED, 0 },
        { "sign1-tests/sign-fail-03.json", COSE_TAGGED, NOT_READ, COSE_E_ALGORITHM },
        { "sign1-tests/sign-fail-04.json", COSE_TAGGED, NOT_READ, COSE_E_ALGORITHM },
        { "sign1-tests/sign-fail-06.json", COSE_TAGGED, 0 },
        { "sign1-tests/sign-fail-07.json", COSE_TAGGED, 0 },
        { "ecdsa-examples/ecdsa-sig-01.json", COSE_TAGGED, 1 },
        { "ecdsa-examples/ecdsa-sig-02.json", COSE_TAGGED, 1 },
        { "ecdsa-examples/ecdsa-sig-03.json", COSE_TAGGED, 1 },
        { "ecdsa-examples/ecdsa-sig-04.json", COSE_TAGGED, NOT_READ, COSE_E_SIGNATURE },
        { "eddsa-examples/eddsa-sig-01.json", COSE_TAGGED, 1 },
        { "CWT/A_3.json", COSE_TAGGED, 1 },
        { "mac0-tests/HMac-01.json", COSE_TAGGED, NOT_READ, COSE_E_TAG },
        { "x509-examples/signed-01.json", COSE_TAGGED, NOT_READ, COSE_E_TAG },
};

/* A member in hex ("x_hex") or in base64url ("x"). */
static File member(const json_t *o, const char *name)
{
        char hex_name[32];
        File f = { 0 };

        snprintf(hex_name, sizeof(hex_name), "%s_hex", name);
        const char *hex = json_string_value(json_object_get(o, hex_name));
        const char *base64 = json_string_value(json_object_get(o, name));
        if (hex)
                assert_int_equal(hex_decode_new(hex, &f.data, &f.len), 0);
        else if (base64)
                assert_int_equal(base64url_decode_new(bytes_from_str(base64), &f.data, &f.len), 0);
        return f;
}

static int verify(const json_t *sign, const CoseSign1 *s)
{
        const json_t *key = json_object_get(sign, "key");
        _cleanup_file_ File x = member(key, "x"), y = member(key, "y");
        const char *external = json_string_value(json_object_get(sign, "external"));
        _cleanup_file_ File aad = { 0 };
        if (external)
                assert_int_equal(hex_decode_new(external, &aad.data, &aad.len), 0);
        _cleanup_(public_key_unrefp) PublicKey *k = key_from_point(
                json_string_value(json_object_get(key, "crv")), file_bytes(&x), file_bytes(&y));
        return cose_sign1_verify(s, file_bytes(&aad), verify_with_key, k, NULL);
}

static void messages(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                char path[128];
                CoseSign1 s = { 0 };

                print_message("%s\n", vectors[i].file);
                snprintf(path, sizeof(path), "cose/cose-wg/%s", vectors[i].file);
                _cleanup_file_ File f = file_load(path);
                _cleanup_file_ File message = { 0 };
                json_t *root = json_loadb((const char *)f.data, f.len, 0, NULL);
                assert_non_null(root);
                const char *hex =
                        json_string_value(json_object_get(json_object_get(root, "output"), "cbor"));
                assert_int_equal(hex_decode_new(hex, &message.data, &message.len), 0);

                CoseOutcome o = cose_sign1_read(file_bytes(&message), vectors[i].flags, &s);
                if (vectors[i].answer == NOT_READ) {
                        assert_int_equal(o, vectors[i].why);
                } else {
                        assert_int_equal(o, COSE_OK);
                        const json_t *input = json_object_get(root, "input");
                        assert_int_equal(verify(json_object_get(input, "sign0"), &s),
                                         vectors[i].answer);
                }
                json_decref(root);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(messages),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
