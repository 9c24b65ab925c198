/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vectors.h"

#include <errno.h>

#include "base/str.h"
#include "domain/reference.h"
#include "proto/corim.h"

#define CORIM "corim/veraison-corim/"
#define PSA   "psa/veraison-services/"
#define TPM   "tpm/parsec/"

#define NOW UINT64_C(1700000000)
/* The end of validity that the signed files state. */
#define END UINT64_C(1767139200)

static const struct {
        const char *file;
        CorimOutcome outcome;
        CorimProfile profile;
        size_t n_references, n_keys;
        bool usable; /* as a reference: the profile is known */
} vectors[] = {
        { CORIM "psa-valid.cbor", CORIM_OK, CORIM_PROFILE_PSA, 1, 1, true },
        { CORIM "psa-invalid-impl-id.cbor", CORIM_E_PROFILE },
        { CORIM "psa-invalid-attest-key.cbor", CORIM_E_PROFILE },
        { CORIM "no-profile.cbor", CORIM_OK, CORIM_PROFILE_NONE, 1, 0, true },
        { CORIM "corim-1.cbor", CORIM_OK, CORIM_PROFILE_NONE, 1, 0, true },
        { CORIM "corim-2.cbor", CORIM_OK, CORIM_PROFILE_NONE, 3, 0, true },
        { CORIM "corim-design-cd.cbor", CORIM_OK, CORIM_PROFILE_UNKNOWN, 4, 0, false },
        { CORIM "corim-firmware-cd.cbor", CORIM_OK, CORIM_PROFILE_UNKNOWN, 2, 0, false },
        { CORIM "corim-roles.cbor", CORIM_OK, CORIM_PROFILE_NONE, 1, 0, true },
        { CORIM "unsigned-good-corim.cbor", CORIM_OK, CORIM_PROFILE_NONE, 1, 0, true },
        { CORIM "unsigned-example-corim.cbor", CORIM_OK, CORIM_PROFILE_UNKNOWN, 1, 0, false },
        { CORIM "unsigned-corim-with-extensions.cbor", CORIM_OK, CORIM_PROFILE_UNKNOWN, 1, 0,
          false },
        /* Signed, and no signer is configured. */
        { CORIM "signed-good-corim.cbor", CORIM_E_UNTRUSTED },
        { CORIM "comid-1.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-1a.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-2.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-2b.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-3.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-4.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-5.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-6.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-7.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-cend.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-cond-endorse-series.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-design-cd.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-domain-dep.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-domain-mem.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-firmware-cd.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-flags.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-integrity-registers.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-opaque-instance-id.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-raw-value.cbor", CORIM_E_NOT_CORIM },
        { CORIM "comid-series.cbor", CORIM_E_NOT_CORIM },
        { PSA "corim-psa-valid.cbor", CORIM_OK, CORIM_PROFILE_PSA, 1, 2, true },
        { PSA "psa-endorsements.cbor", CORIM_OK, CORIM_PROFILE_PSA_IOT_1, 1, 1, true },
        { PSA "corim-psa-bad-class.cbor", CORIM_E_PROFILE },
        { PSA "corim-psa-bad-instance.cbor", CORIM_E_PROFILE },
        { PSA "corim-psa-bad-refval-instance.cbor", CORIM_E_PROFILE },
        { PSA "corim-psa-bad-refval-mkey.cbor", CORIM_E_PROFILE },
        { PSA "corim-psa-bad-refval-mval.cbor", CORIM_E_PROFILE },
        { PSA "corim-psa-bad-ta-cert.cbor", CORIM_E_PROFILE },
        { PSA "corim-psa-bad-ta-no-instance.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-valid.cbor", CORIM_OK, CORIM_PROFILE_PARSEC_TPM, 1, 1, true },
        { TPM "corim-parsec-tpm-bad-class-id.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-bad-instance.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-bad-multiple-keys.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-bad-no-class-id.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-bad-no-class.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-bad-no-digests.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-bad-no-instance.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-bad-no-pcr.cbor", CORIM_E_PROFILE },
        { TPM "corim-parsec-tpm-bad-pcr.cbor", CORIM_E_PROFILE },
        { "tpm/enacttrust/corim-enacttrust-valid.cbor", CORIM_OK, CORIM_PROFILE_UNKNOWN, 1, 1,
          false },
        { PSA "psa-evidence.cbor", CORIM_E_NOT_CORIM },
};

