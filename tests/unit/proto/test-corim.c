/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>

#include "attest-util.h"
#include "base/util.h"
#include "proto/cbor-writer.h"
#include "proto/corim.h"

#define B32 "5820 1111111111111111111111111111111111111111111111111111111111111111 "
#define D32 "5820 2222222222222222222222222222222222222222222222222222222222222222 "
#define S32 "5820 3333333333333333333333333333333333333333333333333333333333333333 "

/* Parts of a file, of which tests exchange one. */
#define TAGID   "01 a1 00 5000000000000000000000000000000000 "
#define ENV     "a1 00 a1 00 d90230" B32
#define DIGESTS "02 81 82 01" D32
#define MVAL    "a1" DIGESTS
#define MEAS    "a1 01" MVAL
#define TRIPLE  "82" ENV "81" MEAS
#define TRIPLES "a1 00 81" TRIPLE

#define NOW (1000 * USEC_PER_SEC)

/* {0: "id", 1: [506(<< comid >>)] ...} with `more` pairs after. */
static int read_comid(const char *comid, unsigned n_more, const char *more, Corim **ret)
{
        _cleanup_buf_ Buf inner = BUF_INIT(4096), outer = BUF_INIT(8192);
        CborWriter w = cbor_writer(&outer);
        const CorimTrust trust = { 0 };

        put_hex(&inner, comid);
        cbor_put_tag(&w, 501);
        cbor_put_map(&w, 2 + n_more);
        cbor_put_uint(&w, 0);
        cbor_put_str(&w, "id");
        cbor_put_uint(&w, 1);
        cbor_put_array(&w, 1);
        cbor_put_tag(&w, 506);
        cbor_put_bytes(&w, buf_view(&inner));
        if (more)
                put_hex(&outer, more);
        return corim_read(buf_view(&outer), &trust, NOW, ret);
}

static int read_measurement(const char *measurement, Corim **ret)
{
        char comid[4096];
        snprintf(comid, sizeof(comid), "a2 " TAGID "04 a1 00 81 82" ENV "81 %s", measurement);
        return read_comid(comid, 0, NULL, ret);
}

static void shapes(void **state)
{
        static const struct {
                const char *comid;
                int outcome;
        } t[] = {
                { "a2" TAGID "04" TRIPLES, CORIM_OK },
                { "a3" TAGID "04" TRIPLES "20 6161", CORIM_OK },
                { "a1 04" TRIPLES, CORIM_E_MALFORMED },
                { "a1" TAGID, CORIM_E_MALFORMED },
                { "a2" TAGID "04 a0", CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 80", CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 81" ENV, CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 83" ENV "81" MEAS "00", CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82" ENV "80", CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82 a0 81" MEAS, CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82 a1 00 a1 00 01 81" MEAS, CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82 a1 00 a1 00 d825 4101 81" MEAS, CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82 a1 00 a1 00 d90226 4101 81" MEAS, CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82 a1 00 a1 00 d90258 4101 81" MEAS, CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82 a1 00 a1 00 d90230 40 81" MEAS, CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82" ENV "81 a0", CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 00 81 82" ENV "81 a1 01 a0", CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 03 81 82" ENV "80", CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 03 81 82" ENV "81 d9022a 6161", CORIM_E_MALFORMED },
                { "a2" TAGID "04 a1 03 81 82" ENV "81 d9022a 4161", CORIM_E_MALFORMED },
                { "80", CORIM_E_MALFORMED },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_(corim_freep) Corim *c = NULL;
                int r = read_comid(t[i].comid, 0, NULL, &c);
                if (r != t[i].outcome)
                        fail_msg("row %zu: %d", i, r);
        }
}

