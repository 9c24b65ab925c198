/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Known problems of libcoap (4.3.1 on Debian 12, 4.3.4 on 13) and where each is kept out:
 *
 * - 100 unfinished handshakes lock every other new client out for half a minute: the limit is
 *   raised to what cookie-less senders cannot fill cheaply (coapserver_new()); what is expensive,
 *   an SSL, is counted on its own and only exists after the cookie (coapserver-dtls.c).
 * - A device that reboots onto the same port is ignored until the idle timeout:
 * coapserver_suspect().
 * - Sessions with tickets fail without a session-id context, a stale OpenSSL error queue ends
 *   sessions, the callback for names is skipped on resumption: coapserver-dtls.c.
 * - Bursts overflow the socket: coapserver_listen() raises its buffer. A socket error keeps the
 * epoll set readable for ever: clear_socket_errors().
 * - A session is used after it was closed inside a callback: nothing is sent or closed there.
 * - Sending on a session that was closed makes libcoap open a client handshake to the device: the
 *   peer ends with COAP_EVENT_DTLS_CLOSED and nothing is sent for it after that.
 * - Fixed in Debian 13 alone: CVE-2024-31031 and CVE-2026-29013 (options changed in place, cache
 *   keys), CVE-2025-34468 (host names), CVE-2024-0962 and CVE-2025-59391 (OSCORE). Block-wise
 *   transfer, observe, the cache, proxying, OSCORE and name resolution of libcoap stay unused.
 * - Its timers run on CLOCK_REALTIME. A clock that jumps ahead ends idle sessions (devices are
 * told); one that jumps back delays repetitions. What decides anything here runs on CLOCK_BOOTTIME.
 * - CVE-2025-65493 to -65501 (unchecked results in its OpenSSL callbacks): verification is ours.
 */
#include "platform/coapserver-internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"

#define COOKIELESS_MAX 20000
#define RECEIVE_BUFFER (4 << 20)
/* Datagrams from one endpoint before anybody else has a turn. */
#define BATCH 8
/* How long the old peer has to answer when its address begins a new handshake, and how often that
 * is asked: a forged handshake must not make the gateway ping a device more often than this. */
#define SUSPECT_TIME     USEC_PER_SEC
#define SUSPECT_INTERVAL (5 * USEC_PER_SEC)
/* Who has been silent for this long gives way when the table is full. */
#define EVICT_AFTER USEC_PER_MIN

CoapPeer *coapserver_peer_of(coap_session_t *session)
{
        return session ? coap_session_get_app_data(session) : NULL;
}

/* Each list has one constant delay, so its head is due first. */
void coapserver_arm(CoapServer *s)
{
        usec_t at = USEC_INFINITY;
        List *i;
        if ((i = list_first(&s->acks)))
                at = MIN(at, LIST_ENTRY(i, CoapTicket, due)->ack_at);
        if ((i = list_first(&s->bodies)))
                at = MIN(at, LIST_ENTRY(i, CoapPeer, body_link)->body_until);
        if ((i = list_first(&s->suspects)))
                at = MIN(at, LIST_ENTRY(i, CoapPeer, suspect_link)->suspect_until);
        if (at == USEC_INFINITY)
                loop_timer_disarm(s->timer);
        else
                loop_timer_arm(s->timer, at);
}

/* ---- peers ---- */

static CoapPeer *peer_new(CoapServer *s, coap_session_t *session)
{
        CoapPeer *p = calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        p->server = s;
        p->session = session;
        p->heard = loop_now(s->loop);
        p->ping_mid = COAP_INVALID_MID;
        p->body = (BlockBody){ .buf = BUF_INIT(s->options.max_body) };
        list_init(&p->exchanges);
        list_append(&s->peers, &p->link);
        coap_session_set_app_data(session, p);
        s->stats.sessions++;
        return p;
}

static void cancel_exchanges(CoapPeer *p)
{
        for (List *i; (i = list_first(&p->exchanges));) {
                CoapTicket *x = LIST_ENTRY(i, CoapTicket, link);
                void *operation = x->operation;
                exchange_free(x);
                if (operation)
                        p->server->port.cancelled(operation, p->server->port.userdata);
        }
}

static void peer_end(CoapPeer *p)
{
        CoapServer *s = p->server;
        cancel_exchanges(p);
        coapserver_body_drop(p);
        list_remove(&p->link);
        list_remove(&p->suspect_link);
        list_remove(&p->closing_link);
        s->stats.sessions--;
        if (p->data)
                s->port.disconnected(p->data, s->port.userdata);
        free(p->large.data);
        free(p);
}

void coapserver_close(CoapPeer *p)
{
        if (p->closing || p->server->ending)
                return;
        p->closing = true;
        list_append(&p->server->closing, &p->closing_link);
        loop_defer(p->server->work);
}

