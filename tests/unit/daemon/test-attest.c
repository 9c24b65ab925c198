/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A report's way through the daemon, and every place where somebody on it fails. */
#include "attest-bench.h"
#include "base/str.h"

/* Seconds: the claim `name` of the EAR's payload. */
static long long claim(const Bench *b, const char *name)
{
        const char *dot = strchr(b->ear, '.');
        const char *end = dot ? strchr(dot + 1, '.') : NULL;
        _cleanup_free_ uint8_t *payload = NULL;
        char text[4096], key[32];
        size_t len = 0;
        assert_non_null(end);
        assert_int_equal(
                base64url_decode_new(BYTES(dot + 1, (size_t)(end - dot) - 1), &payload, &len), 0);
        snprintf(text, sizeof(text), "%.*s", (int)len, (const char *)payload);
        snprintf(key, sizeof(key), "\"%s\":", name);
        const char *at = strstr(text, key);
        assert_non_null(at);
        return atoll(at + strlen(key));
}

static void hears_after_the_commit(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        bench_send_token(b, 0, &bench_good, &n);
        bench_settle(b);
        assert_int_equal(b->heard, 0);
        assert_int_equal(world.n_reports, 0);
        usec_t expires = bench_device(b, 0)->expires;
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(b->heard, 1);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_int_equal(b->result.posture, POSTURE_AFFIRMING);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_AFFIRMING);
        Bytes last = gateway_last_result(&b->gateway, bench_device(b, 0));
        assert_true(bytes_equal(last, bytes_from_str(b->ear)));
        assert_true(claim(b, "iat") <= claim(b, "exp"));
        /* The result is not good for longer than the verdict. */
        long long end = (long long)((now_realtime() + expires - now_boottime()) / USEC_PER_SEC);
        assert_in_range(claim(b, "exp"), end - 2, end);
        assert_int_equal(world.n_reports, 1);
        assert_true(bench_shows(&world.reports[0], "dev00/ear"));
}

static void a_nonce_is_good_once(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        FixtureToken wrong = bench_good;
        wrong.lifecycle = 0x0000;
        bench_send_token(b, 0, &wrong, &n); /* a failed appraisal uses it up as well */
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_int_equal(b->result.posture, POSTURE_CONTRAINDICATED);
        bench_send_token(b, 0, &bench_good, &n);
        bench_settle(b);
        assert_int_equal(b->heard, 2);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
        assert_int_equal(b->result.ear.len, 0);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_CONTRAINDICATED);
        assert_int_equal(world.n_waiters, 0);
        assert_int_equal(world.n_reports, 1);
}

/* The device did not hear the answer: the same bytes get it, and nothing else happens. */
static void the_same_again_is_answered_as_before(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX), resigned = BUF_INIT(FIXTURE_MAX);
        char ear[sizeof(b->ear)], reason[sizeof(b->reason)];
        Nonce n = bench_challenge(b, 0);
        bench_token(b, &bench_good, &n, &token);
        bench_token(b, &bench_good, &n, &resigned);
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_commit(0);
        bench_settle(b);
        usec_t expires = bench_device(b, 0)->expires;
        unsigned signatures = world.signatures;
        memcpy(ear, b->ear, sizeof(ear));
        memcpy(reason, b->reason, sizeof(reason));

        for (unsigned i = 2; i < 5; i++) {
                memset(b->ear, 0, sizeof(b->ear));
                bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
                bench_settle(b);
                assert_int_equal(b->heard, i);
                assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
                assert_int_equal(b->result.posture, POSTURE_AFFIRMING);
                assert_string_equal(b->ear, ear);
                assert_string_equal(b->reason, reason);
        }
        assert_int_equal(bench_device(b, 0)->expires, expires);
        assert_int_equal(world.signatures, signatures);
        assert_int_equal(world.n_waiters, 0);
        assert_int_equal(world.n_reports, 1);
        Bytes last = gateway_last_result(&b->gateway, bench_device(b, 0));
        assert_true(bytes_equal(last, bytes_from_str(ear)));

        /* other bytes, another type, another device: not this answer */
        assert_false(bytes_equal(buf_view(&token), buf_view(&resigned)));
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&resigned));
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
        bench_send_bytes(b, 0, SALLYPORT_CF_EAT_CWT, buf_view(&token));
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
        bench_send_bytes(b, 1, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
        assert_int_equal(bench_device(b, 1)->posture, POSTURE_UNATTESTED);
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        /* nor once there is a later one */
        bench_attest(b, 0);
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
}

