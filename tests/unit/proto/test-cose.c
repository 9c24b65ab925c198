/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>

#include "attest-util.h"
#include "base/util.h"
#include "proto/cbor.h"
#include "proto/cose.h"

#define SIG64                                                                                      \
        "5840"                                                                                     \
        "01010101010101010101010101010101010101010101010101010101010101"                           \
        "01"                                                                                       \
        "0202020202020202020202020202020202020202020202020202020202020202"

static CoseOutcome read_hex(const char *s, CoseFlags flags, CoseSign1 *ret)
{
        static uint8_t storage[1024];
        Buf b = BUF_INIT(1024);
        put_hex(&b, s);
        Bytes v = buf_view(&b);
        memcpy(storage, v.data, v.len);
        buf_done(&b);
        return cose_sign1_read(BYTES(storage, v.len), flags, ret);
}

static void shapes(void **state)
{
        static const struct {
                const char *hex;
                CoseFlags flags;
                CoseOutcome outcome;
        } t[] = {
                { "d284 43a10126 a0 4101" SIG64, COSE_TAGGED, COSE_OK },
                { "84 43a10126 a0 4101" SIG64, COSE_UNTAGGED, COSE_OK },
                { "84 43a10126 a0 4101" SIG64, COSE_TAGGED, COSE_E_TAG },
                { "d284 43a10126 a0 4101" SIG64, COSE_UNTAGGED, COSE_E_TAG },
                { "d184 43a10126 a0 4101" SIG64, COSE_TAGGED, COSE_E_TAG },
                { "d83dd284 43a10126 a0 4101" SIG64, COSE_TAGGED, COSE_E_TAG },
                { "d283 43a10126 a0 4101", COSE_TAGGED, COSE_E_MALFORMED },
                { "d285 43a10126 a0 4101" SIG64 "00", COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 43a10126 a0 4101" SIG64 "00", COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 a10126 a0 4101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 43a10126 80 4101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 43a10126 a0 6101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 43a10126 a0 f6" SIG64, COSE_TAGGED, COSE_E_DETACHED },
                { "d284 42a101 a0 4101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 44a1012600 a0 4101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 45a201260126 a0 4101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 43820126 a0 4101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 45a2012640f6 a0 4101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                { "d284 43a10126 a140f6 4101" SIG64, COSE_TAGGED, COSE_E_MALFORMED },
                /* The algorithm: protected, an integer, one of ours. */
                { "d284 40 a10126 4101" SIG64, COSE_TAGGED, COSE_E_ALGORITHM },
                { "d284 41a0 a10126 4101" SIG64, COSE_TAGGED, COSE_E_ALGORITHM },
                { "d284 40 a0 4101" SIG64, COSE_TAGGED, COSE_E_ALGORITHM },
                { "d284 43a10105 a0 4101" SIG64, COSE_TAGGED, COSE_E_ALGORITHM },
                { "d284 44a1016126 a0 4101" SIG64, COSE_TAGGED, COSE_E_ALGORITHM },
                { "d284 47a1013affffff06 a0 4101" SIG64, COSE_TAGGED, COSE_E_ALGORITHM },
                /* Labels that must be understood, or stand twice. */
                { "d284 47a201260281182a a0 4101" SIG64, COSE_TAGGED, COSE_E_CRITICAL },
                { "d284 43a10126 a10281182a 4101" SIG64, COSE_TAGGED, COSE_E_CRITICAL },
                { "d284 43a10126 a10126 4101" SIG64, COSE_TAGGED, COSE_E_DUPLICATE },
                { "d284 43a10126 a10127 4101" SIG64, COSE_TAGGED, COSE_E_DUPLICATE },
                { "d284 46a20126044131 a1044132 4101" SIG64, COSE_TAGGED, COSE_E_DUPLICATE },
                { "d284 46a20126617800 a1617801 4101" SIG64, COSE_TAGGED, COSE_E_DUPLICATE },
                { "d284 46a20126617800 a1617901 4101" SIG64, COSE_TAGGED, COSE_OK },
                { "d284 43a10126 a1044131 4101" SIG64, COSE_TAGGED, COSE_OK },
                /* The length that the algorithm gives. */
                { "d284 43a10126 a0 4101 4101", COSE_TAGGED, COSE_E_SIGNATURE },
                { "d284 43a10126 a0 4101 40", COSE_TAGGED, COSE_E_SIGNATURE },
                { "d284 44a1013822 a0 4101" SIG64, COSE_TAGGED, COSE_E_SIGNATURE },
                { "d284 44a1013823 a0 4101" SIG64, COSE_TAGGED, COSE_E_SIGNATURE },
                { "d284 43a10127 a0 4101" SIG64, COSE_TAGGED, COSE_OK },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                CoseSign1 s;
                CoseOutcome o = read_hex(t[i].hex, t[i].flags, &s);
                if (o != t[i].outcome)
                        fail_msg("%s: %s", t[i].hex, cose_outcome_to_string(o));
        }
}

static void chains(void **state)
{
        CoseSign1 s;
        assert_int_equal(read_hex("d284 48a20126182142abcd a0 4101" SIG64, COSE_TAGGED, &s),
                         COSE_OK);
        assert_int_equal(cose_x5chain_at(&s, 0).len, 2);
        assert_int_equal(cose_x5chain_at(&s, 1).len, 0);
        assert_int_equal(read_hex("d284 4ba20126182182 42abcd4101 a0 4101" SIG64, COSE_TAGGED, &s),
                         COSE_OK);
        assert_int_equal(cose_x5chain_at(&s, 0).len, 2);
        assert_int_equal(cose_x5chain_at(&s, 1).len, 1);
        assert_int_equal(cose_x5chain_at(&s, 2).len, 0);
        assert_int_equal(read_hex("d284 43a10126 a0 4101" SIG64, COSE_TAGGED, &s), COSE_OK);
        assert_int_equal(cose_x5chain_at(&s, 0).len, 0);
        assert_int_equal(read_hex("d284 47a2012618216178 a0 4101" SIG64, COSE_TAGGED, &s), COSE_OK);
        assert_int_equal(cose_x5chain_at(&s, 0).len, 0);
}

/* What a verifier behind the port was asked. */
typedef struct Asked {
        const void *key;
        int alg;
        uint8_t message[256];
        size_t message_len;
        Bytes signature;
        int answer;
} Asked;

static int note(const void *key, int alg, Bytes message, Bytes signature, void *userdata)
{
        Asked *a = userdata;
        a->key = key;
        a->alg = alg;
        assert_true(message.len <= sizeof(a->message));
        memcpy(a->message, message.data, message.len);
        a->message_len = message.len;
        a->signature = signature;
        return a->answer;
}

static void sig_structure(void **state)
{
        static const uint8_t expected[] = "\x84\x6aSignature1\x43\xa1\x01\x26\x42xy\x43pay";
        CoseSign1 s;
        Asked a = { .answer = 1 };

        assert_int_equal(read_hex("d284 43a10126 a0 43706179" SIG64, COSE_TAGGED, &s), COSE_OK);
        assert_int_equal(cose_sign1_verify(&s, BYTES_LITERAL("xy"), note, &a, &a), 1);
        assert_ptr_equal(a.key, &a);
        assert_int_equal(a.alg, COSE_ES256);
        assert_true(bytes_equal(BYTES(a.message, a.message_len),
                                BYTES(expected, sizeof(expected) - 1)));
        assert_int_equal(a.signature.len, 64);
        a.answer = 0;
        assert_int_equal(cose_sign1_verify(&s, BYTES_LITERAL("xy"), note, &a, &a), 0);
        a.answer = -EIO;
        assert_int_equal(cose_sign1_verify(&s, BYTES_LITERAL("xy"), note, &a, &a), -EIO);
}

/* What the builder makes is what the reader reads and the same bytes are verified as were signed.
 */
static void build(void **state)
{
        const Bytes chain[] = { BYTES_LITERAL("leaf"), BYTES_LITERAL("issuer") };
        uint8_t signature[64] = { 7 };
        _cleanup_buf_ Buf header = BUF_INIT(256), tbs = BUF_INIT(256), out = BUF_INIT(512);
        CoseSign1 s;
        Asked a = { .answer = 1 };

        for (size_t n = 0; n <= 2; n++) {
                buf_clear(&header);
                buf_clear(&tbs);
                buf_clear(&out);
                assert_int_equal(cose_protected_write(COSE_ES256, 273, chain, n, &header), 0);
                assert_int_equal(
                        cose_sign1_tbs(buf_view(&header), BYTES(NULL, 0), BYTES_LITERAL("p"), &tbs),
                        0);
                assert_int_equal(cose_sign1_write(buf_view(&header), BYTES_LITERAL("p"),
                                                  BYTES(signature, 64), &out),
                                 0);
                assert_int_equal(cose_sign1_read(buf_view(&out), COSE_TAGGED, &s), COSE_OK);
                assert_int_equal(cose_sign1_verify(&s, BYTES(NULL, 0), note, NULL, &a), 1);
                assert_true(bytes_equal(BYTES(a.message, a.message_len), buf_view(&tbs)));
                Reader type = cose_protected_find(&s, COSE_HEADER_CONTENT_TYPE);
                assert_int_equal(cbor_uint(&type), 273);
                for (size_t i = 0; i < n; i++)
                        assert_true(bytes_equal(cose_x5chain_at(&s, i), chain[i]));
                assert_int_equal(cose_x5chain_at(&s, n).len, 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(shapes),
                cmocka_unit_test(chains),
                cmocka_unit_test(sig_structure),
                cmocka_unit_test(build),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
