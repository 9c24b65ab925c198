/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "platform/tls-internal.h"

#define BACKLOG      4096
#define ACCEPT_TURN  32 /* connections accepted in one go */
#define TURN_SPAN    (5 * USEC_PER_MSEC)
#define STARVED_WAIT USEC_PER_SEC
/* A handshake takes twice the memory that its connection keeps. After so many of them, and when
 * there has been none for so long, what they have left is given back. */
#define UNTIDY_MIN  64
#define UNTIDY_WAIT USEC_PER_SEC

typedef struct Listener {
        TlsServer *server;
        List node;
        int fd;
        LoopSource *io;
} Listener;

/* However many are ready, and whatever each of them costs: everything else has its turn too. */
static int on_turn(void *userdata)
{
        TlsServer *s = userdata;
        usec_t until = now_boottime() + TURN_SPAN;
        List now = LIST_INIT(now);
        list_splice(&now, &s->ready);
        while (!list_empty(&now) && now_boottime() < until) {
                TlsConnection *c = LIST_ENTRY(list_first(&now), TlsConnection, ready);
                list_remove(&c->ready);
                tls_connection_turn(c);
        }
        list_splice(&now, &s->ready); /* behind those that still wait */
        list_splice(&s->ready, &now);
        if (!list_empty(&s->ready))
                loop_defer(s->turn);
        return 0;
}

void tls_server_schedule(TlsServer *s, TlsConnection *c)
{
        if (list_empty(&c->ready))
                list_append(&s->ready, &c->ready);
        loop_defer(s->turn);
}

static void set_accepting(TlsServer *s, bool on)
{
        s->paused = !on;
        LIST_FOREACH (i, &s->listeners)
                loop_source_set_io_events(LIST_ENTRY(i, Listener, node)->io, on ? LOOP_READ : 0);
}

static bool may_accept(const TlsServer *s)
{
        return s->starved == 0 && s->n_handshakes < s->config.handshakes_max;
}

/* Not put off by every newcomer. */
static void tick(TlsServer *s)
{
        if (s->ticking)
                return;
        s->ticking = true;
        loop_timer_arm_relative(s->timer, USEC_PER_SEC);
}

void tls_server_release(TlsServer *s, bool handshake)
{
        if (handshake) {
                s->n_handshakes--;
                s->last_ended = now_boottime();
                if (++s->n_untidy >= UNTIDY_MIN)
                        tick(s);
        }
        if (s->paused && may_accept(s))
                set_accepting(s, true);
}

void tls_server_watch(TlsServer *s, TlsConnection *c, unsigned list, usec_t span)
{
        list_remove(&c->timed);
        c->deadline = usec_add(now_boottime(), span);
        list_append(&s->deadlines[list], &c->timed);
        tick(s);
}

static void expire(List *list, usec_t now)
{
        while (!list_empty(list)) {
                TlsConnection *c = LIST_ENTRY(list_first(list), TlsConnection, timed);
                if (c->deadline > now)
                        return;
                list_remove(&c->timed);
                tls_connection_expired(c);
        }
}

static bool is_untidy(const TlsServer *s)
{
        return s->n_untidy >= UNTIDY_MIN;
}

static void tidy(TlsServer *s, usec_t now)
{
        if (!is_untidy(s) || s->n_handshakes > 0 || now < s->last_ended + UNTIDY_WAIT)
                return;
        s->n_untidy = 0;
        malloc_trim(0);
}

static int on_timer(void *userdata)
{
        TlsServer *s = userdata;
        usec_t now = now_boottime();
        s->ticking = false;
        expire(&s->deadlines[TLS_HANDSHAKES], now);
        expire(&s->deadlines[TLS_GOODBYES], now);
        if (s->starved > 0 && now >= s->starved + STARVED_WAIT) {
                s->starved = 0;
                tls_server_release(s, false);
        }
        tidy(s, now);
        if (s->starved > 0 || is_untidy(s) || !list_empty(&s->deadlines[TLS_HANDSHAKES]) ||
            !list_empty(&s->deadlines[TLS_GOODBYES]))
                tick(s);
        return 0;
}

/* Level-triggered accept would spin while there are no descriptors: wait a little. */
static void starve(TlsServer *s, int error)
{
        log_warning_errno(error, "Cannot accept connections, waiting");
        s->starved = now_boottime();
        tick(s);
}

