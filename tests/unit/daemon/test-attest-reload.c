/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a reload of the configuration does to verdicts and reports. */
#include "attest-bench.h"

#include <openssl/pem.h>

#include "base/str.h"

static void removed(DeviceState *d, void *userdata)
{
        attest_forget(((Gateway *)userdata)->attest, d);
}

static void reload(Bench *b, size_t from, size_t n)
{
        assert_int_equal(attest_reserve(b->gateway.attest, n), 0);
        assert_int_equal(
                registry_apply(b->gateway.registry, &b->devices[from], n, 2, removed, &b->gateway),
                0);
}

static void removed_while_the_filter_works(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        EvidenceTicket *t = bench_send_token(b, 0, &bench_good, &n);
        reload(b, 1, DEVICES - 1);
        evidence_ticket_cancel(t);
        bench_commit(-ENODEV);
        bench_settle(b);
        assert_int_equal(b->heard, 0);
        n = bench_challenge(b, 1);
        bench_send_token(b, 1, &bench_good, &n);
        reload(b, 2, DEVICES - 2);
        bench_commit(0); /* it went in before it was removed */
        bench_settle(b);
        assert_int_equal(b->heard, 1);
        assert_int_equal(world.n_reports, 0);
}

static void removed_while_the_tpm_works(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        world.hold = true;
        bench_send_token(b, 0, &bench_good, &n);
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(world.n_held, 1);
        assert_int_equal(b->heard, 0);
        reload(b, 1, DEVICES - 1);
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(b->heard, 1);
        assert_null(attest_record(b->gateway.attest, "dev00"));
        assert_int_equal(world.n_reports, 0);
}

/* A reload that keeps the device does not disturb its report. */
static void kept_over_a_reload(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        world.hold = true;
        bench_send_token(b, 0, &bench_good, &n);
        bench_commit(0);
        bench_settle(b);
        reload(b, 0, DEVICES);
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(b->result.posture, POSTURE_AFFIRMING);
        assert_int_equal(world.n_reports, 1);
}

/* Enrolled anew: nothing of before counts, neither for the device nor upstream. */
static void enrolled_anew(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        Nonce n = bench_challenge(b, 0);
        bench_token(b, &bench_good, &n, &token);
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_commit(0);
        bench_settle(b);
        n = bench_challenge(b, 0);
        attest_forget(b->gateway.attest, bench_device(b, 0));
        assert_null(attest_record(b->gateway.attest, "dev00"));
        assert_int_equal(gateway_last_result(&b->gateway, bench_device(b, 0)).len, 0);
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
        bench_send_token(b, 0, &bench_good, &n);
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
}

/* While the TPM signs the result of what it was. */
static void enrolled_anew_meanwhile(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        world.hold = true;
        bench_send_token(b, 0, &bench_good, &n);
        bench_commit(0);
        bench_settle(b);
        attest_forget(b->gateway.attest, bench_device(b, 0));
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_FAILED);
        assert_string_equal(b->ear, "");
        assert_null(attest_record(b->gateway.attest, "dev00"));
        assert_int_equal(world.n_reports, 0);
}

static const FixtureComponent update[] = { { "BL", 0x62, "1.1", 0x71, 0 } };
#define FILE_OF(impl, what)                                                                        \
        (FixtureCorim)                                                                             \
        {                                                                                          \
                .implementation = (impl), .components = (what), .n = 1                             \
        }

/* dev00 and dev01 are of different makers; both are fine. */
static void two_makers(Bench *b)
{
        const FixtureCorim files[] = { FILE_OF(0x22, bench_known), FILE_OF(0x33, bench_known) };
        FixtureToken other = bench_good;
        other.implementation = 0x33;
        bench_references(b, files, 2);
        bench_attest(b, 0);
        Nonce n = bench_challenge(b, 1);
        bench_send_token(b, 1, &other, &n);
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_AFFIRMING);
        assert_int_equal(bench_device(b, 1)->posture, POSTURE_AFFIRMING);
        assert_int_equal(world.n_reports, 2);
}

