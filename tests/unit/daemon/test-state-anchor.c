/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The state of the disk while the TPM is away: what cannot be looked at is looked at later, and
 * nothing is noted over it. A real store, a real (software) TPM; who is trusted is the test's. */
#include "../platform/swtpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#include "daemon/state-anchor.h"
#include "daemon/trusted.h"

Trust *trusted_now(const Trusted *t)
{
        return NULL;
}

void trust_facts(const Trust *t, usec_t now, TrustFacts *ret)
{
        *ret = (TrustFacts){ 0 };
}

static void open_gateway(Lab *lab, Settings *settings, const char *store, Gateway *g)
{
        Reason reason = { "" };
        settings->state_directory = lab->state;
        *g = (Gateway){ .settings = settings };
        assert_int_equal(loop_new(&g->loop), 0);
        if (identity_open(lab->tcti, lab->state, &g->identity, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(identity_attach(g->identity, g->loop), 0);
        assert_int_equal(store_open(g->loop, lab_path(lab, store), 16 << 20, &g->store), 0);
}

static void close_gateway(Gateway *g)
{
        state_anchor_free(g->anchor);
        store_free(g->store);
        identity_free(g->identity);
        loop_free(g->loop);
}

static void note_now(Gateway *g)
{
        usec_t until = now_boottime() + 30 * USEC_PER_SEC;
        state_anchor_note(g->anchor);
        while (state_anchor_busy(g->anchor) && now_boottime() < until)
                sd_event_run(loop_sd_event(g->loop), 20 * USEC_PER_MSEC);
        assert_false(state_anchor_busy(g->anchor));
}

static bool replaced(const Gateway *g)
{
        json_t *status = state_anchor_status(g->anchor);
        bool is = json_is_true(json_object_get(status, "replaced"));
        json_decref(status);
        return is;
}

static void looked_at_later(void **state)
{
        Lab *lab = *state;
        Settings settings = { 0 };
        Gateway g;
        lab_create_identity(lab, true);
        open_gateway(lab, &settings, "one", &g);
        assert_int_equal(state_anchor_new(&g, &g.anchor), 0);
        assert_false(replaced(&g));
        close_gateway(&g);

        open_gateway(lab, &settings, "another", &g);
        lab_stop_tpm(lab);
        assert_int_equal(state_anchor_new(&g, &g.anchor), 0);
        note_now(&g);
        assert_false(replaced(&g)); /* not that we knew */
        lab_start_tpm(lab);
        note_now(&g);
        assert_true(replaced(&g));
        close_gateway(&g);

        /* It has been noted since. */
        open_gateway(lab, &settings, "another", &g);
        assert_int_equal(state_anchor_new(&g, &g.anchor), 0);
        assert_false(replaced(&g));
        close_gateway(&g);
}

static void replace_identity(Lab *lab)
{
        Reason reason = { "" };
        IdentityParams params = { .tcti = lab->tcti, .state_directory = lab->state, .force = true };
        _cleanup_(identity_freep) Identity *id = NULL;
        Policy policy;
        assert_int_equal(operator_key_load(lab->operator_path, params.operator_point, &reason), 0);
        assert_int_equal(pcrs_parse(IDENTITY_DEFAULT_PCRS, &params.pcrs), 0);
        if (identity_create(&params, &reason) < 0 ||
            identity_open(lab->tcti, lab->state, &id, &reason) < 0)
                fail_msg("%s", reason.text);
        lab_sign_policy(lab, id, &policy);
        assert_int_equal(identity_install_policy(id, &policy, &reason), 0);
}

/* What was noted is the old identity's, and set aside with it. */
static void another_identity(void **state)
{
        Lab *lab = *state;
        Settings settings = { 0 };
        Gateway g;
        lab_create_identity(lab, true);
        for (int i = 0; i < 2; i++) {
                open_gateway(lab, &settings, "one", &g);
                assert_int_equal(state_anchor_new(&g, &g.anchor), 0);
                note_now(&g);
                assert_false(replaced(&g));
                close_gateway(&g);
                if (i == 0)
                        replace_identity(lab);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(looked_at_later),
                cmocka_unit_test(another_identity),
        };
        return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
