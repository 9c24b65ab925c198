/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-peer.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>

#define READ_SIZE  ((size_t)16 * 1024) /* a whole record */
#define READ_AHEAD ((size_t)64 * 1024) /* many of them in one call */
#define IN_MAX     ((size_t)1 << 20)
#define OUT_MAX    ((size_t)16 << 20)
#define KEEP_ALIVE 600 /* no run is so long */

static const char *const stage_names[] = {
        [PEER_CLOSED] = "closed",   [PEER_TCP] = "TCP connect", [PEER_TLS] = "TLS handshake",
        [PEER_CONNACK] = "CONNACK", [PEER_UP] = "in",
};

static void watch(Peer *p, uint32_t events, int operation)
{
        struct epoll_event e = { .events = events, .data.ptr = p };
        if (operation == EPOLL_CTL_MOD && events == p->events)
                return;
        p->events = events;
        if (epoll_ctl(p->target->epoll, operation, p->fd, &e) < 0)
                err(2, "epoll_ctl");
}

static void drop(Peer *p)
{
        SSL_free(p->ssl);
        p->ssl = NULL;
        if (p->fd >= 0)
                close(p->fd);
        p->fd = -1;
        X509_free(p->certificate);
        EVP_PKEY_free(p->key);
        p->certificate = NULL;
        p->key = NULL;
        buf_done(&p->in);
        buf_done(&p->out);
        p->stage = PEER_CLOSED;
}

static void lose(Peer *p, const char *why)
{
        char text[128];
        snprintf(text, sizeof(text), "%s: %s", stage_names[p->stage], why);
        drop(p);
        ERR_clear_error();
        p->port->lost(p, text);
}

static void lose_tls(Peer *p)
{
        const char *text = ERR_reason_error_string(ERR_peek_error());
        lose(p, text ? text : "connection closed");
}

/* A socket stays in the namespace that it was made in. */
static int connect_there(const PeerTarget *t, unsigned number)
{
        if (t->netns < 0)
                return load_connect(t->load, number);
        int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (here < 0 || setns(t->netns, CLONE_NEWNET) < 0)
                err(2, "cannot go into the other network");
        int fd = load_connect(t->load, number);
        if (setns(here, CLONE_NEWNET) < 0)
                err(2, "cannot come back from the other network");
        close(here);
        return fd;
}

void peer_open(Peer *p, const PeerTarget *target, const PeerPort *port, unsigned number,
               const char *id, X509 *certificate, EVP_PKEY *key)
{
        *p = (Peer){ .target = target,
                     .port = port,
                     .stage = PEER_TCP,
                     .number = number,
                     .certificate = certificate,
                     .key = key,
                     .in = BUF_INIT(IN_MAX),
                     .out = BUF_INIT(OUT_MAX) };
        snprintf(p->id, sizeof(p->id), "%s", id);
        p->fd = connect_there(target, number);
        if (p->fd < 0)
                lose(p, strerror(-p->fd));
        else
                watch(p, EPOLLOUT, EPOLL_CTL_ADD);
}

static void begin_tls(Peer *p)
{
        int error = 0;
        socklen_t size = sizeof(error);
        getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) {
                lose(p, strerror(error));
                return;
        }
        p->ssl = SSL_new(p->target->ctx);
        if (!p->ssl || SSL_set_fd(p->ssl, p->fd) != 1 ||
            SSL_use_certificate(p->ssl, p->certificate) != 1 ||
            SSL_use_PrivateKey(p->ssl, p->key) != 1)
                errx(2, "cannot set up TLS");
        SSL_set_mode(p->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_set_read_ahead(p->ssl, 1);
        SSL_set_default_read_buffer_len(p->ssl, READ_AHEAD);
        SSL_set_connect_state(p->ssl);
        p->stage = PEER_TLS;
}

static bool wants_more(Peer *p, int result, uint32_t *events)
{
        int e = SSL_get_error(p->ssl, result);
        if (e == SSL_ERROR_WANT_WRITE)
                *events |= EPOLLOUT;
        return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE;
}

static void shake_hands(Peer *p)
{
        uint32_t events = EPOLLIN;
        ERR_clear_error();
        int r = SSL_do_handshake(p->ssl);
        if (r != 1) {
                if (wants_more(p, r, &events))
                        watch(p, events, EPOLL_CTL_MOD);
                else
                        lose_tls(p);
                return;
        }
        p->stage = PEER_CONNACK;
        wire_connect(&p->out, p->target->version, p->id, KEEP_ALIVE);
        peer_flush(p);
}

void peer_flush(Peer *p)
{
        uint32_t events = EPOLLIN;
        if (p->stage < PEER_CONNACK)
                return;
        while (buf_len(&p->out) > 0) {
                Bytes b = buf_view(&p->out);
                ERR_clear_error();
                int r = SSL_write(p->ssl, b.data, (int)b.len);
                if (r > 0) {
                        buf_consume(&p->out, (size_t)r);
                        continue;
                }
                if (!wants_more(p, r, &events)) {
                        lose_tls(p);
                        return;
                }
                break;
        }
        watch(p, events, EPOLL_CTL_MOD);
}

static void take(Peer *p, const WirePacket *packet)
{
        char text[64];
        if (p->stage == PEER_UP && packet->type != WIRE_DISCONNECT) {
                p->port->packet(p, packet);
        } else if (p->stage == PEER_CONNACK && packet->type == WIRE_CONNACK &&
                   packet->reason == 0) {
                p->stage = PEER_UP;
                p->port->up(p);
        } else {
                snprintf(text, sizeof(text), "%s with 0x%02x",
                         packet->type == WIRE_DISCONNECT ? "disconnected" : "refused",
                         packet->reason);
                lose(p, text);
        }
}

static void take_packets(Peer *p)
{
        WirePacket packet;
        while (p->stage >= PEER_CONNACK) {
                ssize_t n = wire_read(buf_view(&p->in), p->target->version, &packet);
                if (n == 0)
                        return;
                if (n < 0) {
                        lose(p, "not MQTT");
                        return;
                }
                take(p, &packet);
                if (p->stage != PEER_CLOSED)
                        buf_consume(&p->in, (size_t)n);
        }
}

static void read_in(Peer *p)
{
        uint32_t events = EPOLLIN;
        while (p->stage >= PEER_CONNACK) {
                uint8_t *to;
                if (buf_reserve(&p->in, READ_SIZE, &to) < 0) {
                        lose(p, "a packet larger than it can be");
                        return;
                }
                ERR_clear_error();
                int r = SSL_read(p->ssl, to, (int)READ_SIZE);
                if (r <= 0) {
                        if (!wants_more(p, r, &events))
                                lose_tls(p);
                        return;
                }
                buf_commit(&p->in, (size_t)r);
                take_packets(p);
                /* Whether the socket has more is for epoll to say. */
                if (p->stage >= PEER_CONNACK && !SSL_has_pending(p->ssl))
                        return;
        }
}

void peer_event(Peer *p)
{
        if (p->stage == PEER_TCP)
                begin_tls(p);
        if (p->stage == PEER_TLS)
                shake_hands(p);
        read_in(p);
        if (p->stage >= PEER_CONNACK && (buf_len(&p->out) > 0 || p->events & EPOLLOUT))
                peer_flush(p);
}

void peer_close(Peer *p)
{
        if (p->stage == PEER_UP) {
                wire_disconnect(&p->out);
                peer_flush(p);
        }
        if (p->stage == PEER_UP)
                SSL_shutdown(p->ssl);
        ERR_clear_error();
        drop(p);
}
