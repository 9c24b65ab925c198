/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a reload of the configuration does to verdicts and reports. */
#include "attest-bench.h"

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

#define test(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                test(removed_while_the_filter_works),
                test(removed_while_the_tpm_works),
                test(kept_over_a_reload),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
