/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/ingress-coap.h"

#include <errno.h>

#include "base/buf.h"
#include "daemon/admission.h"
#include "daemon/coap-reply.h"
#include "daemon/ingress-coap-internal.h"
#include "proto/coap.h"

/* A device that roams or reboots leaves sessions behind; more than this is not normal, and one
 * device must not take the others' place. The oldest one goes. */
#define SESSIONS_PER_DEVICE 4
#define BODY_MAX            ((size_t)16 << 10)
/* Sleepers keep their session for a night; without datagrams it costs only memory. */
#define IDLE_TIMEOUT (12 * USEC_PER_HOUR)

#define METHOD(m) (1U << COAPSERVER_##m)

static void list_resources(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                           size_t n_rest);

/* One row a resource; what /.well-known/core says of it stands beside it (RFC 6690). */
static const struct Resource {
        const char *segments[3];
        bool open; /* more segments may follow */
        unsigned methods;
        CoapHandler handler;
        const char *link; /* NULL: not listed */
} resources[] = {
        { { "t" },
          true,
          METHOD(POST) | METHOD(PUT),
          ingress_coap_telemetry,
          "</t>;rt=\"sallyport.telemetry\";ct=\"0 42 50 60 110 112\"" },
        { { "rats", "nonce" },
          false,
          METHOD(GET) | METHOD(POST),
          ingress_coap_nonce,
          "</rats/nonce>;rt=\"sallyport.nonce\";ct=60" },
        { { ".well-known", "est", "nonce" },
          false,
          METHOD(GET) | METHOD(POST),
          ingress_coap_nonce,
          "</.well-known/est/nonce>;rt=\"sallyport.nonce\";ct=60" },
        { { "rats", "evidence" },
          false,
          METHOD(POST),
          ingress_coap_evidence,
          "</rats/evidence>;rt=\"sallyport.evidence\";ct=\"263 273 10003 10004\"" },
        { { "rats", "result" },
          false,
          METHOD(GET),
          ingress_coap_result,
          "</rats/result>;rt=\"sallyport.result\";ct=264" },
        { { ".well-known", "core" }, false, METHOD(GET), list_resources, NULL },
};

static void list_resources(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                           size_t n_rest)
{
        _cleanup_buf_ Buf buf = BUF_INIT(1024);
        int e = 0;
        for (size_t i = 0; i < ELEMENTSOF(resources) && e == 0; i++)
                if (resources[i].link)
                        e = buf_printf(&buf, "%s%s", i > 0 ? "," : "", resources[i].link);
        if (e < 0)
                coap_reply(t, COAPSERVER_CODE(5, 0));
        else
                coap_reply_body(t, COAPSERVER_CODE(2, 5), COAP_FORMAT_LINK, buf_view(&buf));
}

/* How many segments of the path the resource takes; 0 when it is another one. */
static size_t match(const struct Resource *resource, const CoapRequest *r)
{
        size_t n = 0;
        for (; n < ELEMENTSOF(resource->segments) && resource->segments[n]; n++)
                if (n >= r->n_path ||
                    !bytes_equal(r->path[n], bytes_from_str(resource->segments[n])))
                        return 0;
        return resource->open || n == r->n_path ? n : 0;
}

static void on_request(CoapTicket *t, const CoapRequest *r, void *peer_data, void *userdata)
{
        CoapSession *s = peer_data;
        if (r->fault != 0) {
                coap_reply_problem(t, r->fault, r->fault_text, NULL);
                return;
        }
        if (!s->device) {
                coap_reply_problem(t, COAPSERVER_CODE(4, 1), "This device is not known any more.",
                                   NULL);
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(resources); i++) {
                size_t n = match(&resources[i], r);
                if (n == 0)
                        continue;
                if (resources[i].methods >> r->method & 1)
                        resources[i].handler(s, t, r, r->path + n, r->n_path - n);
                else
                        coap_reply_problem(t, COAPSERVER_CODE(4, 5),
                                           "The resource has no such method.", NULL);
                return;
        }
        coap_reply_problem(t, COAPSERVER_CODE(4, 4), "There is no such resource.", NULL);
}

/* ---- operations ---- */

CoapOperation *coap_operation_new(CoapSession *s, CoapTicket *t)
{
        CoapOperation *o = calloc(1, sizeof(*o));
        if (!o)
                return NULL;
        o->ticket = t;
        list_append(&s->operations, &o->link);
        coapserver_ticket_set(t, o);
        return o;
}

CoapOperation *coap_operation_free(CoapOperation *o)
{
        if (!o)
                return NULL;
        coapserver_ticket_set(o->ticket, NULL);
        list_remove(&o->link);
        free(o);
        return NULL;
}

