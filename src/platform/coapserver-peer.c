/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sessions from handshake to end: who gets in, who gives way, and who has rebooted. */
#include "platform/coapserver-internal.h"

#include <netinet/in.h>
#include <string.h>

/* How long the old peer has to answer when its address begins a new handshake, and how often that
 * is asked: a forged handshake must not make the gateway ping a device more often than this. */
#define SUSPECT_TIME     USEC_PER_SEC
#define SUSPECT_INTERVAL (5 * USEC_PER_SEC)
/* Who has been silent for this long gives way when the table is full. */
#define EVICT_AFTER USEC_PER_MIN

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

void coapserver_peer_end(CoapPeer *p)
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

/* Whose end has not begun: two that come in one turn may not count on the same one to go. */
static CoapPeer *longest_silent(CoapServer *s)
{
        LIST_FOREACH (i, &s->peers)
                if (!LIST_ENTRY(i, CoapPeer, link)->closing)
                        return LIST_ENTRY(i, CoapPeer, link);
        return NULL;
}

static bool make_room(CoapServer *s)
{
        if (s->stats.sessions < s->options.max_sessions)
                return true;
        CoapPeer *oldest = longest_silent(s);
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
