/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/coap-reply.h"
#include "daemon/ingress-coap-internal.h"
#include "proto/coap.h"

static void answer(CoapTicket *t, SubmitOutcome outcome)
{
        switch (outcome) {
        case SUBMIT_STORED:
                coap_reply(t, COAPSERVER_CODE(2, 4));
                return;
        case SUBMIT_DENIED:
                coap_reply_problem(t, COAPSERVER_CODE(4, 3),
                                   "This device may not send telemetry now.", NULL);
                return;
        case SUBMIT_QUOTA:
                coap_reply_problem(t, COAPSERVER_CODE(4, 29), "Too much telemetry.", NULL);
                return;
        case SUBMIT_FULL:
                coap_reply_problem(t, COAPSERVER_CODE(5, 3), "The gateway has no room.", NULL);
                return;
        case SUBMIT_FAILED:
        case _SUBMIT_MAX:
                break;
        }
        coap_reply_problem(t, COAPSERVER_CODE(5, 0), "The gateway could not store this.", NULL);
}

static void on_submitted(SubmitOutcome outcome, void *userdata)
{
        CoapOperation *o = userdata;
        CoapTicket *t = o->ticket;
        coap_operation_free(o);
        answer(t, outcome);
}

void ingress_coap_telemetry(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                            size_t n_rest)
{
        char topic[TOPIC_BYTES_MAX + 1];
        CoapTopicOutcome o = coap_topic_from_path(rest, n_rest, topic);
        if (o != COAP_TOPIC_OK) {
                coap_reply_problem(t, COAPSERVER_CODE(4, 0), coap_topic_outcome_to_string(o), NULL);
                return;
        }
        const char *type = coap_media_type(r->content_format);
        if (!type && r->content_format != COAPSERVER_NONE) {
                coap_reply_problem(t, COAPSERVER_CODE(4, 15), "Unknown content format.", NULL);
                return;
        }
        Submission submission = { .device = s->device,
                                  .topic = topic,
                                  .payload = r->body,
                                  .content_type = type,
                                  .durable = r->confirmable };
        CoapOperation *operation = coap_operation_new(s, t);
        SubmitOutcome outcome = SUBMIT_FAILED;
        if (operation)
                outcome = gateway_submit(s->in->gateway, &submission, on_submitted, operation,
                                         &operation->submit);
        if (outcome == SUBMIT_STORED)
                return;
        coap_operation_free(operation);
        answer(t, outcome);
}