static void cancel(CoapOperation *o)
{
        if (o->submit)
                submit_ticket_cancel(o->submit);
        if (o->evidence)
                evidence_ticket_cancel(o->evidence);
        list_remove(&o->link);
        free(o);
}

void coap_operation_cancel(CoapOperation *o)
{
        coapserver_ticket_set(o->ticket, NULL);
        cancel(o);
}

static void on_cancelled(void *operation, void *userdata)
{
        cancel(operation);
}

/* ---- sessions ---- */

static void limit_sessions(IngressCoap *in, const DeviceState *d)
{
        CoapSession *oldest = NULL;
        size_t n = 0;
        LIST_FOREACH (i, &in->sessions) {
                CoapSession *s = LIST_ENTRY(i, CoapSession, link);
                if (s->device != d)
                        continue;
                n++;
                if (!oldest)
                        oldest = s;
        }
        if (n > SESSIONS_PER_DEVICE)
                coapserver_close(oldest->peer);
}

static void *on_connected(CoapPeer *p, const PeerCertificate *certificate,
                          const struct sockaddr_storage *from, void *userdata)
{
        IngressCoap *in = userdata;
        const char *reason = NULL;
        DeviceState *d = gateway_admit(in->gateway, certificate, from, "coap", &reason);
        if (!d)
                return NULL;
        CoapSession *s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->in = in;
        s->peer = p;
        s->device = d;
        s->chain = certificate->chain;
        list_init(&s->operations);
        list_append(&in->sessions, &s->link);
        gateway_session_opened(in->gateway, d);
        limit_sessions(in, d);
        return s;
}

static void end_session(CoapSession *s)
{
        if (s->device)
                gateway_session_closed(s->in->gateway, s->device);
        s->device = NULL;
}

static void on_disconnected(void *peer_data, void *userdata)
{
        CoapSession *s = peer_data;
        end_session(s);
        list_remove(&s->link);
        free(s);
}

static void on_refused(const struct sockaddr_storage *from, const char *reason, const char *detail,
                       void *userdata)
{
        IngressCoap *in = userdata;
        gateway_refused(in->gateway, from, "coap", reason, detail);
}

static void send_away(CoapSession *s)
{
        for (List *k; (k = list_first(&s->operations));)
                coap_operation_cancel(LIST_ENTRY(k, CoapOperation, link));
        end_session(s);
        coapserver_close(s->peer);
}

void ingress_coap_forget(IngressCoap *in, DeviceState *d)
{
        LIST_FOREACH (i, &in->sessions) {
                CoapSession *s = LIST_ENTRY(i, CoapSession, link);
                if (s->device == d)
                        send_away(s);
        }
}

void ingress_coap_review(IngressCoap *in, const Trust *trust, usec_t now)
{
        LIST_FOREACH (i, &in->sessions) {
                CoapSession *s = LIST_ENTRY(i, CoapSession, link);
                TrustOutcome o = trust_check(trust, &s->chain, now, NULL);
                if (s->device && (o == TRUST_REVOKED || o == TRUST_NO_ANCHOR))
                        send_away(s);
        }
}

int ingress_coap_new(Gateway *g, Loop *loop, size_t max_sessions, IngressCoap **ret)
{
        _cleanup_(ingress_coap_freep) IngressCoap *in = calloc(1, sizeof(*in));
        if (!in)
                return -ENOMEM;
        in->gateway = g;
        list_init(&in->sessions);
        CoapServerOptions options = { .max_sessions = max_sessions,
                                      .max_body = BODY_MAX,
                                      .idle_timeout = IDLE_TIMEOUT };
        CoapServerPort port = { .connected = on_connected,
                                .disconnected = on_disconnected,
                                .refused = on_refused,
                                .request = on_request,
                                .cancelled = on_cancelled,
                                .userdata = in };
        int r = coapserver_new(loop, &options, &port, &in->server);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(in);
        return 0;
}

IngressCoap *ingress_coap_free(IngressCoap *in)
{
        if (!in)
                return NULL;
        coapserver_free(in->server);
        free(in);
        return NULL;
}

int ingress_coap_set_credential(IngressCoap *in, Credential *c)
{
        return coapserver_set_credential(in->server, c);
}

void ingress_coap_set_trust(IngressCoap *in, Trust *trust)
{
        coapserver_set_trust(in->server, trust);
}

int ingress_coap_listen(IngressCoap *in, const struct sockaddr_storage *address)
{
        return coapserver_listen(in->server, address);
}

void ingress_coap_stats(const IngressCoap *in, CoapServerStats *ret)
{
        coapserver_stats(in->server, ret);
}
