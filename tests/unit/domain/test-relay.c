/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>

#include "base/util.h"
#include "domain/device.h"
#include "domain/relay.h"
#include "proto/cbor.h"
#include "proto/cmw.h"
#include "proto/cose.h"
#include "sallyport/attestation.h"

static const uint8_t spki[32] = { 0x5b };
static const uint8_t boot_id[16] = { 0xb0 };
static const ParsecEvidence gateway = { BYTES_LITERAL("kid"),   BYTES_LITERAL("certinfo"),
                                        BYTES_LITERAL("csig"),  BYTES_LITERAL("area"),
                                        BYTES_LITERAL("quote"), BYTES_LITERAL("qsig") };
static const RelayDevice devices[] = {
        { .name = "meter-7",
          .content_format = SALLYPORT_CF_PSA_TOKEN,
          .evidence = BYTES_LITERAL("token7"),
          .ear = BYTES_LITERAL("a.b.c"),
          .nonce = BYTES_LITERAL("nonce7"),
          .received = 1700000000 * USEC_PER_SEC,
          .age = 5 * USEC_PER_SEC },
        { .name = "dev1",
          .media_type = SALLYPORT_MEDIA_PSA_PROFILE1,
          .evidence = BYTES_LITERAL("token1"),
          .nonce = BYTES_LITERAL("nonce1"),
          .received = 1700000001 * USEC_PER_SEC },
};
static const RelayReport report = { .nonce = BYTES_LITERAL("12345678"),
                                    .spki_sha256 = spki,
                                    .version = "0.1",
                                    .boot_id = { boot_id, sizeof(boot_id) },
                                    .gateway = &gateway,
                                    .devices = devices,
                                    .n_devices = 2 };
static const Bytes chain[] = { BYTES_LITERAL("leaf") };

static Bytes expected_message;

static int same_message(const void *key, int alg, Bytes message, Bytes signature, void *userdata)
{
        return alg == COSE_ES256 && bytes_equal(message, expected_message);
}

static void check_lead(Bytes lead)
{
        Reader r = cbor_open(lead, CBOR_DEPTH);
        assert_int_equal(cbor_tag(&r), 601);
        Bytes claims = reader_rest(&r);
        r = cbor_map_find(claims, 10);
        assert_true(bytes_equal(cbor_bytes(&r), report.nonce));
        r = cbor_map_find(claims, 256);
        Bytes ueid = cbor_bytes(&r);
        assert_int_equal(ueid.len, 33);
        assert_int_equal(ueid.data[0], 1);
        assert_memory_equal(ueid.data + 1, spki, 32);
        r = cbor_map_find(claims, 265);
        assert_true(bytes_equal(cbor_text(&r), BYTES_LITERAL(SALLYPORT_LEAD_PROFILE)));
        r = cbor_map_find(claims, SALLYPORT_CLAIM_FRESHNESS);
        assert_int_equal(cbor_map(&r), 2);
        assert_true(bytes_equal(cbor_text(&r), BYTES_LITERAL("dev1")));
        cbor_skip(&r);
        assert_true(bytes_equal(cbor_text(&r), BYTES_LITERAL("meter-7")));
        assert_int_equal(cbor_array(&r), 3);
        assert_true(bytes_equal(cbor_bytes(&r), BYTES_LITERAL("nonce7")));
        assert_int_equal(cbor_uint(&r), 1700000000);
        assert_int_equal(cbor_uint(&r), 5);
}

