/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>

#include "platform/ossl.h"
#include "platform/tls-internal.h"

#define RECORD_MAX     (16 * 1024) /* RFC 8446 section 5.1; also what is read in one turn */
#define LINGER_TIMEOUT (2 * USEC_PER_SEC)

static int on_io(int fd, unsigned events, void *userdata);

void tls_connection_set_events(TlsConnection *c, unsigned events)
{
        if (!c->io || events == c->events)
                return;
        c->events = events;
        loop_source_set_io_events(c->io, events);
}

static void set_events_open(TlsConnection *c)
{
        tls_connection_set_events(c, (c->stopped ? 0 : (unsigned)LOOP_READ) |
                                             (c->want_write ? (unsigned)LOOP_WRITE : 0));
}

/* Takes `fd` over when it succeeds. */
int tls_connection_new(TlsServer *s, int fd, const struct sockaddr_storage *peer)
{
        TlsConnection *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->server = s;
        c->fd = -1;
        c->peer = *peer;
        c->in = BUF_INIT(s->config.input_max);
        c->out = BUF_INIT(s->config.output_max);
        c->events = LOOP_READ;
        c->key_in_tpm = s->credential && credential_in_tpm(s->credential);
        list_init(&c->node);
        list_init(&c->ready);
        list_init(&c->timed);
        list_init(&c->step);
        ERR_clear_error();
        c->ssl = SSL_new(s->ctx);
        int r = c->ssl && SSL_set_fd(c->ssl, fd) == 1 ? 0 : -ENOMEM;
        if (r >= 0)
                r = loop_add_io(s->loop, &c->io, fd, c->events, LOOP_PEER, on_io, c);
        if (r < 0) {
                SSL_free(c->ssl);
                free(c);
                return r;
        }
        c->fd = fd;
        ossl_verify_time(SSL_get0_param(c->ssl));
        SSL_set_accept_state(c->ssl);
        if (c->key_in_tpm)
                tls_signing_prepare(c);
        list_append(&s->connections, &c->node);
        s->n_connections++;
        s->n_handshakes++;
        tls_server_watch(s, c, TLS_HANDSHAKES, s->config.handshake_timeout);
        return 0;
}

TlsConnection *tls_connection_free(TlsConnection *c)
{
        TlsServer *s = c->server;
        list_remove(&c->node);
        list_remove(&c->ready);
        list_remove(&c->timed);
        list_remove(&c->step);
        loop_source_free(c->io);
        SSL_free(c->ssl);
        close(c->fd);
        buf_done(&c->in);
        buf_done(&c->out);
        free(c->refusal);
        s->n_connections--;
        s->n_strangers -= c->stranger;
        tls_server_release(s, c->stage == TLS_HANDSHAKE);
        free(c);
        return NULL;
}

void tls_connection_die(TlsConnection *c)
{
        if (c->stage == TLS_HANDSHAKE)
                tls_server_release(c->server, true);
        c->stage = TLS_DEAD;
        list_remove(&c->timed);
        list_remove(&c->step);
        c->io = loop_source_free(c->io); /* a hang-up would be told without end */
        tls_server_schedule(c->server, c);
}

/* The last bytes would be lost if the socket were closed with input unread: the kernel would send
 * a reset. So our direction is shut and the peer's is read to its end, for a short time. */
void tls_connection_linger(TlsConnection *c)
{
        if (c->stage == TLS_HANDSHAKE)
                tls_server_release(c->server, true);
        c->stage = TLS_LINGERING;
        buf_done(&c->in);
        buf_done(&c->out);
        if (shutdown(c->fd, SHUT_WR) < 0) {
                tls_connection_die(c);
                return;
        }
        tls_server_watch(c->server, c, TLS_GOODBYES, LINGER_TIMEOUT);
        tls_connection_set_events(c, LOOP_READ);
}

