/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What becomes of a device's message, with a real store and a registry. */
#include <ftw.h>
#include <stdio.h>

#include "../unit.h"
#include "base/log.h"
#include "daemon/gateway.h"
#include "daemon/submissions.h"
#include "daemon/submit.h"

#define LINES_MAX   256
#define MESSAGE_MAX 200000
#define BURST       300

typedef struct Fixture {
        char directory[32];
        Gateway gateway;
        Class class;
        Zone zone;
        Device device;
        DeviceState *state;
        LoopSource *deadline;
        size_t waiting; /* for so many answers */
        size_t again;   /* with each of them comes another message of this length */
        size_t answers[_SUBMIT_MAX];
        char reasons[LINES_MAX][16]; /* REASON= of what was logged about the device */
        size_t n_reasons;
} Fixture;

static void on_log(int level, const LogField *fields, const char *message, void *userdata)
{
        Fixture *f = userdata;
        for (; fields && fields->key; fields++)
                if (strcmp(fields->key, "REASON") == 0 && f->n_reasons < LINES_MAX)
                        snprintf(f->reasons[f->n_reasons++], sizeof(f->reasons[0]), "%s",
                                 fields->value);
}

static int on_deadline(void *userdata)
{
        fail_msg("nobody answers");
        return 0;
}

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        static const RegistryPort port = { 0 };
        Gateway *g = &f->gateway;
        strcpy(f->directory, "/tmp/test-submit.XXXXXX");
        assert_non_null(mkdtemp(f->directory));
        f->zone = (Zone){ .name = (char *)"field", .interface = (char *)"eth1" };
        f->class = (Class){ .name = (char *)"sensor",
                            .telemetry = 1U << POSTURE_AFFIRMING,
                            .limits.rate = { 30, BURST, 1024 * 1024, 8 * 1024 * 1024 } };
        f->device = (Device){ .name = (char *)"pump", .zone = &f->zone, .class = &f->class };
        assert_int_equal(loop_new(&g->loop), 0);
        assert_int_equal(store_open(g->loop, f->directory, STORE_BYTES_MIN, &g->store), 0);
        assert_int_equal(registry_new(&port, &g->registry), 0);
        assert_int_equal(registry_apply(g->registry, &f->device, 1, loop_now(g->loop), NULL, NULL),
                         0);
        assert_int_equal(submissions_new(g, &g->submissions), 0);
        assert_int_equal(loop_add_timer(g->loop, &f->deadline, LOOP_FATAL, on_deadline, f), 0);
        f->state = registry_get(g->registry, "pump");
        log_set_sink(on_log, f);
        *state = f;
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
        return remove(path);
}

