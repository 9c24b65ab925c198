/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Many devices at the door of a gateway whose TPM is as slow as a chip. */
#include "../unit.h"

#include <signal.h>
#include <string.h>

#include "platform/fiber.h"
#include "platform/tls-internal.h"
#include "tls-gateway.h"

#define TPM2_CC_SIGN 0x15d
#define SLOW_MS      50

static void expect_all_in(const TlsGateway *g)
{
        const LoadResult *r = &g->result;
        if (r->failed > 0 || r->in < r->clients)
                fail_msg("%u of %u in, %u failed; %s; %s", r->in, r->clients, r->failed,
                         r->reasons[0].text, g->refusal);
}

/* The last of them waits four times as long for its signature as a peer has for its handshake. */
static void all_get_in(Lab *lab, int version)
{
        TlsGateway g;
        tls_gateway_open(&g, lab,
                         &(TlsGatewayParams){ .tcti = lab->slow_tcti,
                                              .handshake_timeout = 500 * USEC_PER_MSEC });
        LoadParams p = tls_gateway_load(&g, 40);
        p.version = version;
        tls_gateway_begin(&g, NULL, &p);
        tls_gateway_run(&g);
        expect_all_in(&g);
        assert_true(g.result.wall >= 40 * SLOW_MS * USEC_PER_MSEC);
        assert_int_equal(g.established, 40);
        assert_int_equal(g.refused, 0);
        tls_gateway_close(&g);
}

static void test_all_get_in(void **state)
{
        all_get_in(*state, TLS1_3_VERSION);
        all_get_in(*state, TLS1_2_VERSION);
}

/* Nobody waits for the signatures of those who have gone. */
static void test_gone(void **state)
{
        TlsGateway g;
        Lab *lab = *state;
        tls_gateway_open(&g, lab,
                         &(TlsGatewayParams){ .tcti = lab->slow_tcti,
                                              .handshake_timeout = 10 * USEC_PER_SEC });
        LoadParams first = tls_gateway_load(&g, 100), p = tls_gateway_load(&g, 1);
        first.timeout = 200 * USEC_PER_MSEC;
        tls_gateway_begin(&g, &first, &p);
        tls_gateway_run(&g);
        expect_all_in(&g);
        assert_true(g.result.wall < 20 * SLOW_MS * USEC_PER_MSEC); /* of 100 that it would be */
        assert_true(g.refused > 50);
        assert_non_null(strstr(g.refusal, "closed"));
        tls_gateway_close(&g);
}

typedef struct Signer {
        TlsGateway *gateway;
        LoopSource *timer;
        usec_t took;
        int result;
} Signer;

static void sign(void *userdata)
{
        Signer *s = userdata;
        Reason reason;
        usec_t began = now_boottime();
        s->result = identity_check(s->gateway->identity, &reason);
        s->took = now_boottime() - began;
}

static int on_sign(void *userdata)
{
        return fiber_spawn(sign, userdata);
}

/* What else the gateway signs does not stand behind all of them. */
static void test_others_first(void **state)
{
        TlsGateway g;
        Lab *lab = *state;
        Signer s = { .gateway = &g, .result = 1 };
        tls_gateway_open(&g, lab,
                         &(TlsGatewayParams){ .tcti = lab->slow_tcti,
                                              .handshake_timeout = 10 * USEC_PER_SEC });
        LoadParams p = tls_gateway_load(&g, 40);
        assert_int_equal(loop_add_timer(g.loop, &s.timer, LOOP_FATAL, on_sign, &s), 0);
        assert_int_equal(loop_timer_arm_relative(s.timer, 300 * USEC_PER_MSEC), 0);
        tls_gateway_begin(&g, NULL, &p);
        tls_gateway_run(&g);
        expect_all_in(&g);
        assert_int_equal(s.result, 0);
        assert_true(s.took < 10 * SLOW_MS * USEC_PER_MSEC); /* of the 30 that were left */
        loop_source_free(s.timer);
        tls_gateway_close(&g);
}

static int on_end(void *userdata)
{
        tls_gateway_stop(userdata, true);
        return 0;
}

/* The end comes while they wait: no stack and no connection is left behind (sanitizers see it). */
static void test_end(void **state)
{
        TlsGateway g;
        Lab *lab = *state;
        LoopSource *timer = NULL;
        tls_gateway_open(&g, lab,
                         &(TlsGatewayParams){ .tcti = lab->slow_tcti,
                                              .handshake_timeout = 10 * USEC_PER_SEC });
        LoadParams p = tls_gateway_load(&g, 40);
        assert_int_equal(loop_add_timer(g.loop, &timer, LOOP_FATAL, on_end, &g), 0);
        assert_int_equal(loop_timer_arm_relative(timer, 400 * USEC_PER_MSEC), 0);
        tls_gateway_begin(&g, NULL, &p);
        tls_gateway_run(&g);
        assert_in_range(tls_server_connections(g.server), 10, 40);
        loop_source_free(timer);
        tls_gateway_close(&g);
}

/* The same where nobody else uses the TPM: nothing comes to wake them but the end itself. */
static void test_end_of_server(void **state)
{
        TlsGateway g;
        Lab *lab = *state;
        LoopSource *timer = NULL;
        tls_gateway_open(&g, lab,
                         &(TlsGatewayParams){ .tcti = lab->slow_tcti,
                                              .handshake_timeout = 10 * USEC_PER_SEC });
        g.server->n_signing = 1000;
        LoadParams p = tls_gateway_load(&g, 40);
        assert_int_equal(loop_add_timer(g.loop, &timer, LOOP_FATAL, on_end, &g), 0);
        assert_int_equal(loop_timer_arm_relative(timer, 400 * USEC_PER_MSEC), 0);
        tls_gateway_begin(&g, NULL, &p);
        tls_gateway_run(&g);
        assert_int_equal(tls_server_connections(g.server), 40);
        loop_source_free(timer);
        tls_gateway_close(&g);
}

/* The leaf is minted anew again and again while devices connect. */
static void test_rotation(void **state)
{
        TlsGateway g;
        Lab *lab = *state;
        tls_gateway_open(&g, lab,
                         &(TlsGatewayParams){ .tcti = lab->slow_tcti,
                                              .lifetime = USEC_PER_HOUR,
                                              .handshake_timeout = 10 * USEC_PER_SEC,
                                              .renew_every = 200 * USEC_PER_MSEC,
                                              .renew_max = 6 });
        LoadParams p = tls_gateway_load(&g, 4);
        p.repeat = 2 * USEC_PER_SEC;
        tls_gateway_begin(&g, NULL, &p);
        tls_gateway_run(&g);
        expect_all_in(&g);
        assert_in_range(g.credentials, 5, 8);
        assert_in_range(g.result.certificates, 5, 8);
        assert_int_equal(g.refused, 0);
        tls_gateway_close(&g);
}

static int setup(void **state)
{
        signal(SIGPIPE, SIG_IGN); /* as the daemon, the devices and the relay do */
        int r = lab_setup(state);
        lab_create_identity(*state, true);
        lab_start_relay(*state, SLOW_MS, TPM2_CC_SIGN);
        return r;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_get_in),    cmocka_unit_test(test_gone),
                cmocka_unit_test(test_others_first),  cmocka_unit_test(test_end),
                cmocka_unit_test(test_end_of_server), cmocka_unit_test(test_rotation),
        };
        return cmocka_run_group_tests(tests, setup, lab_teardown);
}