void coapserver_heard(CoapPeer *p)
{
        CoapServer *s = p->server;
        p->heard = loop_now(s->loop);
        list_remove(&p->link);
        list_append(&s->peers, &p->link);
        p->ping_due = false;
        list_remove(&p->suspect_link);
}

void coapserver_suspect(CoapPeer *p)
{
        CoapServer *s = p->server;
        usec_t now = loop_now(s->loop);
        if (p->closing || !list_empty(&p->suspect_link) ||
            (p->suspect_last > 0 && now - p->suspect_last < SUSPECT_INTERVAL))
                return;
        p->suspect_last = now;
        p->suspect_until = usec_add(now, SUSPECT_TIME);
        p->ping_due = true;
        list_append(&s->suspects, &p->suspect_link);
        coapserver_arm(s);
        loop_defer(s->work);
}

static bool make_room(CoapServer *s)
{
        if (s->stats.sessions < s->options.max_sessions)
                return true;
        List *i = list_first(&s->peers);
        CoapPeer *oldest = i ? LIST_ENTRY(i, CoapPeer, link) : NULL;
        if (!oldest || loop_now(s->loop) - oldest->heard < EVICT_AFTER)
                return false;
        coapserver_close(oldest);
        return true;
}

/* An endpoint on [::] takes IPv4 as well: everybody above knows such a peer by its IPv4 address. */
static void unmap(struct sockaddr_storage *a)
{
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)a;
        if (a->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
                return;
        struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = six->sin6_port };
        memcpy(&four.sin_addr, six->sin6_addr.s6_addr + 12, 4);
        *a = (struct sockaddr_storage){ 0 };
        memcpy(a, &four, sizeof(four));
}

struct sockaddr_storage coapserver_remote(const coap_session_t *session)
{
        const coap_address_t *a = coap_session_get_addr_remote(session);
        struct sockaddr_storage from = { 0 };
        memcpy(&from, &a->addr, MIN((size_t)a->size, sizeof(from)));
        unmap(&from);
        return from;
}

static void reject(CoapServer *s, coap_session_t *session)
{
        CoapPeer *p = peer_new(s, session);
        if (p)
                coapserver_close(p);
        /* Without memory the session stays open without a peer: its requests go nowhere. */
}

void coapserver_reject(CoapServer *s, coap_session_t *session, const char *reason,
                       const char *detail)
{
        struct sockaddr_storage from = coapserver_remote(session);
        s->stats.refused++;
        s->port.refused(&from, reason, detail, s->port.userdata);
        reject(s, session);
}

void coapserver_connected(CoapServer *s, coap_session_t *session, const PeerCertificate *c)
{
        struct sockaddr_storage from = coapserver_remote(session);
        if (!make_room(s)) {
                coapserver_reject(s, session, "too-many-sessions",
                                  "every session is taken and in use");
                return;
        }
        CoapPeer *p = peer_new(s, session);
        if (!p)
                return;
        /* One more than the default, so that a ping does not wait for an open response. */
        coap_session_set_nstart(session, 2);
        p->data = s->port.connected(p, c, &from, s->port.userdata);
        if (!p->data) {
                s->stats.refused++;
                coapserver_close(p);
        }
}

/* ---- libcoap's callbacks ---- */

static int on_event(coap_session_t *session, const coap_event_t event)
{
        CoapServer *s = coap_get_app_data(coap_session_get_context(session));
        if (event == COAP_EVENT_DTLS_CONNECTED) {
                if (!coapserver_peer_of(session))
                        coapserver_dtls_connected(s, session);
        } else if (event == COAP_EVENT_DTLS_CLOSED || event == COAP_EVENT_SERVER_SESSION_DEL) {
                CoapPeer *p = coapserver_peer_of(session);
                coap_session_set_app_data(session, NULL);
                if (p)
                        peer_end(p);
        }
        return 0;
}

/* All methods of all resources. An empty non-confirmable response is one that libcoap drops: ours
 * goes out with coapserver_flush(). */
static void on_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *pdu,
                       const coap_string_t *query, coap_pdu_t *response)
{
        coap_pdu_set_type(response, COAP_MESSAGE_NON);
        coap_pdu_set_code(response, COAP_EMPTY_CODE);
        CoapPeer *p = coapserver_peer_of(session);
        if (p && !p->closing)
                coapserver_request(p, pdu);
}

static void on_answer_to_ping(coap_session_t *session, coap_mid_t mid)
{
        CoapPeer *p = coapserver_peer_of(session);
        if (p && p->ping_mid != COAP_INVALID_MID && p->ping_mid == mid)
                coapserver_heard(p);
}

/* The answer to a ping is a reset (RFC 7252 section 4.3). */
static void on_nack(coap_session_t *session, const coap_pdu_t *sent,
                    const coap_nack_reason_t reason, const coap_mid_t mid)
{
        if (reason == COAP_NACK_RST)
                on_answer_to_ping(session, mid);
}