static int teardown(void **state)
{
        Fixture *f = *state;
        log_set_sink(NULL, NULL);
        store_free(f->gateway.store);
        submissions_free(f->gateway.submissions);
        registry_free(f->gateway.registry);
        loop_source_free(f->deadline);
        loop_free(f->gateway.loop);
        nftw(f->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        free(f);
        return 0;
}

static void set_posture(Fixture *f, Posture p)
{
        registry_set_posture(f->gateway.registry, f->state, p, "", USEC_INFINITY,
                             loop_now(f->gateway.loop));
}

static SubmitOutcome submit(Fixture *f, size_t len, SubmitTicket **ret);

static void on_done(SubmitOutcome outcome, void *userdata)
{
        Fixture *f = userdata;
        f->answers[outcome]++;
        if (f->waiting > 0 && --f->waiting == 0)
                loop_exit(f->gateway.loop, 0);
        else if (f->again > 0 && submit(f, f->again, NULL) != SUBMIT_STORED)
                f->again = 0;
}

static SubmitOutcome submit(Fixture *f, size_t len, SubmitTicket **ret)
{
        static uint8_t payload[MESSAGE_MAX];
        const Submission s = { .device = f->state, .topic = "t", .payload = BYTES(payload, len) };
        size_t before[_SUBMIT_MAX];
        memcpy(before, f->answers, sizeof(before));
        SubmitOutcome outcome = gateway_submit(&f->gateway, &s, on_done, f, ret);
        assert_memory_equal(before, f->answers, sizeof(before)); /* never within the call */
        return outcome;
}

/* Once a test: a loop that has ended does not run again. */
static void wait_for(Fixture *f, size_t n)
{
        f->waiting = n;
        loop_timer_arm_relative(f->deadline, 30 * USEC_PER_SEC);
        assert_int_equal(loop_run(f->gateway.loop), 0);
        loop_timer_disarm(f->deadline);
}

static void is_durable_when_answered(void **state)
{
        Fixture *f = *state;
        StoreStats stats;
        set_posture(f, POSTURE_AFFIRMING);
        submit(f, 100, NULL);
        assert_int_equal(f->state->messages_in, 0);
        wait_for(f, 1);
        assert_int_equal(f->answers[SUBMIT_STORED], 1);
        store_stats(f->gateway.store, &stats);
        assert_int_equal(stats.records, 1);
        assert_int_equal(f->state->messages_in, 1);
        assert_int_equal(f->state->bytes_in, 100);
        assert_int_equal(f->n_reasons, 0);
}

static void posture_and_quarantine_decide(void **state)
{
        Fixture *f = *state;
        static const Posture refused[] = { POSTURE_UNATTESTED, POSTURE_WARNING,
                                           POSTURE_CONTRAINDICATED };
        for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                set_posture(f, refused[i]);
                assert_int_equal(submit(f, 1, NULL), SUBMIT_DENIED);
        }
        set_posture(f, POSTURE_AFFIRMING);
        registry_set_quarantine(f->gateway.registry, f->state, true, "smoke", 1);
        assert_int_equal(submit(f, 1, NULL), SUBMIT_DENIED);
        registry_set_quarantine(f->gateway.registry, f->state, false, "", 2);
        submit(f, 1, NULL);
        wait_for(f, 1);
        assert_int_equal(f->answers[SUBMIT_DENIED], 0); /* they were told */
        assert_int_equal(f->answers[SUBMIT_STORED], 1);
        assert_int_equal(f->state->messages_refused, 4);
        assert_int_equal(f->state->messages_in, 1);
        assert_int_equal(f->n_reasons, 4);
        assert_string_equal(f->reasons[3], "denied");
}

/* Whoever can wait asks before, and is charged when there is room. */
static void charges_before(void **state)
{
        Fixture *f = *state;
        Gateway *g = &f->gateway;
        set_posture(f, POSTURE_AFFIRMING);
        for (size_t i = 0; i < BURST; i++)
                assert_int_equal(gateway_charge(g, f->state, 1), 0);
        usec_t wait = gateway_charge(g, f->state, 1);
        assert_true(wait > 0 && wait <= USEC_PER_SEC);
        assert_int_equal(submit(f, 1, NULL), SUBMIT_QUOTA);
        const Submission paid = {
                .device = f->state, .charged = true, .topic = "t", .payload = BYTES("x", 1)
        };
        assert_int_equal(gateway_submit(g, &paid, on_done, f, NULL), SUBMIT_STORED);
        wait_for(f, 1);
}

static void quota_decides(void **state)
{
        Fixture *f = *state;
        set_posture(f, POSTURE_AFFIRMING);
        size_t n[_SUBMIT_MAX] = { 0 };
        for (size_t i = 0; i < 2 * BURST; i++)
                n[submit(f, 1, NULL)]++;
        wait_for(f, n[SUBMIT_STORED]);
        assert_true(n[SUBMIT_STORED] + n[SUBMIT_FULL] >= BURST);
        assert_true(n[SUBMIT_QUOTA] > 0);
        assert_int_equal(f->state->messages_in, f->answers[SUBMIT_STORED]);
        assert_string_equal(f->reasons[0], "quota-exceeded");
}

