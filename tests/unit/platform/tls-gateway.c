/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tls-gateway.h"

static const char *const names[] = { "gw.example", "127.0.0.1" };

/* --- the door -------------------------------------------------------------------------------- */

static TlsInput on_input(TlsConnection *c, void *userdata)
{
        static const uint8_t connack[] = { 0x20, 2, 0, 0 };
        Buf *in = tls_connection_input(c);
        if (buf_len(in) >= 2 && buf_view(in).data[0] == 0x10) {
                buf_append(tls_connection_output(c), BYTES(connack, sizeof(connack)));
                tls_connection_flush(c);
        }
        buf_clear(in);
        return TLS_INPUT_MORE;
}

static void on_drained(TlsConnection *c, void *userdata)
{
}

static void on_closed(TlsConnection *c, void *userdata)
{
}

static void on_established(TlsConnection *c, const PeerCertificate *certificate, void *userdata)
{
        static const TlsHandler handler = { on_input, on_drained, on_closed };
        ((TlsGateway *)userdata)->established++;
        tls_connection_set_handler(c, &handler, userdata);
}

static void on_refused(const struct sockaddr_storage *peer, const char *reason, const char *detail,
                       void *userdata)
{
        TlsGateway *g = userdata;
        g->refused++;
        snprintf(g->refusal, sizeof(g->refusal), "%s: %s", reason, detail);
}

static void open_server(TlsGateway *g, usec_t handshake_timeout)
{
        static const TlsServerPort port = { on_established, on_refused };
        const struct sockaddr_in a = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        Reason reason;
        FILE *f = fopen(g->trust, "we");
        assert_non_null(f);
        assert_int_equal(PEM_write_X509(f, g->lab->ca), 1);
        fclose(f);
        _cleanup_(trust_unrefp) Trust *trust = NULL;
        const TrustFiles files = { .authorities = g->trust };
        if (trust_new(&files, &reason, &trust) < 0)
                fail_msg("%s", reason.text);
        const TlsServerConfig config = { .trust = trust,
                                         .connections_max = 1000,
                                         .tls12 = true,
                                         .handshakes_max = 256,
                                         .handshake_timeout = handshake_timeout,
                                         .input_max = 4096,
                                         .output_max = 4096 };
        if (tls_server_new(g->loop, &config, &port, g, &reason, &g->server) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(
                tls_server_listen(g->server, (const struct sockaddr *)&a, sizeof(a), &g->port), 0);
}

static void on_credential(Credential *c, void *userdata)
{
        TlsGateway *g = userdata;
        assert_int_equal(tls_server_set_credential(g->server, c), 0);
        g->credentials++;
}

static int on_renew(void *userdata)
{
        TlsGateway *g = userdata;
        if (g->credentials > g->renew_max)
                return 0;
        minter_renew(g->minter);
        return loop_timer_arm_relative(g->renew_timer, g->renew_every);
}

static void open_minter(TlsGateway *g, usec_t lifetime)
{
        Reason reason;
        const MinterParams params = { .identity = g->identity,
                                      .loop = g->loop,
                                      .names = names,
                                      .n_names = ELEMENTSOF(names),
                                      .lifetime = lifetime,
                                      .handler = on_credential,
                                      .userdata = g };
        if (minter_new(&params, &g->minter, &reason) < 0)
                fail_msg("%s", reason.text);
        if (g->renew_every == 0)
                return;
        assert_int_equal(loop_add_timer(g->loop, &g->renew_timer, LOOP_FATAL, on_renew, g), 0);
        assert_int_equal(loop_timer_arm_relative(g->renew_timer, g->renew_every), 0);
}

static void show_identity(TlsGateway *g)
{
        Credential *c = NULL;
        assert_int_equal(credential_new(identity_pkey(g->identity), identity_leaf(g->identity),
                                        identity_chain(g->identity), true, &c),
                         0);
        on_credential(c, g);
        credential_unref(c);
}

void tls_gateway_open(TlsGateway *g, Lab *lab, const TlsGatewayParams *p)
{
        Reason reason;
        *g = (TlsGateway){ .lab = lab, .renew_every = p->renew_every, .renew_max = p->renew_max };
        snprintf(g->trust, sizeof(g->trust), "%s", lab_path(lab, "trust.pem"));
        assert_int_equal(loop_new(&g->loop), 0);
        if (identity_open(p->tcti, lab->state, &g->identity, &reason) < 0)
                fail_msg("%s", reason.text);
        lab_enroll(lab, g->identity, p->lifetime > 0);
        assert_int_equal(identity_attach(g->identity, g->loop), 0);
        open_server(g, p->handshake_timeout);
        if (p->lifetime > 0)
                open_minter(g, p->lifetime);
        else
                show_identity(g);
}

static int on_wait(void *userdata)
{
        TlsGateway *g = userdata;
        if (!identity_busy(g->identity)) {
                loop_exit(g->loop, 0);
                return 0;
        }
        return loop_timer_arm_relative(g->renew_timer, 5 * USEC_PER_MSEC);
}

void tls_gateway_stop(TlsGateway *g, bool abandon)
{
        if (abandon)
                identity_abandon(g->identity);
        loop_source_free(g->renew_timer);
        assert_int_equal(loop_add_timer(g->loop, &g->renew_timer, LOOP_FATAL, on_wait, g), 0);
        assert_int_equal(loop_timer_arm_relative(g->renew_timer, 0), 0);
}

void tls_gateway_close(TlsGateway *g)
{
        loop_source_free(g->load_io);
        if (g->load > 0) {
                kill(g->load, SIGKILL);
                waitpid(g->load, NULL, 0);
        }
        minter_free(g->minter);
        tls_server_free(g->server);
        identity_free(g->identity);
        loop_source_free(g->renew_timer);
        loop_free(g->loop);
}

/* --- the devices ----------------------------------------------------------------------------- */

LoadParams tls_gateway_load(const TlsGateway *g, unsigned clients)
{
        LoadParams p = { .clients = clients,
                         .name = "device",
                         .issuer = g->lab->ca,
                         .issuer_key = g->lab->ca_key,
                         .trust_file = g->trust,
                         .host = g->minter ? names[0] : "gateway-1",
                         .version = TLS1_3_VERSION,
                         .to_len = sizeof(struct sockaddr_in),
                         .timeout = 60 * USEC_PER_SEC };
        *(struct sockaddr_in *)&p.to = (struct sockaddr_in){
                .sin_family = AF_INET,
                .sin_port = htons(g->port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        return p;
}

static int on_result(int fd, unsigned events, void *userdata)
{
        TlsGateway *g = userdata;
        assert_int_equal(read(fd, &g->result, sizeof(g->result)), sizeof(g->result));
        close(fd);
        g->load_io = loop_source_free(g->load_io);
        waitpid(g->load, NULL, 0);
        g->load = 0;
        tls_gateway_stop(g, false);
        return 0;
}

void tls_gateway_begin(TlsGateway *g, const LoadParams *first, const LoadParams *p)
{
        int fds[2];
        LoadResult result = { 0 };
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        g->load = fork();
        if (g->load == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (first)
                        load_run(first, &result);
                load_run(p, &result);
                _exit(write(fds[1], &result, sizeof(result)) != sizeof(result));
        }
        close(fds[1]);
        assert_int_equal(
                loop_add_io(g->loop, &g->load_io, fds[0], LOOP_READ, LOOP_FATAL, on_result, g), 0);
}

void tls_gateway_run(TlsGateway *g)
{
        assert_int_equal(loop_run(g->loop), 0);
}
