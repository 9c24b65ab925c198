/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A gateway's door alone, on an identity in a software TPM: TLS server and, unless the TPM signs
 * itself, a minter. It answers CONNECT with CONNACK, whatever it says. The devices are a process of
 * their own (load.h), so that neither holds up the other. */

#include "load.h"
#include "platform/minter.h"
#include "platform/tls.h"
#include "swtpm.h"

typedef struct TlsGateway {
        Lab *lab;
        Loop *loop;
        Identity *identity;
        Minter *minter; /* NULL: TLSKey=tpm */
        TlsServer *server;
        uint16_t port;
        char trust[128];
        unsigned credentials; /* that the server had so far */
        unsigned established, refused;
        char refusal[160]; /* the last */
        LoopSource *renew_timer, *load_io;
        usec_t renew_every;
        unsigned renew_max;
        pid_t load;
        LoadResult result;
} TlsGateway;

typedef struct TlsGatewayParams {
        const char *tcti;
        usec_t lifetime; /* of minted leaves; 0: the TPM signs */
        usec_t handshake_timeout;
        usec_t renew_every; /* minter_renew(), `renew_max` times; 0: by lifetime alone */
        unsigned renew_max;
} TlsGatewayParams;

/* The lab has an identity already (lab_create_identity()). */
void tls_gateway_open(TlsGateway *g, Lab *lab, const TlsGatewayParams *p);
/* Ends tls_gateway_run(): fibers that wait for the TPM come to their ends first, `abandon`: by its
 * failing from now on. */
void tls_gateway_stop(TlsGateway *g, bool abandon);
void tls_gateway_close(TlsGateway *g);

/* Fills in what is known: where to, trust, issuer. */
LoadParams tls_gateway_load(const TlsGateway *g, unsigned clients);
/* Begins it in a process of its own; `first`, which may be NULL, goes before and is forgotten. */
void tls_gateway_begin(TlsGateway *g, const LoadParams *first, const LoadParams *p);
/* Runs the loop, once, until it is over: then its result is in g->result. */
void tls_gateway_run(TlsGateway *g);
