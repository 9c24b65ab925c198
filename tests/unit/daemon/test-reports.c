/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The composite report: what it shows, when it is made, and what becomes of one that fails. */
#include "attest-bench.h"
#include "domain/relay.h"

/* The verdict is in force, and reaches upstream as soon as the TPM, or the store, works again. */
static void the_tpm_and_the_store_fail(void **state)
{
        Bench *b = *state;
        world.sign_error = -EIO;
        bench_attest(b, 0);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_int_equal(b->result.ear.len, 0);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_AFFIRMING);
        assert_int_equal(gateway_last_result(&b->gateway, bench_device(b, 0)).len, 0);
        assert_int_equal(world.n_reports, 0);
        world.sign_error = 0;
        world.store_error = -ENOBUFS;
        bench_attest(b, 1);
        assert_int_equal(world.n_reports, 0);
        world.store_error = 0;
        bench_attest(b, 2);
        assert_int_equal(world.n_reports, 1);
        for (size_t i = 0; i < 3; i++)
                assert_true(bench_shows(&world.reports[0], b->names[i]));
        assert_false(bench_shows(&world.reports[0], "dev00/ear"));
        assert_true(bench_shows(&world.reports[0], "dev01/ear"));
}

/* One report holds RELAY_DEVICES_MAX devices: none is forgotten. */
static void more_devices_than_one_report_holds(void **state)
{
        Bench *b = *state;
        static const uint8_t nonce[16] = "0123456789abcdef";
        for (size_t i = 0; i < DEVICES; i++) {
                Nonce n = bench_challenge(b, i);
                bench_send_token(b, i, &bench_good, &n);
        }
        bench_commit(0);
        bench_settle(b);
        for (size_t i = 0; i < world.n_reports; i++)
                buf_done(&world.reports[i]);
        world.n_reports = 0;
        bench_upstream_asks(b, BYTES(nonce, sizeof(nonce)), false);
        assert_int_equal(world.n_reports, (DEVICES + RELAY_DEVICES_MAX - 1) / RELAY_DEVICES_MAX);
        for (size_t i = 0; i < DEVICES; i++)
                assert_true(bench_shows(&world.reports[i / RELAY_DEVICES_MAX], b->names[i]));
        for (size_t i = 0; i < world.n_reports; i++)
                assert_non_null(memmem(buf_view(&world.reports[i]).data, buf_len(&world.reports[i]),
                                       nonce, sizeof(nonce)));
}

static void nonces_of_upstream(void **state)
{
        Bench *b = *state;
        static const char plain[] = "0123456789abcdef";
        bench_upstream_asks(b, BYTES(plain, 16), true);
        bench_upstream_asks(b, BYTES(plain, 7), false);
        bench_upstream_asks(b,
                            BYTES_LITERAL("\xa1\x65nonce\x44"
                                          "1234"),
                            false);
        bench_upstream_asks(b,
                            BYTES_LITERAL("\xa1\x65nonce\x65"
                                          "12345"),
                            false);
        bench_upstream_asks(b,
                            BYTES_LITERAL("\xa1\x65other\x48"
                                          "12345678"),
                            false);
        assert_int_equal(world.n_reports, 0);
        bench_upstream_asks(b, BYTES(plain, 16), false);
        assert_int_equal(world.n_reports, 1);
        assert_memory_equal(world.quoted, plain, 16);
        bench_upstream_asks(b,
                            BYTES_LITERAL("\xa1\x65nonce\x48"
                                          "abcdefgh"),
                            false);
        assert_int_equal(world.n_reports, 2);
        assert_memory_equal(world.quoted, "abcdefgh", 8);
        bench_attest(b, 0); /* a nonce of upstream is not used for what it did not ask for */
        assert_int_equal(world.n_reports, 3);
        assert_memory_not_equal(world.quoted, "abcdefgh", 8);
}

/* Asked for while the TPM is busy with another: both come. */
static void asked_while_one_is_made(void **state)
{
        Bench *b = *state;
        static const char first[] = "first---", second[] = "second--";
        world.hold = true;
        bench_upstream_asks(b, BYTES(first, 8), false);
        bench_upstream_asks(b, BYTES(second, 8), false);
        assert_int_equal(world.n_held, 1);
        assert_int_equal(world.n_reports, 0);
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(world.n_reports, 2);
        assert_true(bench_shows(&world.reports[0], first));
        assert_true(bench_shows(&world.reports[1], second));
}

#define test(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                test(the_tpm_and_the_store_fail),
                test(more_devices_than_one_report_holds),
                test(nonces_of_upstream),
                test(asked_while_one_is_made),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
