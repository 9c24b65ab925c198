/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Known problems of libcoap (4.3.1 on Debian 12, 4.3.4 on 13) and where each is kept out:
 *
 * - 100 unfinished handshakes lock every other new client out for half a minute: the limit is
 *   raised to what cookie-less senders cannot fill cheaply (make_context()); what is expensive,
 *   an SSL, is counted on its own and only exists after the cookie (coapserver-dtls.c).
 * - A device that reboots onto the same port is ignored until the idle timeout:
 *   coapserver_suspect().
 * - Sessions with tickets fail without a session-id context, a stale OpenSSL error queue ends
 *   sessions, the callback for names is skipped on resumption: coapserver-dtls.c.
 * - Bursts overflow the socket, an error on it keeps the epoll set readable for ever, others may
 *   share its port: coapserver-endpoint.c.
 * - Requests to an address without a broadcast address are dropped: coapserver-endpoint.c.
 * - A session is used after it was closed inside a callback: nothing is sent or closed there.
 * - Sending on a session that was closed makes libcoap open a client handshake to the device: the
 *   peer ends with COAP_EVENT_DTLS_CLOSED and nothing is sent for it after that.
 * - Its timers run on CLOCK_REALTIME. A clock that jumps ahead ends idle sessions (devices are
 *   told), one that jumps back delays repetitions. What decides anything here runs on
 *   CLOCK_BOOTTIME.
 * - Fixed in Debian 13 alone: CVE-2024-31031 and CVE-2026-29013 (options changed in place, cache
 *   keys), CVE-2025-34468 (host names), CVE-2024-0962 and CVE-2025-59391 (OSCORE). Block-wise
 *   transfer, observe, the cache, proxying, OSCORE and name resolution of libcoap stay unused.
 * - CVE-2025-65493 to -65501 (unchecked results in its OpenSSL callbacks): verification is ours.
 */
#include "platform/coapserver-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"

#define COOKIELESS_MAX 20000
/* Datagrams from one endpoint before anybody else has a turn. One of a handshake may cost as much
 * as a hundred others, and libcoap walks its sessions once a batch. */
#define BATCH           8
#define HANDSHAKE_BATCH 1
#define HANDSHAKES_SPAN USEC_PER_SEC

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
                        coapserver_peer_end(p);
        }
        return 0;
}

/* All methods of all resources. An empty non-confirmable response is one that libcoap drops: ours
 * goes out with on_work(). */
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

/* One handshake rarely comes alone, and those that begin cannot be told from other datagrams. */
static size_t batch(CoapServer *s)
{
        usec_t now = loop_now(s->loop);
        if (s->n_ssl > s->stats.sessions)
                s->handshakes_until = usec_add(now, HANDSHAKES_SPAN);
        return now < s->handshakes_until ? HANDSHAKE_BATCH : BATCH;
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
        size_t n_out = 0, most = batch(s);
        for (int i = 0; i < n; i++) {
                if (in[i].events & (EPOLLERR | EPOLLHUP))
                        coapserver_clear_errors(s);
                bool timer = in[i].data.ptr == NULL;
                for (size_t k = 0; k < (timer ? 1 : most); k++)
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

void coapserver_stats(const CoapServer *s, CoapServerStats *ret)
{
        *ret = s->stats;
        ret->full = s->handshakes.full;
        ret->resumed = s->handshakes.resumed;
        ret->handshakes = s->n_ssl > s->stats.sessions ? s->n_ssl - s->stats.sessions : 0;
}
