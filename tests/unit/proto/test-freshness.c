/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include "../hex.h"
#include "base/util.h"
#include "proto/freshness.h"

#define UNTOUCHED 32

static void requests(void **state)
{
        static const struct {
                FreshnessForm form;
                const char *request;
                bool ok;
                uint64_t len;
        } t[] = {
                { FRESHNESS_CBOR, "a1 63 'len' 1830", true, 48 },
                { FRESHNESS_CBOR, "a0", true, UNTOUCHED },
                { FRESHNESS_CBOR, "a2 61 'x' f6 63 'len' 08", true, 8 },
                { FRESHNESS_CBOR, "a1 63 'len' 1bffffffffffffffff", true, UINT64_MAX },
                { FRESHNESS_CBOR, "", false, 0 },
                { FRESHNESS_CBOR, "a1 63 'len' 20", false, 0 },
                { FRESHNESS_CBOR, "a1 63 'len' 61 '8'", false, 0 },
                { FRESHNESS_CBOR, "a1 01 08", false, 0 },
                { FRESHNESS_CBOR, "81 08", false, 0 },
                { FRESHNESS_CBOR, "a1 63 'len' 08 00", false, 0 },
                { FRESHNESS_CBOR, "a2 63 'len' 08 63 'len' 09", false, 0 },
                { FRESHNESS_CBOR, "bf 63 'len' 08 ff", false, 0 },
                { FRESHNESS_JSON, "'{\"len\": 48}'", true, 48 },
                { FRESHNESS_JSON, "'{}'", true, UNTOUCHED },
                { FRESHNESS_JSON, "'{\"x\": null, \"len\": 8}'", true, 8 },
                { FRESHNESS_JSON, "", false, 0 },
                { FRESHNESS_JSON, "'[48]'", false, 0 },
                { FRESHNESS_JSON, "'{\"len\": -1}'", false, 0 },
                { FRESHNESS_JSON, "'{\"len\": 8.5}'", false, 0 },
                { FRESHNESS_JSON, "'{\"len\": \"8\"}'", false, 0 },
                { FRESHNESS_JSON, "'{\"len\": 8, \"len\": 9}'", false, 0 },
                { FRESHNESS_JSON, "'{\"len\": 8} x'", false, 0 },
                { FRESHNESS_JSON, "'{\"len\": 99999999999999999999}'", false, 0 },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                uint8_t request[64];
                uint64_t len = UNTOUCHED;
                size_t n = unhex(t[i].request, request, sizeof(request));
                if (freshness_request_read(t[i].form, BYTES(request, n), &len) != t[i].ok)
                        fail_msg("%s", t[i].request);
                assert_int_equal(len, t[i].ok ? t[i].len : UNTOUCHED);
        }
}

static void responses(void **state)
{
        static const char json[] = "{\"nonce\":\"-__-AQ\",\"expiry\":120}";
        const Bytes nonce = BYTES_LITERAL("\xfb\xff\xfe\x01");
        uint8_t expected[64];
        _cleanup_buf_ Buf buf = BUF_INIT(64);
        assert_int_equal(freshness_response_write(FRESHNESS_CBOR, nonce, 120, &buf), 0);
        size_t n = unhex("a2 65 'nonce' 44 fbfffe01 66 'expiry' 1878", expected, sizeof(expected));
        assert_true(bytes_equal(buf_view(&buf), BYTES(expected, n)));
        buf_clear(&buf);
        assert_int_equal(freshness_response_write(FRESHNESS_JSON, nonce, 120, &buf), 0);
        assert_true(bytes_equal(buf_view(&buf), bytes_from_str(json)));
}

static void no_room(void **state)
{
        static const uint8_t nonce[64];
        for (FreshnessForm form = FRESHNESS_CBOR; form <= FRESHNESS_JSON; form++) {
                _cleanup_buf_ Buf buf = BUF_INIT(40);
                assert_true(freshness_response_write(form, BYTES(nonce, 64), 1, &buf) < 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(requests),
                cmocka_unit_test(responses),
                cmocka_unit_test(no_room),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
