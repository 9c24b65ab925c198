/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a device's token to the composite report: genuine tokens (tests/tools/psa-token), reference
 * values (corim-make), a software TPM's identity; and in the end verify-report, which shares no
 * code with us, says what upstream would. */
#include "unit/unit.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <sys/wait.h>
#include <tss2/tss2_mu.h>

#include "base/str.h"
#include "domain/appraisal.h"
#include "domain/challenge.h"
#include "domain/relay.h"
#include "platform/crypto.h"
#include "platform/file.h"
#include "platform/identity-internal.h"
#include "platform/p256.h"
#include "sallyport/attestation.h"
#include "unit/platform/swtpm.h"

#define DIGEST "b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1"
#define OTHER  "3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a3f2a"

/* Runs a shell line in the lab's folder; its exit status. */
static int shell(Lab *lab, const char *format, ...) _printf_(2, 3);
static int shell(Lab *lab, const char *format, ...)
{
        char command[2048];
        va_list ap;
        int n = snprintf(command, sizeof(command), "cd %s && PATH=%s:$PATH && ", lab->directory,
                         TOOLS);

        va_start(ap, format);
        vsnprintf(command + n, sizeof(command) - (size_t)n, format, ap);
        va_end(ap);
        int status = system(command);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

typedef struct Data {
        uint8_t *p;
        size_t len;
} Data;

static void data_done(Data *d)
{
        free(d->p);
}
#define _cleanup_data_ _cleanup_(data_done)

static Data load(Lab *lab, const char *name)
{
        Data d = { 0 };
        assert_int_equal(file_read(lab_path(lab, name), 65536, &d.p, &d.len), 0);
        return d;
}

static void save(Lab *lab, const char *name, Bytes b)
{
        assert_int_equal(file_write_atomic(lab_path(lab, name), b, 0600), 0);
}

static int verify(const void *key, int alg, Bytes message, Bytes signature, void *userdata)
{
        return public_key_verify_cose(key, alg, message, signature);
}

static int sha256(Bytes b, uint8_t *ret)
{
        return crypto_sha256(b, ret);
}

/* The device "dev3": its key, and the reference values for its one component. */
static void make_device(Lab *lab)
{
        assert_int_equal(shell(lab, "psa-token keygen iak > instance-id"), 0);
        assert_int_equal(
                shell(lab, "corim-make --component name=BL,version=1.0,digest=" DIGEST " ref"), 0);
}

static Data make_token(Lab *lab, Bytes nonce, const char *dialect, const char *digest)
{
        char hex[2 * CHALLENGE_NONCE_MAX + 1];
        hex_encode(nonce, hex);
        assert_int_equal(
                shell(lab,
                      "psa-token make --key iak.key --nonce %s --dialect %s --output token "
                      "--component name=BL,version=1.0,digest=%s",
                      hex, dialect, digest),
                0);
        return load(lab, "token");
}

static ReferenceSet *load_references(Lab *lab)
{
        _cleanup_data_ Data ref = load(lab, "ref");
        const ReferenceFile file = { "ref", BYTES(ref.p, ref.len) };
        const CorimTrust trust = { 0 };
        char error[REFERENCE_ERROR_MAX] = "";
        ReferenceSet *set = NULL;
        if (reference_set_load(&file, 1, &trust, sha256, 1, &set, error) < 0)
                fail_msg("%s", error);
        return set;
}

/* What the daemon does with a report, in its order. */
static Verdict judge(Lab *lab, Challenges *challenges, const ReferenceSet *set, Bytes token)
{
        _cleanup_data_ Data id = load(lab, "instance-id");
        _cleanup_(public_key_unrefp) PublicKey *key = NULL;
        uint8_t instance[33];
        char hex[67] = "";
        const char *reason = NULL;
        PsaEvidence e;
        Verdict v;

        memcpy(hex, id.p, 66);
        assert_int_equal(hex_decode(hex, instance, sizeof(instance)), 0);
        assert_int_equal(public_key_load(lab_path(lab, "iak.pub"), &key), 0);
        if (!psa_evidence_read(token, &e, &reason))
                fail_msg("%s", reason);
        assert_true(challenges_consume(challenges, "dev3", e.claims.nonce, 1, NULL));
        assert_false(challenges_consume(challenges, "dev3", e.claims.nonce, 1, NULL));
        const Enrolment enrolment = { .instance_id = BYTES(instance, sizeof(instance)),
                                      .key = key,
                                      .verify = verify };
        assert_int_equal(appraisal_psa(&e, &enrolment, set, 1, &v), 0);
        print_message("%s: %s\n", ar4si_tier_to_string(v.tier), v.reason);
        return v;
}

static void sign(Identity *id, Bytes message, uint8_t *ret)
{
        uint8_t digest[32];
        Reason reason = { 0 };
        assert_int_equal(crypto_sha256(message, digest), 0);
        if (identity_sign(id, digest, ret, &reason) < 0)
                fail_msg("%s", reason.text);
}

static void make_ear(Identity *id, const Verdict *v, Bytes nonce, Buf *ret)
{
        const EarSubmod submod = {
                .name = "dev3", .status = v->tier, .vector = v->vector, .reason = v->reason
        };
        const Ear ear = { .nonce = nonce,
                          .issued = now_realtime(),
                          .developer = "https://sallyport.org",
                          .build = "test",
                          .submods = &submod,
                          .n_submods = 1 };
        uint8_t signature[64];
        assert_int_equal(ear_signing_input(&ear, ret), 0);
        sign(id, buf_view(ret), signature);
        assert_int_equal(ear_sign(ret, BYTES(signature, sizeof(signature))), 0);
}

/* A point as a PEM file for verify-report, and the digest of its SubjectPublicKeyInfo. */
static void save_key(Lab *lab, const char *name, const uint8_t *point, uint8_t ret[static 32])
{
        _cleanup_free_ char *pem = p256_point_to_pem(point);
        _cleanup_(public_key_unrefp) PublicKey *key = NULL;
        assert_non_null(pem);
        save(lab, name, bytes_from_str(pem));
        assert_int_equal(public_key_load(lab_path(lab, name), &key), 0);
        assert_int_equal(public_key_spki_sha256(key, ret), 0);
}

static void write_report(Lab *lab, Identity *id, Bytes nonce, const RelayDevice *device)
{
        static IdentityAttestation quote, certification;
        _cleanup_relay_envelope_ RelayEnvelope envelope = { 0 };
        _cleanup_buf_ Buf out = BUF_INIT(RELAY_SIZE_MAX);
        uint8_t kid[33] = { 1 }, area[512], spki[32], signature[64], **ders;
        size_t area_len = 0, *lens, n;
        Reason reason;
        Bytes chain[4];

        assert_int_equal(identity_quote(id, nonce, &quote, &reason), 0);
        assert_int_equal(identity_certify(id, nonce, &certification, &reason), 0);
        assert_int_equal(Tss2_MU_TPMT_PUBLIC_Marshal(&id->files.key.pub.publicArea, area,
                                                     sizeof(area), &area_len),
                         0);
        save_key(lab, "ak.pem", identity_attestation_point(id), kid + 1);
        save_key(lab, "identity.pem", identity_point(id), spki);
        const ParsecEvidence gateway = {
                .kid = BYTES(kid, sizeof(kid)),
                .cert_info = BYTES(certification.attest, certification.attest_len),
                .cert_signature = BYTES(certification.signature, certification.signature_len),
                .public_area = BYTES(area, area_len),
                .quote_info = BYTES(quote.attest, quote.attest_len),
                .quote_signature = BYTES(quote.signature, quote.signature_len),
        };
        const RelayReport report = { .nonce = nonce,
                                     .spki_sha256 = spki,
                                     .version = "test",
                                     .boot_id = BYTES(kid, 16),
                                     .gateway = &gateway,
                                     .devices = device,
                                     .n_devices = 1 };
        assert_int_equal(identity_chain_der(id, &ders, &lens, &n), 0);
        assert_in_range(n, 1, 4);
        for (size_t i = 0; i < n; i++)
                chain[i] = BYTES(ders[i], lens[i]);
        assert_int_equal(relay_begin(&report, chain, n, &envelope), 0);
        sign(id, buf_view(&envelope.tbs), signature);
        assert_int_equal(relay_finish(&envelope, BYTES(signature, 64), &out), 0);
        save(lab, "report", buf_view(&out));
        for (size_t i = 0; i < n; i++)
                free(ders[i]);
        free(ders);
        free(lens);
}

static void write_ca(Lab *lab)
{
        FILE *f = fopen(lab_path(lab, "ca.pem"), "we");
        assert_non_null(f);
        assert_int_equal(PEM_write_X509(f, lab->ca), 1);
        fclose(f);
        assert_int_equal(shell(lab, "openssl req -x509 -newkey ec -pkeyopt "
                                    "ec_paramgen_curve:P-256 -nodes -keyout /dev/null "
                                    "-subj /CN=other -out other.pem 2>/dev/null"),
                         0);
}

/* Changed in any part, the report is no longer believed. */
static void refuse_changed(Lab *lab, const char *verify_command)
{
        _cleanup_data_ Data d = load(lab, "report");
        for (size_t i = 3; i < d.len; i += d.len / 6) {
                d.p[i] ^= 1;
                save(lab, "report", BYTES(d.p, d.len));
                assert_int_equal(shell(lab, "%s > /dev/null", verify_command), 1);
                d.p[i] ^= 1;
        }
        save(lab, "report", BYTES(d.p, d.len));
        assert_int_equal(shell(lab, "%s > /dev/null", verify_command), 0);
}

static void report(void **state)
{
        static const struct {
                const char *dialect, *digest, *status;
                uint16_t content_format;
        } rounds[] = {
                { "tfm", DIGEST, "affirming", SALLYPORT_CF_PSA_TOKEN },
                { "2.0.0", DIGEST, "affirming", SALLYPORT_CF_EAT_CWT },
                { "profile1", OTHER, "warning", SALLYPORT_CF_PSA_TOKEN_OLD },
        };
        Lab *lab = *state;
        _cleanup_(challenges_freep) Challenges *challenges = NULL;
        _cleanup_(identity_freep) Identity *id = NULL;
        Reason reason = { 0 };

        lab_create_identity(lab, true);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), 0);
        lab_enroll(lab, id, true);
        write_ca(lab);
        make_device(lab);
        _cleanup_(reference_set_unrefp) ReferenceSet *set = load_references(lab);
        assert_int_equal(challenges_new(8, crypto_random, &challenges), 0);

        for (size_t i = 0; i < ELEMENTSOF(rounds); i++) {
                uint8_t nonce[CHALLENGE_NONCE_MAX];
                char hex[2 * 32 + 1], command[512];
                _cleanup_buf_ Buf ear = BUF_INIT(8192);

                assert_int_equal(challenges_issue(challenges, "dev3", 32, USEC_PER_MIN,
                                                  i * USEC_PER_SEC, nonce),
                                 0);
                Bytes view = BYTES(nonce, 32);
                _cleanup_data_ Data token =
                        make_token(lab, view, rounds[i].dialect, rounds[i].digest);
                Bytes evidence = BYTES(token.p, token.len);
                Verdict v = judge(lab, challenges, set, evidence);
                assert_string_equal(ar4si_tier_to_string(v.tier), rounds[i].status);
                make_ear(id, &v, view, &ear);
                const RelayDevice device = { .name = "dev3",
                                             .content_format = rounds[i].content_format,
                                             .evidence = evidence,
                                             .ear = buf_view(&ear),
                                             .nonce = view,
                                             .received = now_realtime(),
                                             .age = USEC_PER_SEC };
                write_report(lab, id, view, &device);

                hex_encode(view, hex);
                snprintf(command, sizeof(command),
                         "verify-report --ca ca.pem --ak ak.pem --nonce %s --expect dev3=%s report",
                         hex, rounds[i].status);
                assert_int_equal(shell(lab, "%s", command), 0);
                if (i > 0)
                        continue;
                refuse_changed(lab, command);
                assert_int_equal(shell(lab, "verify-report --ca other.pem --ak ak.pem report "
                                            "> /dev/null"),
                                 1);
                assert_int_equal(shell(lab, "verify-report --ca ca.pem --ak iak.pub report "
                                            "> /dev/null"),
                                 1);
                assert_int_equal(shell(lab, "verify-report --ca ca.pem --ak ak.pem --nonce 00 "
                                            "report > /dev/null"),
                                 1);
                assert_int_equal(shell(lab, "verify-report --ca ca.pem --ak ak.pem "
                                            "--expect dev3=warning report > /dev/null"),
                                 1);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(report, lab_setup, lab_teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
