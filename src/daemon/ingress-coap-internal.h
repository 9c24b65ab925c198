/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the parts of the CoAP door share: ingress-coap.c knows sessions and resources,
 * ingress-coap-telemetry.c and ingress-coap-rats.c what the resources do. */

#include "base/list.h"
#include "daemon/attest.h"
#include "daemon/ingress-coap.h"
#include "daemon/submit.h"

struct IngressCoap {
        Gateway *gateway;
        CoapServer *server;
        List sessions;
};

/* One DTLS session of a device. */
typedef struct CoapSession {
        IngressCoap *in;
        CoapPeer *peer;
        DeviceState *device; /* NULL: it is gone, the session is about to end */
        PeerChain chain;     /* of its certificate */
        List link;           /* in in->sessions, oldest first */
        List operations;
} CoapSession;

/* A request that the daemon is working on: exactly one of its two tickets is set. */
typedef struct CoapOperation {
        CoapTicket *ticket;
        SubmitTicket *submit;
        EvidenceTicket *evidence;
        List link; /* in session->operations */
} CoapOperation;

CoapOperation *coap_operation_new(CoapSession *s, CoapTicket *t);
CoapOperation *coap_operation_free(CoapOperation *o);
/* Nobody waits for the outcome any more. */
void coap_operation_cancel(CoapOperation *o);

/* The handlers of resources; each answers `t`, now or later. `rest` is what of the path follows
 * the resource. */
typedef void (*CoapHandler)(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                            size_t n_rest);
void ingress_coap_telemetry(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                            size_t n_rest);
void ingress_coap_nonce(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                        size_t n_rest);
void ingress_coap_evidence(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                           size_t n_rest);
void ingress_coap_result(CoapSession *s, CoapTicket *t, const CoapRequest *r, const Bytes *rest,
                         size_t n_rest);
