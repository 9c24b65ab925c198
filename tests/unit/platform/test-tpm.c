/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The queue in front of the TPM, and what an earlier run left in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "platform/fiber.h"
#include "platform/identity-internal.h"
#include "platform/tcti.h"
#include "swtpm.h"

/* Fills all slots and goes without tidying up, as a crash does. */
static void leak(Lab *lab)
{
        Tcti *tcti = NULL;
        ESYS_CONTEXT *esys = NULL;
        Reason reason;
        static const TPMT_SYM_DEF none = { .algorithm = TPM2_ALG_NULL };
        assert_int_equal(tcti_new(lab->tcti, &tcti, &reason), 0);
        assert_int_equal(Esys_Initialize(&esys, tcti_context(tcti), NULL), 0);
        TSS2_RC rc = 0;
        for (int i = 0; i < 10 && rc == 0; i++) {
                ESYS_TR session;
                rc = Esys_StartAuthSession(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, ESYS_TR_NONE, NULL, TPM2_SE_POLICY, &none,
                                           TPM2_ALG_SHA256, &session);
        }
        assert_int_equal(rc, TPM2_RC_SESSION_MEMORY);
        Esys_Finalize(&esys);
        tcti_free(tcti);
}

static void test_leftovers(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        leak(lab);
        lab_create_identity(lab, true);
        leak(lab);
        _cleanup_(identity_freep) Identity *id = NULL;
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), 0);
        assert_int_equal(identity_check(id, &reason), 0);
}

typedef struct Queue {
        Loop *loop;
        Tpm *tpm;
        char order[16];
        size_t n, running;
} Queue;

static void use(void *userdata)
{
        Queue *q = userdata;
        char me = (char)('a' + q->running++);
        Reason reason;
        PcrValues pcrs;
        assert_int_equal(tpm_lock(q->tpm, &reason), 0);
        for (int i = 0; i < 3; i++) {
                q->order[q->n++] = me;
                assert_int_equal(identity_tpm_read_pcrs(q->tpm, 1, &pcrs, &reason), 0);
        }
        tpm_unlock(q->tpm);
        if (--q->running == 0)
                loop_exit(q->loop, 0);
}

static void test_queue(void **state)
{
        Lab *lab = *state;
        Queue q = { 0 };
        Reason reason;
        assert_int_equal(loop_new(&q.loop), 0);
        lab_start_relay(lab, 10, 0); /* slow enough that everybody has to wait */
        assert_int_equal(tpm_open(lab->slow_tcti, &q.tpm, &reason), 0);
        assert_int_equal(tpm_attach(q.tpm, q.loop), 0);
        for (int i = 0; i < 4; i++)
                assert_int_equal(fiber_spawn(use, &q), 0);
        /* Off a fiber, and while somebody has it: not now. */
        assert_true(tpm_busy(q.tpm));
        assert_int_equal(tpm_lock(q.tpm, &reason), -EBUSY);
        assert_int_equal(loop_run(q.loop), 0);
        assert_string_equal(q.order, "aaabbbcccddd");
        assert_int_equal(tpm_lock(q.tpm, &reason), 0);
        tpm_unlock(q.tpm);
        tpm_free(q.tpm);
        loop_free(q.loop);
}

/* The TPM goes away under us: a sentence, at once, and no more. */
static void test_gone(void **state)
{
        Lab *lab = *state;
        Tpm *tpm = NULL;
        Reason reason = { 0 };
        PcrValues pcrs;
        lab_start_relay(lab, 0, 0);
        assert_int_equal(tpm_open(lab->slow_tcti, &tpm, &reason), 0);
        assert_int_equal(identity_tpm_read_pcrs(tpm, 1, &pcrs, &reason), 0);
        kill(lab->relay, SIGKILL);
        assert_int_equal(identity_tpm_read_pcrs(tpm, 1, &pcrs, &reason), -EIO);
        assert_non_null(strstr(reason.text, "closed the connection"));
        tpm_free(tpm);
}

typedef struct Abandoned {
        Tpm *tpm;
        Loop *loop;
        LoopSource *timer;
        int results[3];
        unsigned ended;
} Abandoned;

static void ask(void *userdata)
{
        Abandoned *a = userdata;
        Reason reason;
        PcrValues pcrs;
        assert_int_equal(tpm_lock(a->tpm, &reason), 0);
        int r = tpm_broken(a->tpm) ? tpm_reconnect(a->tpm, &reason) : 0;
        if (r == 0)
                r = identity_tpm_read_pcrs(a->tpm, 1, &pcrs, &reason);
        a->results[a->ended++] = r;
        tpm_unlock(a->tpm);
        if (a->ended == ELEMENTSOF(a->results))
                loop_exit(a->loop, 0);
}

static int on_abandon(void *userdata)
{
        Abandoned *a = userdata;
        assert_true(tpm_busy(a->tpm));
        assert_int_equal(a->ended, 0);
        tpm_abandon(a->tpm);
        return 0;
}

/* It is silent, one waits for its answer and two for their turn: the end waits for none of them. */
static void test_abandoned(void **state)
{
        Lab *lab = *state;
        Abandoned a = { 0 };
        Reason reason = { 0 };
        assert_int_equal(loop_new(&a.loop), 0);
        assert_int_equal(tpm_open(lab->tcti, &a.tpm, &reason), 0);
        assert_int_equal(tpm_attach(a.tpm, a.loop), 0);
        assert_int_equal(kill(lab->swtpm, SIGSTOP), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(fiber_spawn(ask, &a), 0);
        assert_int_equal(loop_add_timer(a.loop, &a.timer, LOOP_FATAL, on_abandon, &a), 0);
        assert_int_equal(loop_timer_arm_relative(a.timer, 100 * USEC_PER_MSEC), 0);
        usec_t began = now_boottime();
        assert_int_equal(loop_run(a.loop), 0);
        assert_true(now_boottime() - began < TCTI_ANSWER_TIMEOUT / 2);
        for (int i = 0; i < 3; i++)
                assert_true(a.results[i] < 0);
        assert_false(tpm_busy(a.tpm));
        loop_source_free(a.timer);
        tpm_free(a.tpm);
        loop_free(a.loop);
        assert_int_equal(kill(lab->swtpm, SIGCONT), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_leftovers),
                cmocka_unit_test(test_queue),
                cmocka_unit_test(test_abandoned),
                cmocka_unit_test(test_gone),
        };
        return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
