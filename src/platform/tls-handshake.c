/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The handshakes, a step of one of them in a turn of the loop: a step costs as much processor time
 * as a hundred messages, and after a power cut hundreds are ready at once. Those who are connected
 * wait for one step and not for all. Who has begun comes before who has not: what has been spent on
 * it is not spent on somebody who gives up, and its memory is free again sooner. */

#include <openssl/err.h>

#include "platform/tls-internal.h"

#define PASSED_MAX 4 /* one step in so many is a first one, where there are any */

static void refuse(TlsConnection *c, const char *reason, const char *detail)
{
        TlsServer *s = c->server;
        /* However many are refused, they do not take the places of those who are let in. */
        if (s->n_strangers < s->config.handshakes_max) {
                c->stranger = true;
                s->n_strangers++;
                tls_connection_linger(c); /* the alert is on its way */
        } else {
                tls_connection_die(c);
        }
        s->port->refused(&c->peer, reason, detail, s->userdata);
}

static void establish(TlsConnection *c)
{
        TlsServer *s = c->server;
        PeerCertificate certificate;
        const char *word, *detail;
        if (!handshakes_peer(&s->handshakes, c->ssl, &certificate, &word, &detail)) {
                refuse(c, word, detail);
                return;
        }
        handshakes_forget(c->ssl);
        tls_rekey_watch(c);
        c->stage = TLS_OPEN;
        list_remove(&c->timed);
        tls_server_release(s, true);
        c->again = true; /* what came with the handshake lies in OpenSSL's buffer */
        tls_server_schedule(s, c);
        tls_connection_set_events(c, LOOP_READ);
        s->port->established(c, &certificate, s->userdata);
}

static void explain(TlsConnection *c)
{
        if (!c->refusal)
                c->refusal = calloc(1, sizeof(*c->refusal));
        if (c->refusal)
                tls_explain(c->ssl, c->refusal);
}

static void run(TlsConnection *c)
{
        ERR_clear_error();
        c->step_result = SSL_do_handshake(c->ssl);
        c->step_want = tls_connection_waits_for(c);
        if (c->step_result != 1 && c->step_want == SSL_NOTHING)
                explain(c);
        ERR_clear_error();
}

static void finish(TlsConnection *c)
{
        if (c->step_result == 1)
                establish(c);
        else if (c->step_want == SSL_READING)
                tls_connection_set_events(c, LOOP_READ);
        else if (c->step_want == SSL_WRITING)
                tls_connection_set_events(c, LOOP_WRITE);
        else if (c->refusal)
                refuse(c, c->refusal->reason, c->refusal->detail);
        else
                refuse(c, "out-of-memory", "no memory to tell why");
}

static void run_on_fiber(void *userdata)
{
        TlsConnection *c = userdata;
        run(c);
        c->on_fiber = false;
        c->step_done = true;
        tls_server_schedule(c->server, c);
}

static void step(TlsConnection *c)
{
        if (!c->key_in_tpm) {
                run(c);
                finish(c);
                return;
        }
        c->on_fiber = true;
        if (fiber_spawn(run_on_fiber, c) < 0) {
                c->on_fiber = false;
                refuse(c, "out-of-memory", "no memory for a fiber");
        }
}

static bool is_stepping(const TlsConnection *c)
{
        return c->on_fiber || c->step_done;
}

/* Nor can those who have begun, a byte at a time, keep all others out. */
static TlsConnection *next(TlsServer *s)
{
        bool first = list_empty(&s->steps_begun) ||
                     (!list_empty(&s->steps_first) && ++s->n_passed % PASSED_MAX == 0);
        return LIST_ENTRY(list_first(first ? &s->steps_first : &s->steps_begun), TlsConnection,
                          step);
}

static bool is_waiting(const TlsServer *s)
{
        return !list_empty(&s->steps_begun) || !list_empty(&s->steps_first);
}

int tls_handshake_turn(void *userdata)
{
        TlsServer *s = userdata;
        if (!is_waiting(s))
                return 0;
        TlsConnection *c = next(s);
        list_remove(&c->step);
        c->begun = true;
        step(c);
        if (is_waiting(s))
                loop_defer(s->step);
        return 0;
}

/* Whoever said nothing but its first words costs no signature any more. What others said last, an
 * alert, tells why they have gone. */
static void on_gone(TlsConnection *c)
{
        list_remove(&c->step);
        if (is_stepping(c) || !c->begun)
                tls_connection_die(c);
        else
                step(c);
}

void tls_handshake_io(TlsConnection *c, unsigned events)
{
        TlsServer *s = c->server;
        if (events & (LOOP_HANGUP | LOOP_ERROR)) {
                on_gone(c);
        } else if (!is_stepping(c) && list_empty(&c->step)) {
                tls_connection_set_events(c, 0);
                list_append(c->begun ? &s->steps_begun : &s->steps_first, &c->step);
                loop_defer(s->step);
        }
}

void tls_handshake_finish(TlsConnection *c)
{
        if (!c->step_done)
                return;
        c->step_done = false;
        tls_signing_done(c);
        if (c->stage == TLS_HANDSHAKE)
                finish(c);
}