/* It comes again before there is an answer: both hear it, at the same time. */
static void the_same_while_it_is_under_way(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        Nonce n = bench_challenge(b, 0);
        bench_token(b, &bench_good, &n, &token);
        world.hold = true;
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        assert_int_equal(world.n_waiters, 1);
        bench_commit(0);
        bench_settle(b);
        evidence_ticket_cancel(bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token)));
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_settle(b);
        assert_int_equal(b->heard, 0);
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(b->heard, 3);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_true(b->ear[0] != '\0');
        assert_int_equal(world.n_reports, 1);
}

/* What failed is told as it was; and ends with its verdict. */
static void the_same_again_after_a_failure(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        Nonce n = bench_challenge(b, 0);
        bench_token(b, &bench_good, &n, &token);
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_commit(-EIO);
        bench_settle(b);
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_settle(b);
        assert_int_equal(b->heard, 2);
        assert_int_equal(b->result.outcome, EVIDENCE_FAILED);
        assert_non_null(strstr(b->reason, "packet filter"));

        _cleanup_buf_ Buf brief = BUF_INIT(FIXTURE_MAX);
        b->class.verdict_lifetime = 0;
        n = bench_challenge(b, 1);
        bench_token(b, &bench_good, &n, &brief);
        bench_send_bytes(b, 1, SALLYPORT_CF_PSA_TOKEN, buf_view(&brief));
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        bench_send_bytes(b, 1, SALLYPORT_CF_PSA_TOKEN, buf_view(&brief));
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
}

static void a_bad_signature_is_a_verdict(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        Nonce n = bench_challenge(b, 0);
        bench_token(b, &bench_good, &n, &token);
        ((uint8_t *)buf_view(&token).data)[buf_len(&token) - 1] ^= 1;
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_CONTRAINDICATED);
        assert_non_null(strstr(b->reason, "signature"));
}

/* Wherever it is broken, a report costs the nonce that it carries; and is told so. */
static void a_broken_report_costs_its_nonce(void **state)
{
        Bench *b = *state;
        static const struct {
                uint16_t format;
                int cut; /* bytes off the end */
                bool claims;
                EvidenceOutcome outcome;
        } table[] = {
                { SALLYPORT_CF_PSA_TOKEN, 1, false, EVIDENCE_MALFORMED },
                { SALLYPORT_CF_PSA_TOKEN, 70, false, EVIDENCE_MALFORMED },
                { SALLYPORT_CF_PSA_TOKEN, -1, false, EVIDENCE_MALFORMED },
                { SALLYPORT_CF_PSA_TOKEN, 0, true, EVIDENCE_MALFORMED },
                { SALLYPORT_CF_CMW_CBOR, 0, false, EVIDENCE_MALFORMED },
                { 50, 0, false, EVIDENCE_UNSUPPORTED },
        };
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
                FixtureToken t = bench_good;
                Nonce n = bench_challenge(b, i), others = bench_challenge(b, 10 + i);
                if (table[i].claims)
                        t.lifecycle = 0x3100;
                bench_token(b, &t, &n, &token);
                if (table[i].cut < 0)
                        assert_int_equal(buf_append(&token, BYTES_LITERAL("\0")), 0);
                size_t len = buf_len(&token) - (size_t)MAX(table[i].cut, 0);
                bench_send_bytes(b, i, table[i].format, BYTES(buf_view(&token).data, len));
                bench_settle(b);
                assert_int_equal(b->result.outcome, table[i].outcome);
                assert_non_null(strstr(b->reason, "its nonce is used up"));
                bench_send_token(b, i, &bench_good, &n);
                bench_settle(b);
                assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
                /* of its own nonces alone */
                bench_send_bytes(b, i, table[i].format, BYTES(others.bytes, 32));
                bench_settle(b);
                assert_non_null(strstr(b->reason, "no nonce that is outstanding"));
                bench_send_token(b, 10 + i, &bench_good, &others);
                bench_commit(0);
                bench_settle(b);
                assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        }
}

