/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A device that visits a TLS server in the same process, by OpenSSL's client, and keeps its
 * session. */

#include <openssl/ssl.h>

#include "pki.h"
#include "platform/tls.h"

typedef struct Visitor {
        Loop *loop;
        TlsServer *server;
        uint16_t port;
        PkiCertificate device;
        SSL_SESSION *session; /* what it comes with, or NULL; and what it went away with */
} Visitor;

/* A server on loopback for it. Takes over the credential that is given. */
void visitor_serve(Visitor *v, const TlsServerConfig *config, const TlsServerPort *port,
                   void *userdata, Credential *credential);
/* Turns the loop for this long, whatever the code under test is told of the time. */
void visitor_turn(Visitor *v, usec_t span);
void visitor_forget(Visitor *v);

typedef enum Visit {
        VISIT_FULL,
        VISIT_RESUMED,
        VISIT_REFUSED,
} Visit;
/* `version` 0: any. */
Visit visitor_visit(Visitor *v, int version);

/* A handler for connections to which nothing is said. */
extern const TlsHandler visitor_handler;
