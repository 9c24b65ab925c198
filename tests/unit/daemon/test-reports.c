/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The composite report: what it shows, when it is made, and what becomes of one that fails. */
#include "attest-bench.h"
#include <systemd/sd-event.h>

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

static void wait_for_report(Bench *b, size_t n)
{
        usec_t until = now_boottime() + 60 * USEC_PER_SEC;
        while (world.n_reports < n && now_boottime() < until) {
                sd_event_run(loop_sd_event(b->gateway.loop), 50 * USEC_PER_MSEC);
                bench_settle(b);
        }
        assert_int_equal(world.n_reports, n);
}

/* Nothing else happens: no verdict, no nonce. */
static void tried_again(void **state)
{
        Bench *b = *state;
        world.sign_error = -EIO;
        bench_attest(b, 0);
        assert_int_equal(world.n_reports, 0);
        world.sign_error = 0;
        wait_for_report(b, 1);
        assert_true(bench_shows(&world.reports[0], "dev00"));
}

/* Upstream asked: it is answered with its nonce, late, and once. */
static void tried_again_with_its_nonce(void **state)
{
        Bench *b = *state;
        static const char nonce[] = "0123456789abcdef";
        bench_attest(b, 0);
        world.sign_error = -EIO;
        bench_upstream_asks(b, BYTES(nonce, 16), false);
        assert_int_equal(world.n_reports, 1);
        world.sign_error = 0;
        wait_for_report(b, 2);
        assert_memory_equal(world.quoted, nonce, 16);
        assert_true(bench_shows(&world.reports[1], "dev00/ear"));
        bench_attest(b, 1);
        assert_int_equal(world.n_reports, 3);
        assert_memory_not_equal(world.quoted, nonce, 16);
}

/* The store takes it, and finds no room on the disk. */
static void tried_again_after_the_disk_was_full(void **state)
{
        Bench *b = *state;
        world.disk_error = -ENOSPC;
        bench_attest(b, 0);
        assert_int_equal(world.n_reports, 0);
        assert_null(world.stored);
        world.disk_error = 0;
        wait_for_report(b, 1);
        assert_true(bench_shows(&world.reports[0], "dev00/ear"));
}

static void each_nonce_is_answered(void **state)
{
        Bench *b = *state;
        static const char *const nonces[] = { "nonce--1", "nonce--2", "nonce--3" };
        bench_attest(b, 0);
        world.hold = true;
        for (size_t i = 0; i < ELEMENTSOF(nonces); i++) {
                bench_upstream_asks(b, BYTES(nonces[i], 8), false);
                if (i > 0) /* while it waits */
                        bench_upstream_asks(b, BYTES(nonces[i], 8), false);
        }
        assert_int_equal(world.n_reports, 1);
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(world.n_reports, 1 + ELEMENTSOF(nonces));
        for (size_t i = 0; i < ELEMENTSOF(nonces); i++) {
                assert_true(bench_shows(&world.reports[1 + i], nonces[i]));
                assert_true(bench_shows(&world.reports[1 + i], "dev00/ear"));
        }
}

/* More than may wait: the oldest that waits goes. */
static void more_nonces_than_may_wait(void **state)
{
        Bench *b = *state;
        char nonce[9];
        world.hold = true;
        for (unsigned i = 0; i < 11; i++) {
                snprintf(nonce, sizeof(nonce), "nonce-%02u", i);
                bench_upstream_asks(b, BYTES(nonce, 8), false);
        }
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(world.n_reports, 9);
        for (unsigned i = 0; i < 9; i++) {
                snprintf(nonce, sizeof(nonce), "nonce-%02u", i == 0 ? 0 : i + 2);
                assert_true(bench_shows(&world.reports[i], nonce));
        }
}

/* Devices go on attesting: the next nonce does not wait for a moment without verdicts. */
static void verdicts_come_while_upstream_asks(void **state)
{
        Bench *b = *state;
        bench_attest(b, 0);
        world.hold = true;
        bench_upstream_asks(b, BYTES_LITERAL("nonce--1"), false);
        bench_upstream_asks(b, BYTES_LITERAL("nonce--2"), false);
        Nonce n = bench_challenge(b, 1);
        bench_send_token(b, 1, &bench_good, &n);
        bench_commit(0);
        bench_settle(b);
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(world.n_reports, 3);
        assert_true(bench_shows(&world.reports[1], "nonce--1"));
        assert_true(bench_shows(&world.reports[2], "nonce--2"));
        assert_true(bench_shows(&world.reports[2], "dev00/ear"));
        assert_true(bench_shows(&world.reports[2], "dev01/ear"));
}