static void compose(void **state)
{
        static const struct {
                const char *label;
                const char *media_type;
                uint16_t content_format;
                uint32_t indicator;
                const char *value;
        } items[] = {
                { "dev1", SALLYPORT_MEDIA_PSA_PROFILE1, 0, 4, "token1" },
                { "__lead", SALLYPORT_MEDIA_LEAD, 0, 0, NULL },
                { "gateway", SALLYPORT_MEDIA_PARSEC_TPM, 0, 4, NULL },
                { "meter-7", NULL, 10003, 4, "token7" },
                { "meter-7/ear", SALLYPORT_MEDIA_EAR_JWT, 0, 8, "a.b.c" },
        };
        _cleanup_relay_envelope_ RelayEnvelope e;
        _cleanup_buf_ Buf out = BUF_INIT(RELAY_SIZE_MAX);
        uint8_t signature[64] = { 1 };
        CmwCollection c;
        CmwItem item;
        CoseSign1 s;

        assert_int_equal(relay_begin(&report, chain, 1, &e), 0);
        assert_int_equal(relay_finish(&e, BYTES(signature, 63), &out), -EINVAL);
        assert_int_equal(relay_finish(&e, BYTES(signature, 64), &out), 0);
        assert_int_equal(cose_sign1_read(buf_view(&out), COSE_TAGGED, &s), COSE_OK);
        expected_message = buf_view(&e.tbs);
        assert_int_equal(cose_sign1_verify(&s, BYTES(NULL, 0), same_message, &e, NULL), 1);
        assert_true(bytes_equal(cose_x5chain_at(&s, 0), chain[0]));
        Reader type = cose_protected_find(&s, COSE_HEADER_CONTENT_TYPE);
        assert_int_equal(cbor_uint(&type), SALLYPORT_CF_CMW_CBOR);

        assert_int_equal(cmw_collection_open(s.payload, &c), CMW_OK);
        assert_true(bytes_equal(c.type, BYTES_LITERAL(SALLYPORT_COMPOSITE_TYPE)));
        for (size_t i = 0; i < ELEMENTSOF(items); i++) {
                assert_true(cmw_collection_next(&c, &item));
                assert_true(bytes_equal(item.text, bytes_from_str(items[i].label)));
                assert_int_equal(item.record.indicator, items[i].indicator);
                if (items[i].media_type)
                        assert_true(bytes_equal(item.record.media_type,
                                                bytes_from_str(items[i].media_type)));
                else
                        assert_int_equal(item.record.content_format, items[i].content_format);
                if (items[i].value)
                        assert_true(bytes_equal(item.record.value, bytes_from_str(items[i].value)));
                if (i == 1)
                        check_lead(item.record.value);
                if (i == 2) {
                        ParsecEvidence p;
                        assert_true(parsec_evidence_read(item.record.value, &p));
                        assert_true(bytes_equal(p.quote_info, gateway.quote_info));
                }
        }
        assert_false(cmw_collection_next(&c, &item));
}

/* The same facts are the same bytes, whatever order they come in. */
static void deterministic(void **state)
{
        _cleanup_relay_envelope_ RelayEnvelope a, b;
        const RelayDevice turned[] = { devices[1], devices[0] };
        RelayReport other = report;
        other.devices = turned;
        assert_int_equal(relay_begin(&report, chain, 1, &a), 0);
        assert_int_equal(relay_begin(&other, chain, 1, &b), 0);
        assert_true(bytes_equal(buf_view(&a.tbs), buf_view(&b.tbs)));
}

static void refused(void **state)
{
        static uint8_t large[RELAY_SIZE_MAX];
        RelayDevice many[RELAY_DEVICES_MAX + 1];
        char names[RELAY_DEVICES_MAX + 1][8];
        RelayEnvelope e;
        RelayReport r = report;

        r.nonce = BYTES_LITERAL("1234567");
        assert_int_equal(relay_begin(&r, chain, 1, &e), -EINVAL);
        r.nonce = BYTES(large, 65);
        assert_int_equal(relay_begin(&r, chain, 1, &e), -EINVAL);

        r = report;
        many[0] = many[1] = devices[0];
        r.devices = many;
        assert_int_equal(relay_begin(&r, chain, 1, &e), -EINVAL);
        r.n_devices = 1;
        many[0].name = "a/b";
        assert_int_equal(relay_begin(&r, chain, 1, &e), -EINVAL);
        many[0].name = "gateway";
        assert_int_equal(relay_begin(&r, chain, 1, &e), -EINVAL);
        many[0] = devices[0];
        many[0].evidence = BYTES(large, sizeof(large));
        assert_int_equal(relay_begin(&r, chain, 1, &e), -ENOBUFS);
        assert_int_equal(buf_len(&e.tbs), 0);

        for (size_t i = 0; i <= RELAY_DEVICES_MAX; i++) {
                snprintf(names[i], sizeof(names[i]), "d%zu", i);
                many[i] = devices[0];
                many[i].name = names[i];
        }
        r.n_devices = RELAY_DEVICES_MAX + 1;
        assert_int_equal(relay_begin(&r, chain, 1, &e), -EINVAL);
        r.n_devices = RELAY_DEVICES_MAX;
        assert_int_equal(relay_begin(&r, chain, 1, &e), 0);
        relay_envelope_done(&e);
        r.n_devices = 0;
        r.gateway = NULL;
        assert_int_equal(relay_begin(&r, NULL, 0, &e), 0);
        relay_envelope_done(&e);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(compose),
                cmocka_unit_test(deterministic),
                cmocka_unit_test(refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
