/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The devices' CoAP door: telemetry and attestation over DTLS. Discoverable at /.well-known/core.
 *
 *     POST, PUT /t/<topic>                            telemetry; 2.04 when it is on disk
 *     GET, POST /rats/nonce, /.well-known/est/nonce   a nonce for the next report
 *     POST      /rats/evidence                        a report; the verdict as EAR
 *     GET       /rats/result                          the last verdict
 *
 * Errors carry concise problem details (RFC 9290). */

#include <sys/socket.h>

#include "domain/registry.h"
#include "platform/coapserver.h"
#include "platform/credential.h"
#include "platform/loop.h"
#include "platform/trust.h"

typedef struct Gateway Gateway;
typedef struct IngressCoap IngressCoap;

/* Does not listen yet. 0, -ENOMEM, -EIO. */
int ingress_coap_new(Gateway *g, Loop *loop, size_t max_sessions, IngressCoap **ret);
/* Ends all sessions. */
IngressCoap *ingress_coap_free(IngressCoap *in);
DEFINE_CLEANUP(IngressCoap, ingress_coap_free)

/* See coapserver_set_credential(), _set_trust() and _listen(). */
int ingress_coap_set_credential(IngressCoap *in, Credential *c);
void ingress_coap_set_trust(IngressCoap *in, Trust *trust);
int ingress_coap_listen(IngressCoap *in, const struct sockaddr_storage *address);

/* Ends the device's sessions and looks at `d` no more: before its state is freed. Unanswered
 * tickets that this door holds with the daemon are cancelled in this call. */
void ingress_coap_forget(IngressCoap *in, DeviceState *d);

/* Ends the sessions that began with a chain which does not count any more by `trust`. What has
 * merely expired at `now` (CLOCK_REALTIME) stays. */
void ingress_coap_review(IngressCoap *in, const Trust *trust, usec_t now);

void ingress_coap_stats(const IngressCoap *in, CoapServerStats *ret);
