/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Nonces, evidence and results (draft-ietf-lamps-attestation-freshness for the nonce object). */
#include "daemon/coap-reply.h"
#include "daemon/ingress-coap-internal.h"
#include "daemon/rats.h"
#include "proto/coap.h"

static bool acceptable(CoapTicket *t, const CoapRequest *r, int format)
{
        if (r->accept == COAPSERVER_NONE || r->accept == format)
                return true;
        coap_reply_problem(t, COAPSERVER_CODE(4, 6), "This content format is not offered.", NULL);
        return false;
}

static void reply_problem(CoapTicket *t, const Problem *p)
{
        coap_reply_problem(t, p->code, p->title, p->detail);
}

static void issue_nonce(CoapSession *s, CoapTicket *t, uint8_t code, size_t len)
{
        _cleanup_buf_ Buf buf = BUF_INIT(FRESHNESS_RESPONSE_MAX);
        uint8_t nonce[NONCE_MAX];
        uint32_t lifetime = 0;
        int r = gateway_challenge(s->in->gateway, s->device, len, nonce, &lifetime);
        if (r < 0) {
                const Problem p = rats_no_nonce(r);
                reply_problem(t, &p);
        } else if (freshness_response_write(FRESHNESS_CBOR, BYTES(nonce, len), lifetime, &buf) < 0)
                coap_reply(t, COAPSERVER_CODE(5, 0));
        else
                coap_reply_fresh(t, code, COAP_FORMAT_CBOR, buf_view(&buf));
}

void ingress_coap_nonce(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                        size_t n_rest)
{
        if (!acceptable(t, r, COAP_FORMAT_CBOR))
                return;
        if (r->method == COAPSERVER_GET) {
                issue_nonce(s, t, COAPSERVER_CODE(2, 5), NONCE_DEFAULT);
                return;
        }
        size_t len;
        Problem p;
        if (r->content_format != COAPSERVER_NONE && r->content_format != COAP_FORMAT_CBOR)
                coap_reply_problem(t, COAPSERVER_CODE(4, 15), "The request is CBOR.", NULL);
        else if (!rats_request_read(FRESHNESS_CBOR, r->body, &len, &p))
                reply_problem(t, &p);
        else
                issue_nonce(s, t, COAPSERVER_CODE(2, 4), len);
}

static void on_appraised(const EvidenceResult *result, void *userdata)
{
        CoapOperation *o = userdata;
        CoapTicket *t = o->ticket;
        coap_operation_free(o);
        Problem p;
        if (rats_no_result(result, &p))
                reply_problem(t, &p);
        else
                coap_reply_fresh(t, COAPSERVER_CODE(2, 4), COAP_FORMAT_EAT_JWT, result->ear);
}

void ingress_coap_evidence(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                           size_t n_rest)
{
        if (!acceptable(t, r, COAP_FORMAT_EAT_JWT))
                return;
        if (!r->confirmable) {
                coap_reply_problem(t, COAPSERVER_CODE(4, 0), "Evidence must be confirmable.", NULL);
                return;
        }
        if (r->content_format == COAPSERVER_NONE) {
                coap_reply_problem(t, COAPSERVER_CODE(4, 15), "The content format is missing.",
                                   NULL);
                return;
        }
        CoapOperation *o = coap_operation_new(s, t);
        if (o && gateway_evidence(s->in->gateway, s->device, (uint16_t)r->content_format, r->body,
                                  on_appraised, o, &o->evidence) == 0)
                return;
        coap_operation_free(o);
        coap_reply_problem(t, COAPSERVER_CODE(5, 3), "The gateway cannot appraise now.", NULL);
}

void ingress_coap_result(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                         size_t n_rest)
{
        if (!acceptable(t, r, COAP_FORMAT_EAT_JWT))
                return;
        Bytes ear = gateway_last_result(s->in->gateway, s->device);
        if (ear.len == 0)
                coap_reply_problem(t, COAPSERVER_CODE(4, 4), "There is no result yet.", NULL);
        else
                coap_reply_fresh(t, COAPSERVER_CODE(2, 5), COAP_FORMAT_EAT_JWT, ear);
}