static void on_pong(coap_session_t *session, const coap_pdu_t *received, const coap_mid_t mid)
{
        on_answer_to_ping(session, mid);
}

/* ---- the loop ---- */

static void disconnect(CoapPeer *p)
{
        coap_tls_library_t library;
        SSL *ssl = coap_session_get_tls(p->session, &library);
        if (ssl && p->silent)
                SSL_set_quiet_shutdown(ssl, 1);
        coap_session_disconnected(p->session, COAP_NACK_TLS_FAILED);
}

static void send_pings(CoapServer *s)
{
        LIST_FOREACH_SAFE (i, &s->suspects) {
                CoapPeer *p = LIST_ENTRY(i, CoapPeer, suspect_link);
                if (!p->ping_due)
                        continue;
                p->ping_due = false;
                p->ping_mid = coap_session_send_ping(p->session);
                if (p->ping_mid == COAP_INVALID_MID) /* the session may be gone, and the list */
                        break;
        }
}

static int on_work(void *userdata)
{
        CoapServer *s = userdata;
        for (List *i; (i = list_first(&s->outbox));) {
                list_remove(i);
                exchange_send(LIST_ENTRY(i, CoapTicket, out));
        }
        send_pings(s);
        bool closed = false;
        for (List *i; (i = list_first(&s->closing)); closed = true) {
                list_remove(i);
                disconnect(LIST_ENTRY(i, CoapPeer, closing_link));
        }
        if (closed) /* libcoap frees closed sessions on its next turn */
                coap_io_do_epoll(s->context, NULL, 0);
        coapserver_arm(s);
        return 0;
}

static void take_due(CoapServer *s, usec_t now)
{
        List *i;
        while ((i = list_first(&s->acks)) && LIST_ENTRY(i, CoapTicket, due)->ack_at <= now) {
                list_remove(i);
                list_append(&s->outbox, &LIST_ENTRY(i, CoapTicket, due)->out);
        }
        while ((i = list_first(&s->bodies)) &&
               LIST_ENTRY(i, CoapPeer, body_link)->body_until <= now)
                coapserver_body_drop(LIST_ENTRY(i, CoapPeer, body_link));
        while ((i = list_first(&s->suspects)) &&
               LIST_ENTRY(i, CoapPeer, suspect_link)->suspect_until <= now) {
                CoapPeer *p = LIST_ENTRY(i, CoapPeer, suspect_link);
                list_remove(i);
                p->silent = true;
                s->stats.rebooted++;
                coapserver_close(p);
        }
}

static int on_timer(void *userdata)
{
        CoapServer *s = userdata;
        take_due(s, loop_now(s->loop));
        return on_work(s);
}

