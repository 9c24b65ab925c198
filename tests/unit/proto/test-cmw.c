/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>

#include "attest-util.h"
#include "base/util.h"
#include "proto/cbor.h"
#include "proto/cmw.h"
#include "sallyport/attestation.h"

static CmwOutcome check_hex(const char *s)
{
        _cleanup_buf_ Buf b = BUF_INIT(1024);
        CmwKind kind;
        put_hex(&b, s);
        return cmw_check(buf_view(&b), &kind);
}

static void collections(void **state)
{
        static const struct {
                const char *hex;
                CmwOutcome outcome;
        } t[] = {
                { "a1 6161 820040", CMW_OK },
                { "a1 01 820040", CMW_OK },
                { "a1 20 820040", CMW_OK },
                { "a2 685f5f636d77635f74 6161 01 820040", CMW_OK },
                { "a1 01 a1 02 820040", CMW_OK }, /* one in another */
                { "a1 01 a0", CMW_E_LABEL },
                { "a1 01 a1 02 8100", CMW_E_SHAPE },
                { "a0", CMW_E_LABEL },
                { "a1 685f5f636d77635f74 6161", CMW_E_LABEL }, /* a type and nothing of it */
                { "a2 685f5f636d77635f74 01 01 820040", CMW_E_TYPE },
                { "a2 685f5f636d77635f74 60 01 820040", CMW_E_TYPE },
                { "a1 4101 820040", CMW_E_LABEL },
                { "a1 f4 820040", CMW_E_LABEL },
                { "a1 01 01", CMW_E_SHAPE },
                { "a1 01 d84140", CMW_E_TYPE },
                { "a1 01 82f640", CMW_E_TYPE },
                { "a2 01 820040 01 820040", CMW_E_MALFORMED },
                { "a1 01 820040 00", CMW_E_MALFORMED },
                { "01", CMW_E_SHAPE },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++)
                if (check_hex(t[i].hex) != t[i].outcome)
                        fail_msg("%s: %s", t[i].hex, cmw_outcome_to_string(check_hex(t[i].hex)));
}

static void tags(void **state)
{
        /* RFC 9277: the blocks of 255 with one number left out, and the ends of the range. */
        static const struct {
                const char *hex;
                bool ok;
                uint16_t content_format;
        } t[] = {
                { "da63740101 40", true, 0 },     { "da637401ff 40", true, 254 },
                { "da63740200 40", false, 0 },    { "da63740201 40", true, 255 },
                { "da63740100 40", false, 0 },    { "da63750101 40", true, 65280 },
                { "da637501ff 40", true, 65534 }, { "da63750201 40", true, 65535 },
                { "da63750202 40", false, 0 },    { "da63740101 00", false, 0 },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_buf_ Buf b = BUF_INIT(64);
                CmwRecord r = { .content_format = 7 };
                put_hex(&b, t[i].hex);
                assert_int_equal(cmw_record_read(buf_view(&b), &r) == CMW_OK, t[i].ok);
                assert_int_equal(r.content_format, t[i].ok ? t[i].content_format : 7);
        }
}

static void media_types(void **state)
{
        static const struct {
                const char *media_type;
                uint16_t content_format;
        } t[] = {
                { SALLYPORT_MEDIA_PSA_TFM, 10003 }, { SALLYPORT_MEDIA_PSA_LEGACY, 10004 },
                { "application/eat+cwt", 263 },     { "application/cmw+cbor", 273 },
                { "application/eat+cwt ", 0 },      { "Application/eat+cwt", 0 },
                { "application/cmw+json", 0 },      { "", 0 },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++)
                assert_int_equal(cmw_content_format(bytes_from_str(t[i].media_type)),
                                 t[i].content_format);
}

