/* SPDX-License-Identifier: GPL-3.0-or-later */
/* rotation-gateway CLIENTS SECONDS LIFETIME-MS DELAY-MS: a gateway's door on a software TPM that
 * takes so long for a signature, whose leaf lives so long, and clients that connect again and
 * again. Run by tests/bench/rotation; one JSON object on the standard output. */
#include "../unit/unit.h"

#include <signal.h>

#include "base/str.h"
#include "tls-gateway.h"

#define TPM2_CC_SIGN 0x15d

static const char *const *arguments;

static uint32_t argument(int i)
{
        uint32_t n = 0;
        assert_int_equal(parse_u32(arguments[i], 1, 1000000, &n), 0);
        return n;
}

static void print(TlsGateway *g)
{
        LoopGaps gaps;
        loop_gaps(g->loop, &gaps);
        printf("{\"rotations\": %u, \"refused\": %u, \"refusal\": \"%s\", \"held_ms\": %.1f, "
               "\"work_ms\": %.1f, \"load\": ",
               g->credentials - 1, g->refused, g->refusal, (double)gaps.max / 1000,
               (double)gaps.cpu_max / 1000);
        load_print(&g->result, stdout);
        puts("}");
}

static void run(void **state)
{
        TlsGateway g;
        Lab *lab = *state;
        tls_gateway_open(&g, lab,
                         &(TlsGatewayParams){ .tcti = lab->slow_tcti,
                                              .lifetime = argument(3) * USEC_PER_MSEC,
                                              .handshake_timeout = 10 * USEC_PER_SEC });
        LoadParams p = tls_gateway_load(&g, argument(1));
        p.repeat = argument(2) * USEC_PER_SEC;
        p.timeout = p.repeat + 30 * USEC_PER_SEC;
        tls_gateway_begin(&g, NULL, &p);
        tls_gateway_run(&g);
        print(&g);
        tls_gateway_close(&g);
}

static int setup(void **state)
{
        signal(SIGPIPE, SIG_IGN);
        int r = lab_setup(state);
        lab_create_identity(*state, true);
        lab_start_relay(*state, argument(4), TPM2_CC_SIGN);
        return r;
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(run) };
        arguments = (const char *const *)argv;
        return argc == 5 ? cmocka_run_group_tests(tests, setup, lab_teardown) : 2;
}