static void on_lingering(TlsConnection *c)
{
        uint8_t ignored[4096];
        ssize_t n = recv(c->fd, ignored, sizeof(ignored), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                tls_connection_die(c);
}

/* The peer is gone while its owner believes in it. */
static void lost(TlsConnection *c)
{
        const TlsHandler *handler = c->handler;
        c->handler = NULL;
        tls_connection_die(c);
        if (handler)
                handler->closed(c, c->userdata);
}

/* What the call that just failed waits for: SSL_READING, SSL_WRITING, or SSL_NOTHING when it has
 * failed for good. Not SSL_get_error(): it looks into the error queue of the thread, which others
 * use too while a handshake waits on its fiber. SSL_want() alone says "reading" after a record
 * that was no TLS. */
int tls_connection_waits_for(const TlsConnection *c)
{
        return BIO_should_retry(SSL_get_rbio(c->ssl)) ? SSL_want(c->ssl) : SSL_NOTHING;
}

/* False when the connection is lost. */
static bool write_out(TlsConnection *c)
{
        c->held_up |= buf_len(&c->out) > c->out.max / 2;
        c->want_write = false;
        while (buf_len(&c->out) > 0) {
                Bytes b = buf_view(&c->out);
                size_t n = 0;
                ERR_clear_error();
                if (SSL_write_ex(c->ssl, b.data, b.len, &n) == 1) {
                        buf_consume(&c->out, n);
                        continue;
                }
                c->want_write = tls_connection_waits_for(c) == SSL_WRITING;
                c->held_up = true;
                ERR_clear_error();
                return c->want_write;
        }
        buf_trim(&c->out);
        return true;
}

static void flush_open(TlsConnection *c)
{
        if (!write_out(c)) {
                lost(c);
                return;
        }
        set_events_open(c);
        if (!c->held_up || buf_len(&c->out) > 0)
                return;
        c->held_up = false;
        if (c->handler)
                c->handler->drained(c, c->userdata);
}

/* Everything that its owner wrote is out: a close_notify, then the end. */
static void flush_closing(TlsConnection *c)
{
        if (!write_out(c)) {
                tls_connection_die(c);
        } else if (buf_len(&c->out) > 0) {
                tls_connection_set_events(c, LOOP_WRITE);
        } else {
                ERR_clear_error();
                SSL_shutdown(c->ssl);
                ERR_clear_error();
                tls_connection_linger(c);
        }
}

static void read_in(TlsConnection *c)
{
        uint8_t *p;
        size_t room = c->in.max - buf_len(&c->in), total = 0, n;
        while (total < RECORD_MAX && total < room) {
                size_t want = MIN((size_t)RECORD_MAX, room - total);
                if (buf_reserve(&c->in, want, &p) < 0) {
                        c->eof = true;
                        return;
                }
                ERR_clear_error();
                if (SSL_read_ex(c->ssl, p, want, &n) != 1) {
                        c->eof = tls_connection_waits_for(c) == SSL_NOTHING;
                        ERR_clear_error();
                        return;
                }
                buf_commit(&c->in, n);
                total += n;
                if (!SSL_has_pending(c->ssl))
                        return; /* the socket tells when there is more */
        }
        c->again = true; /* there may be more, which the socket does not tell */
}

/* Gives the owner its turn. */
static void hand_over(TlsConnection *c)
{
        TlsInput r = c->handler->input(c, c->userdata);
        if (c->stage != TLS_OPEN)
                return;
        c->stopped = r == TLS_INPUT_STOP;
        c->again = !c->stopped && (c->again || r == TLS_INPUT_AGAIN);
        if (c->eof && r == TLS_INPUT_MORE) {
                lost(c);
                return;
        }
        if (buf_len(&c->in) == 0)
                buf_trim(&c->in);
        if (c->again)
                tls_server_schedule(c->server, c);
        set_events_open(c);
}

static void read_open(TlsConnection *c)
{
        if (!c->handler)
                return;
        if (!c->eof)
                read_in(c);
        hand_over(c);
}

static void on_open(TlsConnection *c, unsigned events)
{
        if (c->stopped && events & (LOOP_HANGUP | LOOP_ERROR)) {
                lost(c);
                return;
        }
        if (events & LOOP_WRITE)
                flush_open(c);
        if (c->stage == TLS_OPEN && !c->stopped && events & ~(unsigned)LOOP_WRITE)
                read_open(c);
}

static int on_io(int fd, unsigned events, void *userdata)
{
        TlsConnection *c = userdata;
        switch (c->stage) {
        case TLS_HANDSHAKE:
                tls_handshake_io(c, events);
                break;
        case TLS_OPEN:
                on_open(c, events);
                break;
        case TLS_FLUSHING:
                if (events & (LOOP_HANGUP | LOOP_ERROR))
                        tls_connection_die(c);
                else
                        flush_closing(c);
                break;
        case TLS_LINGERING:
                on_lingering(c);
                break;
        case TLS_DEAD:
                break;
        }
        return 0;
}

void tls_connection_turn(TlsConnection *c)
{
        if (c->stage == TLS_DEAD)
                tls_signing_cancel(c);
        if (c->on_fiber)
                return;
        tls_handshake_finish(c);
        if (c->stage == TLS_OPEN)
                flush_open(c);
        if (c->stage == TLS_OPEN && c->again) {
                c->again = false;
                read_open(c);
        }
        if (c->stage == TLS_FLUSHING)
                flush_closing(c);
        if (c->stage == TLS_DEAD)
                tls_connection_free(c);
}

void tls_connection_expired(TlsConnection *c)
{
        TlsServer *s = c->server;
        bool in_handshake = c->stage == TLS_HANDSHAKE;
        tls_connection_die(c);
        if (in_handshake)
                s->port->refused(&c->peer, "timeout", "the handshake took too long", s->userdata);
}

void tls_connection_set_handler(TlsConnection *c, const TlsHandler *handler, void *userdata)
{
        c->handler = handler;
        c->userdata = userdata;
}

const struct sockaddr_storage *tls_connection_peer(const TlsConnection *c)
{
        return &c->peer;
}

Buf *tls_connection_input(TlsConnection *c)
{
        return &c->in;
}

Buf *tls_connection_output(TlsConnection *c)
{
        return &c->out;
}

void tls_connection_flush(TlsConnection *c)
{
        tls_server_schedule(c->server, c);
}

void tls_connection_resume(TlsConnection *c)
{
        if (!c->stopped)
                return;
        c->stopped = false;
        c->again = true;
        tls_server_schedule(c->server, c);
}

void tls_connection_close(TlsConnection *c)
{
        c->handler = NULL;
        if (c->stage != TLS_OPEN)
                return;
        c->stage = TLS_FLUSHING;
        tls_connection_set_events(c, 0);
        tls_server_watch(c->server, c, TLS_GOODBYES, LINGER_TIMEOUT);
        tls_server_schedule(c->server, c);
}