static void write_sorted(void **state)
{
        CmwEntry entries[] = {
                { "zz", NULL, 263, BYTES_LITERAL("x"), 4 },
                { "gateway-long-label", "a/b", 0, BYTES_LITERAL("y"), 0 },
                { "a", NULL, 60, BYTES_LITERAL("z"), 8 },
        };
        _cleanup_buf_ Buf b = BUF_INIT(256), again = BUF_INIT(256);
        CmwCollection c;
        CmwItem i;

        assert_int_equal(cmw_collection_write("tag:t", entries, 3, &b), 0);
        assert_int_equal(cmw_collection_open(buf_view(&b), &c), CMW_OK);
        assert_true(bytes_equal(c.type, BYTES_LITERAL("tag:t")));
        static const char *const order[] = { "a", "zz", "gateway-long-label" };
        for (size_t n = 0; n < 3; n++) {
                assert_true(cmw_collection_next(&c, &i));
                assert_true(bytes_equal(i.text, bytes_from_str(order[n])));
        }
        assert_false(cmw_collection_next(&c, &i));
        /* The order of the entries given makes no difference. */
        CmwEntry first = entries[0];
        entries[0] = entries[2];
        entries[2] = first;
        assert_int_equal(cmw_collection_write("tag:t", entries, 3, &again), 0);
        assert_true(bytes_equal(buf_view(&b), buf_view(&again)));
        /* "__cmwc_t" stands where its encoding sorts it: after "zz", before the long label. */
        assert_memory_equal(buf_view(&b).data,
                            "\xa4\x61"
                            "a",
                            3);
        Reader r = reader_new(buf_view(&b));
        cbor_map(&r);
        for (int skip = 0; skip < 4; skip++)
                cbor_skip(&r);
        assert_true(bytes_equal(cbor_text(&r), BYTES_LITERAL("__cmwc_t")));
}

static void write_refused(void **state)
{
        CmwEntry twice[] = { { "a", NULL, 1, BYTES(NULL, 0), 0 },
                             { "a", NULL, 2, BYTES(NULL, 0), 0 } };
        CmwEntry reserved[] = { { "__cmwc_t", NULL, 1, BYTES(NULL, 0), 0 } };
        CmwEntry many[CBOR_MAP_MAX + 1];
        char labels[CBOR_MAP_MAX + 1][8];
        _cleanup_buf_ Buf b = BUF_INIT(4096), small = BUF_INIT(4);

        assert_int_equal(cmw_collection_write(NULL, twice, 2, &b), -EINVAL);
        assert_int_equal(cmw_collection_write(NULL, reserved, 1, &b), -EINVAL);
        assert_int_equal(cmw_collection_write(NULL, twice, 0, &b), -EINVAL);
        for (size_t i = 0; i <= CBOR_MAP_MAX; i++) {
                snprintf(labels[i], sizeof(labels[i]), "%zu", i);
                many[i] = (CmwEntry){ labels[i], NULL, 1, BYTES(NULL, 0), 0 };
        }
        assert_int_equal(cmw_collection_write(NULL, many, CBOR_MAP_MAX + 1, &b), -EINVAL);
        assert_int_equal(cmw_collection_write("t", many, CBOR_MAP_MAX, &b), -EINVAL);
        assert_int_equal(cmw_collection_write(NULL, many, CBOR_MAP_MAX, &b), 0);
        assert_int_equal(cmw_collection_write(NULL, twice, 1, &small), -ENOBUFS);
}

static void json(void **state)
{
        static const struct {
                const char *text;
                int outcome;
        } t[] = {
                { "[\"a/b\", \"YQ\"]", CMW_OK },
                { "[263, \"YQ\", 4]", CMW_OK },
                { "[263, \"\"]", CMW_OK },
                { "[263]", CMW_E_SHAPE },
                { "[263, \"YQ\", 4, 5]", CMW_E_SHAPE },
                { "[263, \"YQ\", 0]", CMW_E_SHAPE },
                { "[263, \"YQ\", \"4\"]", CMW_E_SHAPE },
                { "[263, 1]", CMW_E_SHAPE },
                { "[\"ab\", \"YQ\"]", CMW_E_TYPE },
                { "[65536, \"YQ\"]", CMW_E_TYPE },
                { "[-1, \"YQ\"]", CMW_E_TYPE },
                { "[1.5, \"YQ\"]", CMW_E_TYPE },
                { "[263, \"Y Q\"]", CMW_E_MALFORMED },
                { "[263, \"YQ\"] x", CMW_E_MALFORMED },
                { "{}", CMW_E_SHAPE },
                { "", CMW_E_MALFORMED },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_free_ void *storage = NULL;
                CmwRecord r;
                int o = cmw_json_record_read(bytes_from_str(t[i].text), &r, &storage);
                if (o != t[i].outcome)
                        fail_msg("%s: %d", t[i].text, o);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(collections),  cmocka_unit_test(tags),
                cmocka_unit_test(write_sorted), cmocka_unit_test(write_refused),
                cmocka_unit_test(json),         cmocka_unit_test(media_types),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