/* Nothing that cannot be a report of this device, now, changes what is known of it. */
static void refusals_change_nothing(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        Nonce n = bench_challenge(b, 0), others = bench_challenge(b, 1);
        bench_attest(b, 2);
        registry_set_posture(b->gateway.registry, bench_device(b, 0), POSTURE_AFFIRMING, "before",
                             USEC_INFINITY, 1);
        bench_token(b, &bench_good, &n, &token);
        const struct {
                uint16_t format;
                Bytes body;
                EvidenceOutcome outcome;
        } table[] = {
                { SALLYPORT_CF_PSA_TOKEN, BYTES_LITERAL("x"), EVIDENCE_MALFORMED },
                { SALLYPORT_CF_PSA_TOKEN, BYTES(NULL, 0), EVIDENCE_MALFORMED },
                { SALLYPORT_CF_CMW_CBOR, buf_view(&token), EVIDENCE_MALFORMED },
                { 50, buf_view(&token), EVIDENCE_UNSUPPORTED },
        };
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                bench_send_bytes(b, 0, table[i].format, table[i].body);
                bench_settle(b);
                assert_int_equal(b->result.outcome, table[i].outcome);
        }
        bench_send_token(b, 0, &bench_good, &others);
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
        b->class.attestation = ATTESTATION_NONE;
        bench_send_token(b, 0, &bench_good, &n);
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_UNSUPPORTED);
        assert_string_equal(bench_device(b, 0)->reason, "before");
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_AFFIRMING);
        assert_int_equal(world.n_reports, 1);
}

static void another_identity(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        FixtureToken foreign = bench_good;
        foreign.instance = 0x12;
        bench_send_token(b, 0, &foreign, &n);
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_FORBIDDEN);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_CONTRAINDICATED);
        assert_int_equal(world.n_reports, 1);
}

static void client_ids(void **state)
{
        Bench *b = *state;
        b->devices[0].psa_client_ids[b->devices[0].n_psa_client_ids++] = 7;
        bench_attest(b, 0);
        assert_int_equal(bench_device(b, 0)->posture, POSTURE_CONTRAINDICATED);
        b->devices[1].psa_client_ids[b->devices[1].n_psa_client_ids++] = 7;
        b->devices[1].psa_client_ids[b->devices[1].n_psa_client_ids++] = -1;
        bench_attest(b, 1);
        assert_int_equal(bench_device(b, 1)->posture, POSTURE_AFFIRMING);
}

/* What is kept and goes upstream is the token that was inside. */
static void inside_a_wrapper(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX), record = BUF_INIT(FIXTURE_MAX);
        Nonce n = bench_challenge(b, 0);
        bench_token(b, &bench_good, &n, &token);
        CborWriter w = cbor_writer(&record);
        cbor_put_array(&w, 2);
        cbor_put_uint(&w, SALLYPORT_CF_PSA_TOKEN);
        cbor_put_bytes(&w, buf_view(&token));
        bench_send_bytes(b, 0, SALLYPORT_CF_CMW_CBOR, buf_view(&record));
        bench_commit(0);
        bench_settle(b);
        assert_int_equal(b->result.posture, POSTURE_AFFIRMING);
        const AttestRecord *kept = attest_record(b->gateway.attest, "dev00");
        assert_int_equal(kept->content_format, SALLYPORT_CF_PSA_TOKEN);
        assert_true(bytes_equal(BYTES(kept->evidence, kept->evidence_len), buf_view(&token)));
}

/* The type of what is inside may be spelled out. */
static void inside_a_wrapper_in_words(void **state)
{
        Bench *b = *state;
        static const struct {
                const char *type;
                EvidenceOutcome outcome;
                uint16_t kept;
        } table[] = {
                { SALLYPORT_MEDIA_PSA_TFM, EVIDENCE_APPRAISED, SALLYPORT_CF_PSA_TOKEN },
                { SALLYPORT_MEDIA_PSA_LEGACY, EVIDENCE_APPRAISED, SALLYPORT_CF_PSA_TOKEN_OLD },
                { SALLYPORT_MEDIA_EAT_CWT, EVIDENCE_APPRAISED, SALLYPORT_CF_EAT_CWT },
                { "application/eat+jwt", EVIDENCE_UNSUPPORTED, 0 },
                { SALLYPORT_MEDIA_PSA_TFM "x", EVIDENCE_UNSUPPORTED, 0 },
        };
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX), record = BUF_INIT(FIXTURE_MAX);
                Nonce n = bench_challenge(b, i);
                bench_token(b, &bench_good, &n, &token);
                CborWriter w = cbor_writer(&record);
                cbor_put_array(&w, 2);
                cbor_put_str(&w, table[i].type);
                cbor_put_bytes(&w, buf_view(&token));
                bench_send_bytes(b, i, SALLYPORT_CF_CMW_CBOR, buf_view(&record));
                if (table[i].outcome == EVIDENCE_APPRAISED)
                        bench_commit(0);
                bench_settle(b);
                assert_int_equal(b->result.outcome, table[i].outcome);
                const AttestRecord *kept =
                        attest_record(b->gateway.attest, bench_device(b, i)->device->name);
                assert_int_equal(kept ? kept->content_format : 0, table[i].kept);
        }
}

