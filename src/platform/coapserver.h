/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* CoAP (RFC 7252) over DTLS 1.2 with client certificates: libcoap behind plain types. Requests
 * come as whole bodies; each is answered once, at once or later. The message layer's duties
 * (acknowledgements, duplicates, blocks) are done here. */

#include <sys/socket.h>

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "platform/credential.h"
#include "platform/loop.h"
#include "platform/trust.h"
#include "platform/x509.h"

typedef struct CoapServer CoapServer;
/* A DTLS session whose certificate was verified. */
typedef struct CoapPeer CoapPeer;
/* A request that waits for its response. */
typedef struct CoapTicket CoapTicket;

typedef enum CoapMethod {
        COAPSERVER_GET = 1,
        COAPSERVER_POST = 2,
        COAPSERVER_PUT = 3,
        COAPSERVER_DELETE = 4,
        COAPSERVER_FETCH = 5,
        COAPSERVER_PATCH = 6,
        COAPSERVER_IPATCH = 7,
} CoapMethod;

#define COAPSERVER_CODE(class, detail) ((uint8_t)((class) << 5 | (detail)))
#define COAPSERVER_SEGMENTS_MAX        16
#define COAPSERVER_NONE                (-1)

/* Everything in it holds during the call. Segments are the peer's bytes as they came. */
typedef struct CoapRequest {
        CoapMethod method;
        Bytes path[COAPSERVER_SEGMENTS_MAX];
        size_t n_path;
        Bytes query[COAPSERVER_SEGMENTS_MAX];
        size_t n_query;
        int content_format; /* 0 to 65535, or COAPSERVER_NONE */
        int accept;         /* likewise */
        bool confirmable;
        Bytes body;
        /* Not 0: the request is broken; answer with this code and say why. */
        uint8_t fault;
        const char *fault_text;
} CoapRequest;

typedef struct CoapResponse {
        uint8_t code;
        int content_format; /* or COAPSERVER_NONE */
        int64_t max_age;    /* seconds, or COAPSERVER_NONE */
        Bytes body;         /* of any size: what does not fit goes out block by block */
} CoapResponse;

/* No callback may call back into the server, but coapserver_respond() and coapserver_close(). */
typedef struct CoapServerPort {
        /* A handshake is complete. Returns what the peer is known by from here on, or NULL: its
         * session is closed. */
        void *(*connected)(CoapPeer *p, const PeerCertificate *certificate,
                           const struct sockaddr_storage *from, void *userdata);
        /* Not called for who was not let in. The tickets of the peer were cancelled before. */
        void (*disconnected)(void *peer_data, void *userdata);
        /* No handshake came about; `reason` is a word ("unknown-ca"), `detail` a sentence. */
        void (*refused)(const struct sockaddr_storage *from, const char *reason, const char *detail,
                        void *userdata);
        void (*request)(CoapTicket *t, const CoapRequest *r, void *peer_data, void *userdata);
        /* The peer of an unanswered ticket is gone; the ticket ends with this call. `operation` is
         * what coapserver_ticket_set() was given. */
        void (*cancelled)(void *operation, void *userdata);
        void *userdata;
} CoapServerPort;

typedef struct CoapServerOptions {
        size_t max_sessions;
        size_t max_body;      /* bytes of a request body */
        usec_t idle_timeout;  /* a session without a datagram is forgotten after it */
        bool allow_short_tag; /* also AES-CCM with an 8-byte tag */
} CoapServerOptions;

/* Without a credential and a trust every handshake is refused. One server a process. */
int coapserver_new(Loop *loop, const CoapServerOptions *options, const CoapServerPort *port,
                   CoapServer **ret);
CoapServer *coapserver_free(CoapServer *s);
DEFINE_CLEANUP(CoapServer, coapserver_free)

/* For handshakes from now on. -EOPNOTSUPP for a key in the TPM: libcoap cannot wait for a
 * signature, and every handshake would hold up the loop. */
int coapserver_set_credential(CoapServer *s, Credential *c);
/* For handshakes from now on, and those that are going on. Takes a reference of its own. Whether
 * those who are in may stay is their owner's business. */
void coapserver_set_trust(CoapServer *s, Trust *trust);
/* IPv4 or IPv6 address and port ([::] takes IPv4 too). -EADDRINUSE and what else bind() says. */
int coapserver_listen(CoapServer *s, const struct sockaddr_storage *address);

/* Ends the session soon, from the loop, and cancels its tickets. */
void coapserver_close(CoapPeer *p);

/* What `cancelled` is called with; without it the peer's end is not reported for this ticket. */
void coapserver_ticket_set(CoapTicket *t, void *operation);
/* Copies the response; the ticket ends. The datagram leaves when the loop turns. */
void coapserver_respond(CoapTicket *t, const CoapResponse *r);

typedef struct CoapServerStats {
        size_t sessions;
        size_t handshakes;      /* in progress */
        uint64_t full, resumed; /* handshakes, since start */
        uint64_t refused;       /* likewise */
        uint64_t requests;      /* handed up, since start */
        uint64_t duplicates;    /* repeated messages answered again, since start */
        uint64_t rebooted;      /* sessions dropped for a new handshake, since start */
        uint64_t no_room;       /* handshakes refused for want of room, since start */
        uint64_t socket_errors; /* socket errors cleared, since start */
} CoapServerStats;
void coapserver_stats(const CoapServer *s, CoapServerStats *ret);
