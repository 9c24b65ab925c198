/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>

#include "attest-fixture.h"
#include "base/str.h"
#include "domain/reference.h"

#define NOW (1000 * USEC_PER_SEC)

static const FixtureComponent bl = { "BL", 0xb1, "1.0", 0x51 };
static const CorimTrust anyone = { 0 };

static const uint8_t id_a[32] = { [0 ... 31] = 0xaa }, id_b[32] = { [0 ... 31] = 0xbb };

typedef struct Files {
        Buf bufs[5];
        ReferenceFile files[5];
        size_t n;
} Files;

static void add(Files *f, const FixtureCorim *corim)
{
        f->bufs[f->n] = BUF_INIT(FIXTURE_MAX);
        fixture_corim(corim, &f->bufs[f->n]);
        f->files[f->n] = (ReferenceFile){ "file.cbor", buf_view(&f->bufs[f->n]) };
        f->n++;
}

static void files_done(Files *f)
{
        for (size_t i = 0; i < f->n; i++)
                buf_done(&f->bufs[i]);
}

static size_t count(const ReferenceSet *s, const uint8_t *id, usec_t now)
{
        size_t n = 0, i = 0;
        while (reference_set_next(s, BYTES(id, 32), now, &i))
                n++;
        return n;
}

static void load(void **state)
{
        _cleanup_(files_done) Files f = { 0 };
        _cleanup_(reference_set_unrefp) ReferenceSet *s = NULL, *again = NULL;
        char error[REFERENCE_ERROR_MAX] = "";

        add(&f, &(FixtureCorim){ .implementation = 0xaa, .components = &bl, .n = 1 });
        add(&f, &(FixtureCorim){ .implementation = 0xbb, .components = &bl, .n = 1 });
        add(&f, &(FixtureCorim){
                        .implementation = 0xaa, .components = &bl, .n = 1, .not_after = 2000 });
        add(&f,
            &(FixtureCorim){ .implementation = 0xaa, .instance = 9, .components = &bl, .n = 1 });
        add(&f,
            &(FixtureCorim){ .implementation = 0xaa, .layer = true, .components = &bl, .n = 1 });
        assert_int_equal(reference_set_load(f.files, f.n, &anyone, fixture_sha256, NOW, &s, error),
                         0);
        assert_int_equal(reference_set_references(s), 5);
        assert_int_equal(count(s, id_a, NOW), 2); /* not what is for one instance or layer */
        assert_int_equal(count(s, id_b, NOW), 1);
        assert_int_equal(count(s, id_a, 2000 * USEC_PER_SEC), 1); /* expired since it was loaded */

        assert_non_null(startswith(reference_set_id(s), "ni:///sha-256;"));
        f.files[0].content.len--; /* other content: refused, and the id would be another */
        assert_int_equal(
                reference_set_load(f.files, f.n, &anyone, fixture_sha256, NOW, &again, error),
                -EBADMSG);
        assert_null(again);
        assert_int_equal(
                reference_set_load(f.files + 1, 3, &anyone, fixture_sha256, NOW, &again, error), 0);
        assert_string_not_equal(reference_set_id(s), reference_set_id(again));
        ReferenceSet *held = reference_set_ref(s);
        reference_set_unref(held);
        assert_int_equal(count(s, id_b, NOW), 1);
}

static void refused(void **state)
{
        static const struct {
                FixtureCorim corim;
                const char *error;
        } t[] = {
                { { .implementation = 0xaa, .components = &bl, .n = 1, .not_after = 1000 },
                  "file.cbor: outside its period of validity" },
                { { .implementation = 0xaa, .components = &bl, .n = 1, .profile = "tag:x" },
                  "file.cbor: names a profile that is not known here" },
                { { .implementation = 0xaa,
                    .components = &bl,
                    .n = 1,
                    .profile = "tag:arm.com,2025:psa#1.0.0" },
                  "file.cbor: breaks a rule of its profile" },
                { { .implementation = 0xaa, .instance = 9, .key_pem = "no PEM" },
                  "file.cbor: not a well-formed CoRIM" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                _cleanup_(files_done) Files f = { 0 };
                ReferenceSet *s = NULL;
                char error[REFERENCE_ERROR_MAX] = "";

                add(&f, &(FixtureCorim){ .implementation = 0xbb, .components = &bl, .n = 1 });
                add(&f, &t[i].corim);
                assert_int_equal(
                        reference_set_load(f.files, 2, &anyone, fixture_sha256, NOW, &s, error),
                        -EBADMSG);
                assert_null(s);
                assert_string_equal(error, t[i].error);
        }
}

#define PEM(body) "-----BEGIN PUBLIC KEY-----\n" body "\n-----END PUBLIC KEY-----\n"

static void keys(void **state)
{
        _cleanup_(files_done) Files f = { 0 };
        _cleanup_(reference_set_unrefp) ReferenceSet *one = NULL, *two = NULL;
        char error[REFERENCE_ERROR_MAX] = "";
        uint8_t instance[33];

        memset(instance, 9, sizeof(instance));
        instance[0] = 1;
        Bytes id = BYTES(instance, sizeof(instance));
        add(&f, &(FixtureCorim){
                        .implementation = 0xaa, .instance = 9, .key_pem = PEM("+/8B\r\nAg==") });
        add(&f, &(FixtureCorim){ .implementation = 0xaa, .instance = 9, .key_pem = PEM("AQI=") });
        assert_int_equal(reference_set_load(f.files, 1, &anyone, fixture_sha256, NOW, &one, error),
                         0);
        Bytes key = reference_set_attest_key(one, id, NOW);
        assert_true(bytes_equal(key, BYTES_LITERAL("\xfb\xff\x01\x02")));
        assert_int_equal(reference_set_keys(one), 1);
        instance[32]++;
        assert_int_equal(reference_set_attest_key(one, id, NOW).len, 0);
        instance[32]--;
        /* Two files that do not agree enrol nobody. */
        assert_int_equal(reference_set_load(f.files, 2, &anyone, fixture_sha256, NOW, &two, error),
                         0);
        assert_int_equal(reference_set_attest_key(two, id, NOW).len, 0);
}

static void empty(void **state)
{
        _cleanup_(reference_set_unrefp) ReferenceSet *s = NULL;
        char error[REFERENCE_ERROR_MAX] = "";
        assert_int_equal(reference_set_load(NULL, 0, &anyone, fixture_sha256, NOW, &s, error), 0);
        assert_int_equal(count(s, id_a, NOW), 0);
        assert_null(reference_set_unref(NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(load),
                cmocka_unit_test(refused),
                cmocka_unit_test(keys),
                cmocka_unit_test(empty),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