static void measurements(void **state)
{
        _cleanup_(corim_freep) Corim *c = NULL;
        assert_int_equal(read_measurement("a2 00 6161 01 a5 00 a1 00 63312e30 01 d90229 05" DIGESTS
                                          "0b 62424c 0d 81 d90230" S32,
                                          &c),
                         CORIM_OK);
        const CorimMeasurement *m = &c->references[0].measurements[0];
        assert_int_equal(m->key_type, CORIM_KEY_TEXT);
        assert_true(bytes_equal(m->key_text, BYTES_LITERAL("a")));
        assert_true(bytes_equal(m->version, BYTES_LITERAL("1.0")));
        assert_true(bytes_equal(m->name, BYTES_LITERAL("BL")));
        assert_true(m->has_svn && m->svn_is_minimum);
        assert_int_equal(m->svn, 5);
        assert_int_equal(m->n_digests, 1);
        assert_int_equal(m->digests[0].alg, 1);
        assert_int_equal(m->digests[0].value.len, 32);
        assert_int_equal(m->n_signers, 1);
        assert_false(m->incomparable);
        assert_int_equal(c->references[0].environment.class_id.type, CORIM_ID_BYTES);
}

/* What a measurement may state, and which statements keep it from ever matching. */
static void statements(void **state)
{
        static const struct {
                const char *measurement;
                int outcome;
                bool incomparable;
        } t[] = {
                { MEAS, CORIM_OK, false },
                { "a2 00 05 01" MVAL, CORIM_OK, false },
                { "a2 00 d825 5000000000000000000000000000000000 01" MVAL, CORIM_OK, false },
                { "a2 01" MVAL "02 81 00", CORIM_OK, true },             /* authorized-by */
                { "a1 01 a2" DIGESTS "04 d90230 4101", CORIM_OK, true }, /* raw value */
                { "a1 01 a2" DIGESTS "20 01", CORIM_OK, true },          /* extension */
                { "a1 01 a2" DIGESTS "0d 81 d9022a 6161", CORIM_OK, true },
                { "a1 01 a1 02 80", CORIM_E_MALFORMED, false },
                { "a1 01 a1 02 81 81 01", CORIM_E_MALFORMED, false },
                { "a1 01 a1 02 81 82 01 40", CORIM_E_MALFORMED, false },
                { "a1 01 a1 02 81 82 01 6161", CORIM_E_MALFORMED, false },
                { "a1 01 a1 02 81 82 6161" D32, CORIM_OK, false },
                { "a1 01 a1 02 88 820141018201410282014103820141048201410582014106820141078201"
                  "4108",
                  CORIM_OK, false },
                { "a1 01 a1 02 89 8201410182014102820141038201410482014105820141068201410782014"
                  "10882014109",
                  CORIM_E_MALFORMED, false },
                { "a1 01 a1 01 20", CORIM_E_MALFORMED, false },
                { "a1 01 a1 01 d8ff 01", CORIM_E_MALFORMED, false },
                { "a1 01 a1 00 a1 01 01", CORIM_E_MALFORMED, false },
                { "a1 01 a1 0b 4161", CORIM_E_MALFORMED, false },
                { "a1 01 a1 0d 80", CORIM_E_MALFORMED, false },
                { "a1 01 a1 0d 85 d90230 4101 d90230 4102 d90230 4103 d90230 4104 d90230 4105",
                  CORIM_E_MALFORMED, false },
                { "a1 01 a1 0e a1 00 81 82 01" D32, CORIM_OK, false },
                { "a1 01 a1 0e a1 20 81 82 01" D32, CORIM_E_MALFORMED, false },
                { "a1 01 a1 0e a1 00 80", CORIM_E_MALFORMED, false },
                /* Tag 601 names the component in the key; the values may repeat it or differ. */
                { "a2 00 d90259 a2 01 62424c 05" S32 "01" MVAL, CORIM_OK, false },
                { "a2 00 d90259 a1 01 62424c 01 a2" DIGESTS "0b 62424c", CORIM_OK, false },
                { "a2 00 d90259 a1 01 62424c 01 a2" DIGESTS "0b 624242", CORIM_OK, true },
                { "a2 01 a2" DIGESTS "0b 624242 00 d90259 a1 01 62424c", CORIM_OK, true },
                { "a2 00 d90259 a1 09 00 01" MVAL, CORIM_OK, true },
                { "a2 00 d90259 a1 05" S32 "01 a1 0d 84 d90230 4101 d90230 4102 d90230 4103"
                  "d90230 4104",
                  CORIM_E_MALFORMED, false },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_(corim_freep) Corim *c = NULL;
                int r = read_measurement(t[i].measurement, &c);
                if (r != t[i].outcome)
                        fail_msg("row %zu: %d", i, r);
                if (c && c->references[0].measurements[0].incomparable != t[i].incomparable)
                        fail_msg("row %zu: incomparable", i);
        }
}

