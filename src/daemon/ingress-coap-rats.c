/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Nonces, evidence and results (draft-ietf-lamps-attestation-freshness for the nonce object). */
#include <errno.h>

#include "daemon/coap-reply.h"
#include "daemon/ingress-coap-internal.h"
#include "proto/cbor-writer.h"
#include "proto/cbor.h"
#include "proto/coap.h"

static bool acceptable(CoapTicket *t, const CoapRequest *r, int format)
{
        if (r->accept == COAPSERVER_NONE || r->accept == format)
                return true;
        coap_reply_problem(t, COAPSERVER_CODE(4, 6), "This content format is not offered.", NULL);
        return false;
}

/* {"len": n}: how many bytes the device would like. Other members are left alone. False when it is
 * not that. */
static bool read_length(Bytes body, size_t *ret)
{
        Reader r = cbor_open(body, CBOR_DEPTH);
        uint64_t len = NONCE_DEFAULT;
        for (size_t n = cbor_map(&r); n > 0 && reader_ok(&r); n--) {
                if (bytes_equal(cbor_text(&r), BYTES_LITERAL("len")))
                        len = cbor_uint(&r);
                else
                        cbor_skip(&r);
        }
        if (!cbor_done(&r) || len > NONCE_MAX)
                return false;
        *ret = (size_t)len;
        return true;
}

static void answer_nonce(CoapTicket *t, uint8_t code, Bytes nonce, uint32_t lifetime)
{
        _cleanup_buf_ Buf buf = BUF_INIT(256);
        CborWriter w = cbor_writer(&buf);
        cbor_put_map(&w, 2);
        cbor_put_str(&w, "nonce");
        cbor_put_bytes(&w, nonce);
        cbor_put_str(&w, "expiry");
        cbor_put_uint(&w, lifetime);
        if (w.error < 0)
                coap_reply(t, COAPSERVER_CODE(5, 0));
        else
                coap_reply_fresh(t, code, COAP_FORMAT_CBOR, buf_view(&buf));
}

static void issue_nonce(CoapSession *s, CoapTicket *t, uint8_t code, size_t len)
{
        uint8_t nonce[NONCE_MAX];
        uint32_t lifetime = 0;
        int r = gateway_challenge(s->in->gateway, s->device, len, nonce, &lifetime);
        if (r == 0)
                answer_nonce(t, code, BYTES(nonce, len), lifetime);
        else if (r == -EAGAIN)
                coap_reply_problem(t, COAPSERVER_CODE(4, 29), "Asked again too soon.", NULL);
        else if (r == -ERANGE)
                coap_reply_problem(t, COAPSERVER_CODE(4, 0), "A nonce has 8 to 64 bytes.", NULL);
        else
                coap_reply_problem(t, COAPSERVER_CODE(5, 3), "There is no nonce to give.", NULL);
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
        if (r->content_format != COAPSERVER_NONE && r->content_format != COAP_FORMAT_CBOR)
                coap_reply_problem(t, COAPSERVER_CODE(4, 15), "The request is CBOR.", NULL);
        else if (!read_length(r->body, &len))
                coap_reply_problem(t, COAPSERVER_CODE(4, 0), "The request is {\"len\": 8 to 64}.",
                                   NULL);
        else
                issue_nonce(s, t, COAPSERVER_CODE(2, 4), len);
}

static uint8_t evidence_code(EvidenceOutcome o)
{
        switch (o) {
        case EVIDENCE_APPRAISED:
                return COAPSERVER_CODE(2, 4);
        case EVIDENCE_MALFORMED:
                return COAPSERVER_CODE(4, 0);
        case EVIDENCE_FORBIDDEN:
                return COAPSERVER_CODE(4, 3);
        case EVIDENCE_NOT_FRESH:
                return COAPSERVER_CODE(4, 9);
        case EVIDENCE_UNSUPPORTED:
                return COAPSERVER_CODE(4, 15);
        case EVIDENCE_FAILED:
                break;
        }
        return COAPSERVER_CODE(5, 0);
}

static void on_appraised(const EvidenceResult *result, void *userdata)
{
        CoapOperation *o = userdata;
        CoapTicket *t = o->ticket;
        coap_operation_free(o);
        uint8_t code = evidence_code(result->outcome);
        if (result->outcome == EVIDENCE_APPRAISED && result->ear.len > 0)
                coap_reply_fresh(t, code, COAP_FORMAT_EAT_JWT, result->ear);
        else if (result->outcome == EVIDENCE_APPRAISED)
                coap_reply_problem(t, COAPSERVER_CODE(5, 0),
                                   "The evidence was appraised, its result could not be signed.",
                                   result->reason);
        else
                coap_reply_problem(t, code, "The evidence was not appraised.", result->reason);
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
