/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vectors.h"

#include "base/str.h"
#include "proto/cmw.h"

#define CMW "cmw/veraison-cmw/"

static void collections(void **state)
{
        static const struct {
                const char *file;
                size_t n;
        } vectors[] = {
                { CMW "collection-cbor-ok.cbor", 3 },
                { CMW "collection-cbor-ok-2.cbor", 1 },
                { CMW "collection-cbor-mixed-keys.cbor", 2 },
        };
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                _cleanup_file_ File f = file_load(vectors[i].file);
                CmwCollection c;
                CmwItem item;
                size_t n = 0;

                assert_int_equal(cmw_collection_open(file_bytes(&f), &c), CMW_OK);
                while (cmw_collection_next(&c, &item))
                        n++;
                assert_int_equal(n, vectors[i].n);
                for (size_t cut = 0; cut < f.len; cut++)
                        assert_int_not_equal(cmw_collection_open(BYTES(f.data, cut), &c), CMW_OK);
        }
}

static void first_collection(void **state)
{
        _cleanup_file_ File f = file_load(CMW "collection-cbor-ok.cbor");
        CmwCollection c;
        CmwItem item;

        assert_int_equal(cmw_collection_open(file_bytes(&f), &c), CMW_OK);
        assert_true(cmw_collection_next(&c, &item));
        assert_false(item.is_text);
        assert_int_equal(item.number, 1);
        assert_true(bytes_equal(item.record.media_type,
                                BYTES_LITERAL("application/signed-corim+cbor")));
        assert_int_equal(item.record.indicator, 3);
        assert_true(cmw_collection_next(&c, &item)); /* the tag form, by RFC 9277 */
        assert_int_equal(item.record.content_format, 29884);
        assert_int_equal(item.record.value.len, 4);
        assert_true(cmw_collection_next(&c, &item));
        assert_true(item.is_text);
        assert_int_equal(item.record.content_format, 30001);
        assert_false(cmw_collection_next(&c, &item));
}

/* The worked examples of draft-ietf-rats-msg-wrap, written in hex from their diagnostic form. */
static void records(void **state)
{
        static const struct {
                const char *hex;
                CmwOutcome outcome;
                uint16_t content_format;
                uint32_t indicator;
        } vectors[] = {
                { "8219fde7442347da55", CMW_OK, 64999, 0 },
                { "8319fde7442347da5504", CMW_OK, 64999, 4 },
                { "da63740000442347da55", CMW_E_TYPE, 0, 0 },
                { "da637440e6442347da55", CMW_OK, 0, 0 },
                { "8119fde7", CMW_E_SHAPE, 0, 0 },
                { "8419fde7442347da550400", CMW_E_SHAPE, 0, 0 },
                { "821a00010000442347da55", CMW_E_TYPE, 0, 0 },
                { "826161442347da55", CMW_E_TYPE, 0, 0 },
                { "8319fde7442347da5500", CMW_E_SHAPE, 0, 0 },
                { "8219fde7442347da5500", CMW_E_MALFORMED, 0, 0 },
                { "8219fde76161", CMW_E_SHAPE, 0, 0 },
        };
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                _cleanup_file_ File f = { 0 };
                CmwRecord r = { 0 };

                assert_int_equal(hex_decode_new(vectors[i].hex, &f.data, &f.len), 0);
                assert_int_equal(cmw_record_read(file_bytes(&f), &r), vectors[i].outcome);
                if (vectors[i].outcome != CMW_OK || vectors[i].content_format == 0)
                        continue;
                assert_int_equal(r.content_format, vectors[i].content_format);
                assert_int_equal(r.indicator, vectors[i].indicator);
        }
}

static void json_record(void **state)
{
        _cleanup_file_ File f = file_load("cmw/draft/cmw-example-1.json");
        _cleanup_file_ File collection = file_load(CMW "collection-ok.json");
        _cleanup_free_ void *storage = NULL;
        void *none = NULL;
        CmwRecord r = { 0 };

        assert_int_equal(cmw_json_record_read(file_bytes(&f), &r, &storage), CMW_OK);
        assert_true(bytes_equal(r.media_type,
                                BYTES_LITERAL("application/vnd.example.rats-conceptual-msg")));
        assert_true(bytes_equal(r.value, BYTES_LITERAL("#G\xdaU")));
        assert_int_equal(cmw_json_record_read(file_bytes(&collection), &r, &none), CMW_E_SHAPE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(collections),
                cmocka_unit_test(first_collection),
                cmocka_unit_test(records),
                cmocka_unit_test(json_record),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