static void skipped(void **state)
{
        _cleanup_(corim_freep) Corim *c = NULL, *k = NULL;
        assert_int_equal(read_comid("a2" TAGID "04 a2 00 81" TRIPLE "0a 8101", 0, NULL, &c),
                         CORIM_OK);
        assert_int_equal(c->n_skipped, 1);
        assert_int_equal(c->n_references, 1);
        /* Keys under conditions are not ours to give. */
        assert_int_equal(
                read_comid("a2" TAGID "04 a1 03 81 83" ENV "81 d9022a 6161 a0", 0, NULL, &k),
                CORIM_OK);
        assert_int_equal(k->n_keys, 0);
        assert_int_equal(k->n_skipped, 1);
}

static void validity(void **state)
{
        static const struct {
                const char *more;
                int outcome;
        } t[] = {
                { "04 a1 01 c1 1903e9", CORIM_OK },        /* until 1001 */
                { "04 a1 01 c1 1903e8", CORIM_E_EXPIRED }, /* until 1000, which is now */
                { "04 a2 00 c1 1903e8 01 c1 1907d0", CORIM_OK },
                { "04 a2 00 c1 1903e9 01 c1 1907d0", CORIM_E_EXPIRED },
                { "04 a1 01 c1 20", CORIM_E_EXPIRED },
                { "04 a1 01 c1 1b7fffffffffffffff", CORIM_OK },
                { "04 a1 00 c1 00", CORIM_E_MALFORMED },
                { "04 a1 01 1903e9", CORIM_E_MALFORMED },
                { "04 a1 01 c1 f97c00", CORIM_E_MALFORMED },
                { "04 a2 01 c1 1903e9 02 c1 00", CORIM_E_MALFORMED },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_(corim_freep) Corim *c = NULL;
                int r = read_comid("a2" TAGID "04" TRIPLES, 1, t[i].more, &c);
                if (r != t[i].outcome)
                        fail_msg("row %zu: %d", i, r);
        }
}

static void documents(void **state)
{
        static const struct {
                const char *hex;
                int outcome;
        } t[] = {
                { "", CORIM_E_MALFORMED },
                { "01", CORIM_E_NOT_CORIM },
                { "a0", CORIM_E_NOT_CORIM },
                { "d901f6 a0", CORIM_E_NOT_CORIM },
                { "d901f5 80", CORIM_E_NOT_CORIM },
                { "d901f5 a0", CORIM_E_MALFORMED },
                { "d901f5 a2 00 6161 01 80", CORIM_E_MALFORMED },
                { "d901f5 a2 00 6161 01 81 d901fa 01", CORIM_E_MALFORMED },
                { "d901f5 a2 00 01 01 81 d901f9 40", CORIM_E_MALFORMED },
                { "d901f5 a2 00 6161 01 81 d901f9 40", CORIM_OK }, /* another tag: skipped */
                { "d901f5 a3 00 6161 01 81 d901f9 40 03 01", CORIM_E_MALFORMED },
                { "d901f5 a3 00 6161 01 81 d901f9 40 03 d821 6161", CORIM_E_MALFORMED },
                { "d901f5 a3 00 6161 01 81 d901f9 40 03 d820 6161", CORIM_OK },
                { "d284 40 a0 40 40", CORIM_E_MALFORMED },
        };
        const CorimTrust trust = { 0 };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_(corim_freep) Corim *c = NULL;
                _cleanup_buf_ Buf b = BUF_INIT(256);
                put_hex(&b, t[i].hex);
                int r = corim_read(buf_view(&b), &trust, NOW, &c);
                if (r != t[i].outcome)
                        fail_msg("row %zu: %d", i, r);
        }
        static const uint8_t large[CORIM_SIZE_MAX + 1];
        Corim *none = NULL;
        assert_int_equal(corim_read(BYTES(large, sizeof(large)), &trust, NOW, &none),
                         CORIM_E_TOO_LARGE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(shapes),     cmocka_unit_test(measurements),
                cmocka_unit_test(statements), cmocka_unit_test(skipped),
                cmocka_unit_test(validity),   cmocka_unit_test(documents),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