static void clear_socket_errors(CoapServer *s)
{
        for (size_t i = 0; i < s->n_endpoints; i++) {
                int error = 0;
                socklen_t len = sizeof(error);
                if (getsockopt(s->endpoints[i], SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
                    error != 0)
                        s->stats.socket_errors++;
        }
}

/* What coap_io_process() does, with several datagrams a turn and without waiting. */
static int on_io(int fd, unsigned events, void *userdata)
{
        CoapServer *s = userdata;
        struct epoll_event in[COAPSERVER_ENDPOINTS_MAX + 1];
        struct epoll_event out[ELEMENTSOF(in) * BATCH];
        int n = epoll_wait(fd, in, ELEMENTSOF(in), 0);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        size_t n_out = 0;
        for (int i = 0; i < n; i++) {
                if (in[i].events & (EPOLLERR | EPOLLHUP))
                        clear_socket_errors(s);
                bool timer = in[i].data.ptr == NULL;
                for (size_t k = 0; k < (timer ? 1 : BATCH); k++)
                        out[n_out++] = in[i];
        }
        coap_io_do_epoll(s->context, out, n_out);
        return 0;
}

/* ---- start and end ---- */

static int add_resources(CoapServer *s)
{
        /* Also the one resource that libcoap would answer itself. */
        coap_resource_t *r[] = { coap_resource_unknown_init(on_request),
                                 coap_resource_init(coap_make_str_const(".well-known/core"), 0) };
        for (size_t i = 0; i < ELEMENTSOF(r); i++) {
                if (!r[i])
                        return -ENOMEM;
                for (int m = COAP_REQUEST_GET; m <= (int)COAP_REQUEST_IPATCH; m++)
                        coap_register_request_handler(r[i], (coap_request_t)m, on_request);
                coap_add_resource(s->context, r[i]);
        }
        return 0;
}

static int make_context(CoapServer *s)
{
        coap_startup();
        /* What peers do to libcoap is none of the journal's business. */
        coap_set_log_level((coap_log_t)0);
        coap_dtls_set_log_level((coap_log_t)0);
        s->context = coap_new_context(NULL);
        if (!s->context)
                return -ENOMEM;
        coap_set_app_data(s->context, s);
        coap_context_set_max_handshake_sessions(s->context, COOKIELESS_MAX);
        coap_context_set_session_timeout(s->context,
                                         (unsigned)(s->options.idle_timeout / USEC_PER_SEC));
        coap_register_event_handler(s->context, on_event);
        coap_register_nack_handler(s->context, on_nack);
        coap_register_pong_handler(s->context, on_pong);
        return add_resources(s);
}

static int watch(CoapServer *s)
{
        int fd = coap_context_get_coap_fd(s->context);
        if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -EIO;
        int r = loop_add_io(s->loop, &s->io, fd, LOOP_READ, LOOP_FATAL, on_io, s);
        if (r >= 0)
                r = loop_add_deferred(s->loop, &s->work, LOOP_FATAL, on_work, s);
        if (r >= 0)
                r = loop_add_timer(s->loop, &s->timer, LOOP_FATAL, on_timer, s);
        return r < 0 ? r : 0;
}

int coapserver_new(Loop *loop, const CoapServerOptions *options, const CoapServerPort *port,
                   CoapServer **ret)
{
        _cleanup_(coapserver_freep) CoapServer *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->loop = loop;
        s->options = *options;
        s->port = *port;
        list_init(&s->peers);
        list_init(&s->acks);
        list_init(&s->outbox);
        list_init(&s->bodies);
        list_init(&s->suspects);
        list_init(&s->closing);
        int r = make_context(s);
        if (r >= 0)
                r = coapserver_dtls_setup(s);
        if (r >= 0)
                r = watch(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

CoapServer *coapserver_free(CoapServer *s)
{
        if (!s)
                return NULL;
        s->ending = true;
        if (s->context)
                coap_free_context(s->context);
        coap_cleanup();
        loop_source_free(s->io);
        loop_source_free(s->work);
        loop_source_free(s->timer);
        coapserver_dtls_done(s);
        free(s);
        return NULL;
}

static bool known_endpoint(const CoapServer *s, int fd)
{
        for (size_t i = 0; i < s->n_endpoints; i++)
                if (s->endpoints[i] == fd)
                        return true;
        return false;
}

/* libcoap does not hand out its sockets; the kernel tells what its epoll set holds. */
static int new_socket(const CoapServer *s)
{
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", coap_context_get_coap_fd(s->context));
        FILE *f = fopen(path, "re");
        if (!f)
                return -errno;
        char line[256];
        int found = -ENOENT;
        while (found < 0 && fgets(line, sizeof(line), f)) {
                int fd, domain;
                socklen_t len = sizeof(domain);
                if (sscanf(line, "tfd: %d", &fd) == 1 && !known_endpoint(s, fd) &&
                    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0)
                        found = fd;
        }
        fclose(f);
        return found;
}

static void set_receive_buffer(int fd)
{
        int size = RECEIVE_BUFFER;
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 &&
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0)
                log_warning_errno(-errno, "Cannot raise the CoAP receive buffer, ignoring");
}

/* libcoap binds with SO_REUSEADDR, which for UDP lets another program take the datagrams. So
 * nobody may have the address before, and nobody may share it after. */
static int take_socket(int fd)
{
        int off = 0;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)) < 0 ||
            fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        set_receive_buffer(fd);
        return 0;
}

static int probe(const struct sockaddr_storage *address, socklen_t len)
{
        _cleanup_close_ int fd = socket(address->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)address, len) < 0)
                return -errno;
        return 0;
}

int coapserver_listen(CoapServer *s, const struct sockaddr_storage *address)
{
        if (s->n_endpoints == COAPSERVER_ENDPOINTS_MAX)
                return -ENOSPC;
        coap_address_t a;
        coap_address_init(&a);
        a.size = address->ss_family == AF_INET6 ? sizeof(a.addr.sin6) : sizeof(a.addr.sin);
        memcpy(&a.addr, address, a.size);
        int r = probe(address, a.size);
        if (r < 0)
                return r;
        coap_endpoint_t *endpoint = coap_new_endpoint(s->context, &a, COAP_PROTO_DTLS);
        if (!endpoint)
                return -EADDRNOTAVAIL;
        int fd = new_socket(s);
        r = fd < 0 ? fd : take_socket(fd);
        if (r < 0) {
                coap_free_endpoint(endpoint);
                return r;
        }
        s->endpoints[s->n_endpoints++] = fd;
        return 0;
}

void coapserver_stats(const CoapServer *s, CoapServerStats *ret)
{
        *ret = s->stats;
        ret->handshakes = s->n_ssl > s->stats.sessions ? s->n_ssl - s->stats.sessions : 0;
}