/* Who runs what is no longer good is judged anew; nobody else is touched. */
static void references_that_changed(void **state)
{
        Bench *b = *state;
        const FixtureCorim fewer[] = { FILE_OF(0x22, update), FILE_OF(0x33, bench_known) },
                           as_before[] = { FILE_OF(0x22, bench_known), FILE_OF(0x33, bench_known) };
        two_makers(b);
        DeviceState *concerned = bench_device(b, 0), *other = bench_device(b, 1);
        const DeviceState before = *concerned, other_before = *other;
        const AttestRecord *record = attest_record(b->gateway.attest, "dev01");
        unsigned signatures = world.signatures;

        bench_references(b, fewer, 2);
        attest_review(b->gateway.attest);
        assert_int_equal(concerned->posture, POSTURE_WARNING);
        assert_non_null(strstr(concerned->reason, "the reference values changed: component"));
        assert_int_equal(concerned->expires, before.expires);
        assert_int_equal(world.n_waiters, 1); /* the filter hears of it */
        assert_int_equal(gateway_last_result(&b->gateway, concerned).len, 0);
        bench_commit(0);
        bench_settle(b);
        assert_true(gateway_last_result(&b->gateway, concerned).len > 0);
        assert_int_equal(world.n_reports, 3);
        assert_true(bench_shows(&world.reports[2], "dev00/ear"));
        assert_false(bench_shows(&world.reports[2], "dev01"));
        assert_int_equal(world.signatures, signatures + 2); /* result and report */
        assert_memory_equal(other, &other_before, sizeof(*other));
        assert_ptr_equal(attest_record(b->gateway.attest, "dev01"), record);

        /* the same set again; and the first one: to be trusted more takes a fresh report */
        bench_references(b, fewer, 2);
        attest_review(b->gateway.attest);
        bench_references(b, as_before, 2);
        attest_review(b->gateway.attest);
        bench_settle(b);
        assert_int_equal(world.n_waiters, 0);
        assert_int_equal(world.n_reports, 3);
        assert_int_equal(concerned->posture, POSTURE_WARNING);
        bench_attest(b, 0);
        assert_int_equal(concerned->posture, POSTURE_AFFIRMING);

        /* none at all for its maker */
        bench_references(b, &fewer[1], 1);
        attest_review(b->gateway.attest);
        assert_int_equal(concerned->posture, POSTURE_CONTRAINDICATED);
        assert_int_equal(other->posture, POSTURE_AFFIRMING);
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(world.n_reports, 5);
}

/* The verdict is on its way still: what the device hears is the one of now. */
static void references_that_changed_meanwhile(void **state)
{
        Bench *b = *state;
        const FixtureCorim newer = FILE_OF(0x22, update);
        for (size_t i = 0; i < 2; i++) {
                bool signing = i == 1;
                Nonce n = bench_challenge(b, i);
                world.hold = signing;
                bench_references(b, &FILE_OF(0x22, bench_known), 1);
                bench_send_token(b, i, &bench_good, &n);
                if (signing) {
                        bench_commit(0);
                        bench_settle(b);
                        assert_int_equal(world.n_held, 1);
                }
                bench_references(b, &newer, 1);
                attest_review(b->gateway.attest);
                bench_tpm_answers();
                bench_commit(0);
                bench_settle(b);
                bench_commit(0);
                bench_settle(b);
                assert_int_equal(b->heard, i + 1);
                assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
                assert_int_equal(b->result.posture, POSTURE_WARNING);
                assert_int_equal(bench_device(b, i)->posture, POSTURE_WARNING);
                Bytes last = gateway_last_result(&b->gateway, bench_device(b, i));
                assert_true(bytes_equal(last, bytes_from_str(b->ear)));
        }
        assert_int_equal(world.n_reports, 2);
}

/* An earlier verdict is judged anew first: that is no excuse for the one that is on its way. */
static void references_that_changed_between_two_reports(void **state)
{
        Bench *b = *state;
        bench_attest(b, 0);
        Nonce n = bench_challenge(b, 0);
        world.hold = true;
        bench_send_token(b, 0, &bench_good, &n);
        bench_commit(0);
        bench_settle(b);
        bench_references(b, &FILE_OF(0x22, update), 1);
        attest_review(b->gateway.attest);
        bench_commit(0);
        bench_settle(b);
        bench_tpm_answers();
        bench_settle(b);
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(b->heard, 2);
        assert_int_equal(b->result.posture, POSTURE_WARNING);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_WARNING);
        Bytes last = gateway_last_result(&b->gateway, bench_device(b, 0));
        assert_true(bytes_equal(last, bytes_from_str(b->ear)));
}

/* The key came with the reference values, and is another one now: nothing can be believed. */
static void key_of_the_references_changed(void **state)
{
        Bench *b = *state;
        EVP_PKEY *other = EVP_EC_gen("P-256");
        char pem[2][1024] = { "", "" };
        for (size_t i = 0; i < 2; i++) {
                FILE *f = fmemopen(pem[i], sizeof(pem[i]), "w");
                assert_int_equal(PEM_write_PUBKEY(f, i == 0 ? b->key : other), 1);
                fclose(f);
        }
        EVP_PKEY_free(other);
        b->devices[0].attestation_key = NULL;
        FixtureCorim files[] = { FILE_OF(0x22, bench_known),
                                 { .implementation = 0x22, .instance = 0x11, .key_pem = pem[0] } };
        bench_references(b, files, 2);
        bench_attest(b, 0);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_AFFIRMING);
        files[1].key_pem = pem[1];
        bench_references(b, files, 2);
        attest_review(b->gateway.attest);
        bench_settle(b);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_UNATTESTED);
        assert_non_null(strstr(bench_device(b, 0)->reason, "the reference values changed"));
        assert_null(attest_record(b->gateway.attest, "dev00"));
        assert_int_equal(world.n_reports, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                test(removed_while_the_filter_works),
                test(removed_while_the_tpm_works),
                test(kept_over_a_reload),
                test(enrolled_anew),
                test(enrolled_anew_meanwhile),
                test(references_that_changed),
                test(references_that_changed_meanwhile),
                test(references_that_changed_between_two_reports),
                test(key_of_the_references_changed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
