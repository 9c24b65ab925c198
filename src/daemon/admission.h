/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Lets a peer in, or says why not: from a verified certificate to a device. */

#include <sys/socket.h>

#include "domain/registry.h"
#include "platform/x509.h"

typedef struct Gateway Gateway;

/* The device behind `certificate`, or NULL with `ret_reason` set to a word for REASON=. Logs the
 * refusal (rate-limited) and notes certificate and address of who got in. Does not count the
 * session: gateway_session_opened() and _closed() do. */
DeviceState *gateway_admit(Gateway *g, const PeerCertificate *certificate,
                           const struct sockaddr_storage *peer, const char *transport,
                           const char **ret_reason);
/* A peer was refused before there was a verified certificate: "unknown-ca", "expired",
 * "no-certificate", "protocol-version"... One journal line with REASON= and PEER=. */
void gateway_refused(Gateway *g, const struct sockaddr_storage *peer, const char *transport,
                     const char *reason, const char *detail);
/* The devices as they are configured now: what topic rules are asked with. */
const Registry *gateway_registry(const Gateway *g);
/* Counts the session and logs who came, from where, over what: right after gateway_admit(). */
void gateway_session_opened(Gateway *g, DeviceState *d);
void gateway_session_closed(Gateway *g, DeviceState *d);
/* Whether a line that this device causes may go to the log now: however often it comes, goes and is
 * denied, over whatever number of connections, it does not fill the journal. */
bool gateway_may_log(Gateway *g, DeviceState *d);