/* A peer that came in over IPv4 through [::] is known by its IPv4 address. */
static void unmap(struct sockaddr_storage *peer)
{
        const struct sockaddr_in6 v6 = *(struct sockaddr_in6 *)peer;
        if (v6.sin6_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
                return;
        struct sockaddr_in *v4 = (struct sockaddr_in *)peer;
        memset(peer, 0, sizeof(*peer));
        v4->sin_family = AF_INET;
        v4->sin_port = v6.sin6_port;
        memcpy(&v4->sin_addr, v6.sin6_addr.s6_addr + 12, 4);
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
        if (a->ss_family != b->ss_family)
                return false;
        if (a->ss_family == AF_INET)
                return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
                       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
        return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr,
                                  &((const struct sockaddr_in6 *)b)->sin6_addr);
}

/* Those with a deadline: in the handshake or on their way out. */
static size_t count_unfinished(const TlsServer *s, const struct sockaddr_storage *peer)
{
        size_t n = 0;
        for (size_t i = 0; i < ELEMENTSOF(s->deadlines); i++)
                LIST_FOREACH (j, &s->deadlines[i])
                        n += same_address(&LIST_ENTRY(j, TlsConnection, timed)->peer, peer);
        return n;
}

static void take(TlsServer *s, int fd, struct sockaddr_storage *peer)
{
        unmap(peer);
        if (s->config.handshakes_per_address > 0 &&
            count_unfinished(s, peer) >= s->config.handshakes_per_address) {
                close(fd);
                s->port->refused(peer, "too-many-handshakes",
                                 "this address has enough connections without a session",
                                 s->userdata);
                return;
        }
        if (s->n_connections >= s->config.connections_max) {
                close(fd);
                s->port->refused(peer, "too-many-connections", "MaximumConnections= is reached",
                                 s->userdata);
                return;
        }
        int r = tls_connection_new(s, fd, peer);
        if (r >= 0)
                return;
        close(fd);
        starve(s, r);
}

static bool is_fatal(int error)
{
        return error == EBADF || error == EINVAL || error == ENOTSOCK || error == EFAULT;
}

