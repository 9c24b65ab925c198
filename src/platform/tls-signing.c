/* SPDX-License-Identifier: GPL-3.0-or-later */
/* TLSKey=tpm: whose handshake signs in the TPM next.
 *
 * A chip makes some ten signatures a second, and after a power cut a whole plant comes at once. If
 * all of them waited for the TPM itself, most would be given up before their turn, and then be
 * signed for all the same: with more waiting than the deadline has signatures nobody would ever get
 * in. So few sign at a time and the others wait here: without a deadline, for it is not they who
 * are slow; whoever has gone meanwhile costs no signature; and what else wants the TPM, a quote or
 * the way upstream, stands behind those few and not behind the plant. */
#include <poll.h>

#include "platform/tls-internal.h"

#define SIGNERS_MAX 2 /* one in the TPM, one that is ready when it is free */

static bool still_there(const TlsConnection *c)
{
        struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };
        return c->stage == TLS_HANDSHAKE && poll(&p, 1, 0) == 0;
}

/* On its fiber, when OpenSSL has come to need the certificate: a session that is resumed does not.
 */
static int on_certificate(SSL *ssl, void *userdata)
{
        TlsConnection *c = userdata;
        TlsServer *s = c->server;
        if (!fiber_current() || c->stage != TLS_HANDSHAKE)
                return 0;
        list_remove(&c->timed);
        list_append(&s->deadlines[TLS_WAITS_FOR_US], &c->timed);
        if (s->n_signing >= SIGNERS_MAX) {
                c->waiting = fiber_current();
                fiber_yield();
                c->waiting = NULL;
        }
        if (!still_there(c))
                return -1; /* as if it waited on, with an empty error queue: the peer has closed */
        c->signing = true;
        s->n_signing++;
        return 1;
}

void tls_signing_prepare(TlsConnection *c)
{
        SSL_set_cert_cb(c->ssl, on_certificate, c);
}

static TlsConnection *first_waiting(const TlsServer *s)
{
        LIST_FOREACH (i, &s->deadlines[TLS_WAITS_FOR_US]) {
                TlsConnection *c = LIST_ENTRY(i, TlsConnection, timed);
                if (c->waiting)
                        return c;
        }
        return NULL;
}

/* The peer's time goes on where its part begins again: once in a handshake, so that it cannot gain
 * more than one more deadline by it. */
void tls_signing_done(TlsConnection *c)
{
        TlsServer *s = c->server;
        TlsConnection *next;
        if (!c->signing)
                return;
        c->signing = false;
        s->n_signing--;
        if (c->stage == TLS_HANDSHAKE)
                tls_server_watch(s, c, TLS_HANDSHAKES, s->config.handshake_timeout);
        while (s->n_signing < SIGNERS_MAX && (next = first_waiting(s)))
                fiber_resume(next->waiting);
}

void tls_signing_cancel(TlsConnection *c)
{
        if (c->waiting)
                fiber_resume(c->waiting);
}