/* The disk's answer comes later than the call: it is counted and told all the same. */
static void full_store_is_told(void **state)
{
        Fixture *f = *state;
        set_posture(f, POSTURE_AFFIRMING);
        f->state->quota.bytes.per_second = UINT64_MAX; /* it is not about that */
        f->again = MESSAGE_MAX;
        submit(f, MESSAGE_MAX, NULL);
        wait_for(f, 60);
        assert_true(f->answers[SUBMIT_STORED] > 0);
        assert_true(f->answers[SUBMIT_FULL] > 0);
        assert_int_equal(f->answers[SUBMIT_STORED] + f->answers[SUBMIT_FULL], 60);
        assert_int_equal(f->state->messages_in, f->answers[SUBMIT_STORED]);
        assert_int_equal(f->state->messages_refused, f->answers[SUBMIT_FULL]);
        assert_true(f->n_reasons > 0);
        assert_string_equal(f->reasons[f->n_reasons - 1], "store-full");
}

static void nobody_waits_any_more(void **state)
{
        Fixture *f = *state;
        SubmitTicket *stored;
        StoreStats stats;
        set_posture(f, POSTURE_AFFIRMING);
        submit(f, 1, &stored);
        submit_ticket_cancel(stored);
        submit(f, 1, NULL);
        wait_for(f, 1);
        assert_int_equal(f->answers[SUBMIT_STORED], 1);
        store_stats(f->gateway.store, &stats);
        assert_int_equal(stats.records, 2);
        assert_int_equal(f->state->messages_in, 2);
}

static void device_goes_meanwhile(void **state)
{
        Fixture *f = *state;
        set_posture(f, POSTURE_AFFIRMING);
        submit(f, 1, NULL);
        assert_int_equal(registry_apply(f->gateway.registry, NULL, 0, 1, NULL, NULL), 0);
        wait_for(f, 1);
        assert_int_equal(f->answers[SUBMIT_STORED], 1);
}

/* The end of the daemon: the store is closed before, and tells nobody. */
static void ends_while_the_store_has_one(void **state)
{
        Fixture *f = *state;
        set_posture(f, POSTURE_AFFIRMING);
        submit(f, 1, NULL);
        f->gateway.store = store_free(f->gateway.store);
        f->gateway.submissions = submissions_free(f->gateway.submissions);
        assert_int_equal(f->answers[SUBMIT_STORED] + f->answers[SUBMIT_DENIED], 0);
}

/* It is not from the device, which may be gone for long: what that may is no question, it was not
 * seen, and a refusal is not the last word. */
static void of_a_will(void **state)
{
        Fixture *f = *state;
        static uint8_t payload[STORE_BYTES_MIN / 2];
        Submission s = { .device = f->state, .will = true, .topic = "t" };
        f->state->last_seen = 7;
        s.payload = BYTES(payload, sizeof(payload));
        assert_true(gateway_submit(&f->gateway, &s, on_done, f, NULL) > SUBMIT_DENIED);
        s.payload = BYTES(payload, 10);
        assert_int_equal(gateway_submit(&f->gateway, &s, on_done, f, NULL), SUBMIT_STORED);
        wait_for(f, 1);
        assert_int_equal(f->answers[SUBMIT_STORED], 1);
        registry_set_quarantine(f->gateway.registry, f->state, true, "smoke", 1);
        assert_int_equal(gateway_submit(&f->gateway, &s, on_done, f, NULL), SUBMIT_DENIED);
        assert_int_equal(f->state->last_seen, 7);
        assert_int_equal(f->state->messages_refused, 0);
        assert_int_equal(f->state->messages_in, 1);
        assert_int_equal(f->n_reasons, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(is_durable_when_answered, setup, teardown),
                cmocka_unit_test_setup_teardown(posture_and_quarantine_decide, setup, teardown),
                cmocka_unit_test_setup_teardown(of_a_will, setup, teardown),
                cmocka_unit_test_setup_teardown(charges_before, setup, teardown),
                cmocka_unit_test_setup_teardown(quota_decides, setup, teardown),
                cmocka_unit_test_setup_teardown(full_store_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(nobody_waits_any_more, setup, teardown),
                cmocka_unit_test_setup_teardown(device_goes_meanwhile, setup, teardown),
                cmocka_unit_test_setup_teardown(ends_while_the_store_has_one, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