static int on_accept(int fd, unsigned events, void *userdata)
{
        TlsServer *s = ((Listener *)userdata)->server;
        for (unsigned i = 0; i < ACCEPT_TURN && may_accept(s); i++) {
                struct sockaddr_storage peer = { 0 };
                socklen_t len = sizeof(peer);
                int peer_fd =
                        accept4(fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (peer_fd >= 0)
                        take(s, peer_fd, &peer);
                else if (errno == EAGAIN)
                        break;
                else if (is_fatal(errno))
                        return -errno;
                else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                        starve(s, -errno);
                /* Else an error of that one connection: accept(2). */
        }
        if (!may_accept(s))
                set_accepting(s, false);
        return 0;
}

int tls_server_new(Loop *loop, const TlsServerConfig *config, const TlsServerPort *port,
                   void *userdata, Reason *reason, TlsServer **ret)
{
        _cleanup_(tls_server_freep) TlsServer *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->loop = loop;
        s->port = port;
        s->userdata = userdata;
        list_init(&s->listeners);
        list_init(&s->connections);
        list_init(&s->ready);
        list_init(&s->steps_begun);
        list_init(&s->steps_first);
        for (size_t i = 0; i < TLS_DEADLINES; i++)
                list_init(&s->deadlines[i]);
        int r = handshakes_init(&s->handshakes, loop);
        if (r < 0)
                return reason_set(reason, r, "Cannot make keys for session tickets: %s",
                                  strerror(-r));
        r = tls_server_prepare(s, config, reason);
        if (r >= 0) {
                tls_server_commit(s);
                r = loop_add_deferred(loop, &s->turn, LOOP_FATAL, on_turn, s);
        }
        if (r >= 0)
                r = loop_add_deferred(loop, &s->step, LOOP_FATAL, tls_handshake_turn, s);
        if (r >= 0)
                r = loop_add_timer(loop, &s->timer, LOOP_FATAL, on_timer, s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

static Listener *listener_free(Listener *l)
{
        if (!l)
                return NULL;
        list_remove(&l->node);
        loop_source_free(l->io);
        if (l->fd >= 0)
                close(l->fd);
        free(l);
        return NULL;
}
DEFINE_CLEANUP(Listener, listener_free)

TlsServer *tls_server_free(TlsServer *s)
{
        if (!s)
                return NULL;
        LIST_FOREACH_SAFE (i, &s->listeners)
                listener_free(LIST_ENTRY(i, Listener, node));
        LIST_FOREACH_SAFE (j, &s->connections) {
                TlsConnection *c = LIST_ENTRY(j, TlsConnection, node);
                c->stage = TLS_DEAD;
                tls_signing_cancel(c);
                if (!c->on_fiber) /* else its stack still stands on it, for good */
                        tls_connection_free(c);
        }
        loop_source_free(s->turn);
        loop_source_free(s->step);
        loop_source_free(s->timer);
        tls_server_cancel(s);
        SSL_CTX_free(s->ctx);
        handshakes_done(&s->handshakes);
        credential_unref(s->credential);
        free(s);
        return NULL;
}

/* Dead connections in networks that eat packets end by themselves, idle ones included. Linux hands
 * the options of a listening socket on to those that it accepts. */
static int set_options(int fd)
{
        static const struct {
                int level, option, value;
        } options[] = {
                { SOL_SOCKET, SO_REUSEADDR, 1 },
                { IPPROTO_TCP, TCP_NODELAY, 1 },
                { SOL_SOCKET, SO_KEEPALIVE, 1 },
                { IPPROTO_TCP, TCP_KEEPIDLE, 60 },            /* seconds, */
                { IPPROTO_TCP, TCP_KEEPINTVL, 15 },           /* likewise */
                { IPPROTO_TCP, TCP_KEEPCNT, 4 },              /* probes */
                { IPPROTO_TCP, TCP_USER_TIMEOUT, 30 * 1000 }, /* milliseconds */
        };
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (setsockopt(fd, options[i].level, options[i].option, &options[i].value,
                               sizeof(options[i].value)) < 0)
                        return -errno;
        return 0;
}

static int bind_socket(const struct sockaddr *address, socklen_t len, int v6only,
                       uint16_t *ret_port)
{
        struct sockaddr_storage bound = { 0 };
        socklen_t bound_len = sizeof(bound);
        _cleanup_close_ int fd =
                socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        int r = set_options(fd);
        if (r < 0)
                return r;
        if (address->sa_family == AF_INET6 &&
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) < 0)
                return -errno;
        if (bind(fd, address, len) < 0 || listen(fd, BACKLOG) < 0 ||
            getsockname(fd, (struct sockaddr *)&bound, &bound_len) < 0)
                return -errno;
        if (ret_port) /* at the same place in both families */
                *ret_port = ntohs(((struct sockaddr_in *)&bound)->sin_port);
        return TAKE_FD(fd);
}

int tls_server_listen(TlsServer *s, const struct sockaddr *address, socklen_t len,
                      uint16_t *ret_port)
{
        _cleanup_(listener_freep) Listener *l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->server = s;
        l->fd = bind_socket(address, len, 0, ret_port);
        if (l->fd == -EADDRINUSE && address->sa_family == AF_INET6)
                l->fd = bind_socket(address, len, 1, ret_port);
        if (l->fd < 0)
                return l->fd;
        int r = loop_add_io(s->loop, &l->io, l->fd, LOOP_READ, LOOP_FATAL, on_accept, l);
        if (r < 0)
                return r;
        list_append(&s->listeners, &l->node);
        TAKE_PTR(l);
        return 0;
}

int tls_server_set_credential(TlsServer *s, Credential *credential)
{
        int r = credential_use_ctx(credential, s->ctx);
        if (r < 0)
                return r;
        credential_ref(credential);
        credential_unref(s->credential);
        s->credential = credential;
        return 0;
}

int tls_server_prepare(TlsServer *s, const TlsServerConfig *config, Reason *reason)
{
        SSL_CTX *ctx;
        tls_server_cancel(s);
        int r = tls_context_new(s, config, reason, &ctx);
        if (r < 0)
                return r;
        s->next_ctx = ctx;
        s->next_config = *config;
        trust_ref(config->trust);
        return 0;
}

void tls_server_commit(TlsServer *s)
{
        if (!s->next_ctx)
                return;
        SSL_CTX_free(s->ctx);
        s->ctx = TAKE_PTR(s->next_ctx);
        s->config = s->next_config;
        /* One for each, and as many again for those that have come back meanwhile. */
        handshakes_set_sessions_max(&s->handshakes, 2 * s->config.connections_max);
        handshakes_set_trust(&s->handshakes, s->config.trust);
        s->config.trust = trust_unref(s->config.trust);
}

void tls_server_cancel(TlsServer *s)
{
        if (!s->next_ctx)
                return;
        SSL_CTX_free(TAKE_PTR(s->next_ctx));
        s->next_config.trust = trust_unref(s->next_config.trust);
}

size_t tls_server_connections(const TlsServer *s)
{
        return s->n_connections;
}

void tls_server_handshakes(const TlsServer *s, uint64_t *ret_full, uint64_t *ret_resumed)
{
        *ret_full = s->handshakes.full;
        *ret_resumed = s->handshakes.resumed;
}