static void run_until_stored(Bench *b)
{
        while (!world.stored)
                assert_true(sd_event_run(loop_sd_event(b->gateway.loop), 0) > 0);
}

/* One device more than a report holds; the last of all is one of them. */
static void attest_more_than_one_report_holds(Bench *b, size_t last, const FixtureToken *its)
{
        for (size_t i = 0; i <= RELAY_DEVICES_MAX; i++) {
                size_t device = i < RELAY_DEVICES_MAX ? i : last;
                Nonce n = bench_challenge(b, device);
                bench_send_token(b, device, device == last ? its : &bench_good, &n);
        }
        bench_commit(0);
        run_until_stored(b);
}

/* Judged anew before it was shown with the nonce: it is shown with it all the same. */
static void verdict_is_replaced_before_it_is_shown(void **state)
{
        Bench *b = *state;
        const size_t last = DEVICES - 1;
        attest_more_than_one_report_holds(b, last, &bench_good);
        bench_settle(b);
        assert_int_equal(world.n_reports, 2);
        Nonce n = bench_challenge(b, last);
        const MqttClientMessage m = { .topic = "t", .payload = BYTES_LITERAL("nonce--1") };
        world.on_nonce("t", &m, world.on_nonce_userdata);
        run_until_stored(b);
        bench_send_token(b, last, &bench_good, &n);
        bench_commit(0);
        while (sd_event_run(loop_sd_event(b->gateway.loop), 0) > 0)
                ;
        bench_settle(b);
        assert_int_equal(world.n_reports, 4);
        assert_false(bench_shows(&world.reports[2], b->names[last]));
        assert_true(bench_shows(&world.reports[3], b->names[last]));
        assert_true(bench_shows(&world.reports[3], "nonce--1"));
}

/* So it is where other reference values replace the verdict. */
static void verdict_is_reviewed_before_it_is_shown(void **state)
{
        Bench *b = *state;
        const size_t last = DEVICES - 1;
        const FixtureCorim makers[] = {
                { .implementation = 0x22, .components = bench_known, .n = 1 },
                { .implementation = 0x33, .components = bench_known, .n = 1 },
        };
        FixtureToken other = bench_good;
        other.implementation = 0x33;
        bench_references(b, makers, 2);
        attest_more_than_one_report_holds(b, last, &other);
        bench_settle(b);
        assert_int_equal(world.n_reports, 2);
        const MqttClientMessage m = { .topic = "t", .payload = BYTES_LITERAL("nonce--1") };
        world.on_nonce("t", &m, world.on_nonce_userdata);
        run_until_stored(b);
        bench_references(b, makers, 1);
        attest_review(b->gateway.attest);
        bench_commit(0);
        while (sd_event_run(loop_sd_event(b->gateway.loop), 0) > 0)
                ;
        bench_settle(b);
        assert_int_equal(world.n_reports, 4);
        assert_false(bench_shows(&world.reports[2], b->names[last]));
        assert_true(bench_shows(&world.reports[3], b->names[last]));
        assert_true(bench_shows(&world.reports[3], "nonce--1"));
}

/* As many as one report holds are judged again and again: the others have their turn. */
static void busy_devices_and_a_quiet_one(void **state)
{
        Bench *b = *state;
        const size_t quiet = DEVICES - 1;
        attest_more_than_one_report_holds(b, quiet, &bench_good);
        for (size_t i = 0; i < RELAY_DEVICES_MAX; i++)
                report_device(&b->gateway, attest_record(b->gateway.attest, b->names[i]));
        bench_settle(b);
        assert_false(bench_shows(&world.reports[0], b->names[quiet]));
        assert_true(bench_shows(&world.reports[1], b->names[quiet]));
        assert_int_equal(world.n_reports, 3);
}

/* The end of the daemon, in the order of gateway_free(), while the store has one. */
static void ends_while_one_is_stored(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        bench_send_token(b, 0, &bench_good, &n);
        bench_commit(0);
        run_until_stored(b);
        world.stored = NULL;
}

#define test(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                test(the_tpm_and_the_store_fail),
                test(more_devices_than_one_report_holds),
                test(nonces_of_upstream),
                test(asked_while_one_is_made),
                test(tried_again),
                test(tried_again_with_its_nonce),
                test(tried_again_after_the_disk_was_full),
                test(each_nonce_is_answered),
                test(more_nonces_than_may_wait),
                test(verdicts_come_while_upstream_asks),
                test(verdict_is_replaced_before_it_is_shown),
                test(verdict_is_reviewed_before_it_is_shown),
                test(busy_devices_and_a_quiet_one),
                test(ends_while_one_is_stored),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