/* What the daemon does with the file: all of it or nothing. */
static int load(const char *name, Bytes content, char *error)
{
        _cleanup_(reference_set_unrefp) ReferenceSet *set = NULL;
        const ReferenceFile file = { name, content };
        const CorimTrust trust = { 0 };
        return reference_set_load(&file, 1, &trust, sha256, NOW * USEC_PER_SEC, &set, error);
}

static void files(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                _cleanup_file_ File f = file_load(vectors[i].file);
                _cleanup_(corim_freep) Corim *c = NULL;
                char error[REFERENCE_ERROR_MAX] = "";
                const CorimTrust trust = { 0 };

                int r = corim_read(file_bytes(&f), &trust, NOW * USEC_PER_SEC, &c);
                print_message("%s: %s\n", vectors[i].file,
                              corim_outcome_to_string((CorimOutcome)r));
                assert_int_equal(r, vectors[i].outcome);
                assert_int_equal(load(vectors[i].file, file_bytes(&f), error),
                                 vectors[i].usable ? 0 : -EBADMSG);
                assert_int_equal(vectors[i].usable, streq(error, ""));
                if (r != CORIM_OK)
                        continue;
                assert_int_equal(c->profile, vectors[i].profile);
                assert_int_equal(c->n_references, vectors[i].n_references);
                assert_int_equal(c->n_keys, vectors[i].n_keys);
        }
}

static void signed_files(void **state)
{
        static const char *const names[] = { CORIM "signed-good-corim.cbor",
                                             CORIM "signed-example-corim.cbor",
                                             CORIM "signed-corim-with-extensions.cbor" };
        _cleanup_(public_key_unrefp) PublicKey *signer = key_load(CORIM "signer.pub.pem");
        _cleanup_(public_key_unrefp) PublicKey *other = key_load(PSA "psa-token.iak.pub.pem");
        const CorimTrust trust = { verify_with_key, signer, NULL };
        const CorimTrust wrong = { verify_with_key, other, NULL };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_file_ File f = file_load(names[i]);
                _cleanup_(corim_freep) Corim *c = NULL;
                Corim *none = NULL;

                assert_int_equal(corim_read(file_bytes(&f), &trust, NOW * USEC_PER_SEC, &c),
                                 CORIM_OK);
                assert_true(c->is_signed);
                assert_true(corim_valid_at(c, END * USEC_PER_SEC - 1));
                assert_false(corim_valid_at(c, END * USEC_PER_SEC));
                assert_int_equal(corim_read(file_bytes(&f), &trust, END * USEC_PER_SEC, &none),
                                 CORIM_E_EXPIRED);
                assert_int_equal(corim_read(file_bytes(&f), &trust, USEC_PER_SEC, &none),
                                 CORIM_E_EXPIRED);
                assert_int_equal(corim_read(file_bytes(&f), &wrong, NOW * USEC_PER_SEC, &none),
                                 CORIM_E_UNTRUSTED);
        }
}

/* With a signer configured an unsigned file is not taken. */
static void unsigned_with_signer(void **state)
{
        _cleanup_(public_key_unrefp) PublicKey *signer = key_load(CORIM "signer.pub.pem");
        const CorimTrust trust = { verify_with_key, signer, NULL };
        _cleanup_file_ File f = file_load(CORIM "psa-valid.cbor");
        Corim *none = NULL;

        assert_int_equal(corim_read(file_bytes(&f), &trust, NOW * USEC_PER_SEC, &none),
                         CORIM_E_UNTRUSTED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files),
                cmocka_unit_test(signed_files),
                cmocka_unit_test(unsigned_with_signer),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