static void the_filter_refuses(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        bench_send_token(b, 0, &bench_good, &n);
        bench_commit(-EIO);
        bench_settle(b);
        assert_int_equal(b->heard, 1);
        assert_int_equal(b->result.outcome, EVIDENCE_FAILED);
        world.apply_error = -ENOMEM;
        n = bench_challenge(b, 1);
        bench_send_token(b, 1, &bench_good, &n);
        bench_settle(b);
        assert_int_equal(b->heard, 2);
        assert_int_equal(b->result.outcome, EVIDENCE_FAILED);
        assert_int_equal(gateway_last_result(&b->gateway, bench_device(b, 1)).len, 0);
        assert_int_equal(world.n_reports, 0);
}

static void as_many_as_there_is_room_for(void **state)
{
        Bench *b = *state;
        EvidenceTicket *t = NULL;
        for (size_t i = 0; i < 64; i++)
                bench_send_bytes(b, i / 8, SALLYPORT_CF_PSA_TOKEN, BYTES_LITERAL("x"));
        assert_int_equal(gateway_evidence(&b->gateway, bench_device(b, 8), SALLYPORT_CF_PSA_TOKEN,
                                          BYTES_LITERAL("x"), bench_on_done, b, &t),
                         -EBUSY);
        bench_settle(b);
        assert_int_equal(b->heard, 64);
        bench_send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, BYTES_LITERAL("x"));
        bench_settle(b);
        assert_int_equal(b->heard, 65);
}

/* One device that sends its report over and over while the TPM signs leaves room for the others. */
static void one_takes_all_the_room(void **state)
{
        Bench *b = *state;
        EvidenceTicket *t = NULL;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        Nonce n = bench_challenge(b, 0);
        size_t taken = 0;
        bench_token(b, &bench_good, &n, &token);
        world.hold = true;
        while (taken < 100 &&
               gateway_evidence(&b->gateway, bench_device(b, 0), SALLYPORT_CF_PSA_TOKEN,
                                buf_view(&token), bench_on_done, b, &t) == 0)
                taken++;
        n = bench_challenge(b, 1);
        bench_send_token(b, 1, &bench_good, &n);
        bench_commit(0);
        bench_settle(b);
        bench_tpm_answers();
        bench_settle(b);
        assert_int_equal(b->heard, taken + 1);
        assert_int_equal(bench_device(b, 1)->posture, POSTURE_AFFIRMING);
}

/* The end of the daemon: nobody is called, nothing is left with the filter. */
static void ends_with_a_report_under_way(void **state)
{
        Bench *b = *state;
        Nonce n = bench_challenge(b, 0);
        bench_send_token(b, 0, &bench_good, &n);
        assert_int_equal(world.n_waiters, 1);
        b->gateway.attest = attest_free(b->gateway.attest);
        assert_int_equal(world.n_waiters, 0);
        assert_int_equal(world.cancelled, 1);
        assert_int_equal(b->heard, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                test(hears_after_the_commit),
                test(a_nonce_is_good_once),
                test(the_same_again_is_answered_as_before),
                test(the_same_while_it_is_under_way),
                test(the_same_again_after_a_failure),
                test(a_bad_signature_is_a_verdict),
                test(a_broken_report_costs_its_nonce),
                test(refusals_change_nothing),
                test(another_identity),
                test(client_ids),
                test(inside_a_wrapper),
                test(inside_a_wrapper_in_words),
                test(the_filter_refuses),
                test(as_many_as_there_is_room_for),
                test(one_takes_all_the_room),
                test(ends_with_a_report_under_way),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
