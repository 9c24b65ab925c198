/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the parts of the CoAP server share: coapserver.c owns the context and the timers,
 * coapserver-endpoint.c sockets, coapserver-peer.c sessions, coapserver-dtls.c the handshake;
 * coapserver-request.c turns a PDU into a request and coapserver-exchange.c answers it.
 *
 * One rule holds them together: inside libcoap's callbacks nothing is sent and nothing is closed
 * (libcoap 4.3.1 goes on using a session's SSL after the callback returned). Callbacks only put
 * exchanges and peers on lists; on_work() works these off when the loop turns. */

#include <coap3/coap.h>
#include <openssl/ssl.h>

#include "base/list.h"
#include "platform/blockwise.h"
#include "platform/coapserver.h"
#include "platform/handshake.h"

#define COAPSERVER_EXCHANGES_MAX 32 /* a peer, answered ones included */
#define COAPSERVER_ENDPOINTS_MAX 16
#define COAPSERVER_TOKEN_MAX     8
/* RFC 7252 section 4.8.2: how long a message ID stands for one message. */
#define COAPSERVER_EXCHANGE_LIFETIME (247 * USEC_PER_SEC)

typedef struct Reply {
        uint8_t code;
        int content_format;
        int64_t max_age;
        bool has_block1, has_block2;
        Block block1, block2;
        uint32_t size1, size2; /* 0: not told */
        uint8_t *payload;
        size_t len;
} Reply;

struct CoapTicket {
        CoapPeer *peer;
        List link; /* in peer->exchanges, oldest first */
        List due;  /* in server->acks, by ack_at */
        List out;  /* in server->outbox */
        usec_t received, ack_at;
        int mid;
        uint8_t token[COAPSERVER_TOKEN_MAX];
        size_t token_len;
        uint64_t key;     /* method, path and query */
        uint8_t suppress; /* No-Response (RFC 7967): classes the peer does not want */
        bool confirmable;
        bool answered;
        bool acknowledged; /* by an empty message: the response is one of its own */
        bool separate;     /* it went out as one of its own */
        bool has_block1, has_block2;
        Block block1, block2; /* as asked */
        void *operation;
        Reply reply;
};

/* A response body of which blocks are still to be fetched. */
typedef struct LargeBody {
        uint64_t key;
        uint8_t code;
        int content_format;
        uint8_t *data;
        size_t len;
} LargeBody;

struct CoapPeer {
        CoapServer *server;
        coap_session_t *session;
        void *data; /* NULL: not let in */
        List link;  /* in server->peers, longest silent first */
        List exchanges;
        unsigned n_exchanges;
        BlockBody body;
        List body_link; /* in server->bodies, by body_until */
        usec_t body_until;
        LargeBody large;
        usec_t heard; /* when it last sent a request */
        /* Somebody began a new handshake from this address: is the old peer still there? */
        List suspect_link; /* in server->suspects, by suspect_until */
        usec_t suspect_until, suspect_last;
        int ping_mid;
        bool ping_due;
        List closing_link; /* in server->closing */
        bool closing;
        bool silent; /* no close_notify: the address belongs to somebody else by now */
};

struct CoapServer {
        Loop *loop;
        CoapServerOptions options;
        CoapServerPort port;
        coap_context_t *context;
        LoopSource *io, *work, *timer;
        int endpoints[COAPSERVER_ENDPOINTS_MAX]; /* libcoap's sockets */
        size_t n_endpoints;
        bool ending;

        Credential *credential;
        Handshakes handshakes;
        uint8_t *placeholder_certificate, *placeholder_key; /* DER */

        List peers, acks, outbox, bodies, suspects, closing;
        size_t body_bytes;       /* of all unfinished bodies */
        size_t n_ssl;            /* sessions and handshakes that hold an SSL */
        usec_t handshakes_until; /* CLOCK_BOOTTIME: datagrams are taken one by one */
        CoapServerStats stats;
};

/* coapserver.c */
void coapserver_arm(CoapServer *s);
CoapPeer *coapserver_peer_of(coap_session_t *session);

/* coapserver-endpoint.c */
/* An error that waits on a socket keeps the epoll set readable until somebody takes it. */
void coapserver_clear_errors(CoapServer *s);

/* coapserver-peer.c */
void coapserver_peer_end(CoapPeer *p);
struct sockaddr_storage coapserver_remote(const coap_session_t *session);
/* Creates the peer of a finished handshake and asks who it is. */
void coapserver_connected(CoapServer *s, coap_session_t *session, const PeerCertificate *c);
/* Ends the session without asking who it is. */
void coapserver_reject(CoapServer *s, coap_session_t *session, const char *reason,
                       const char *detail);
/* A new handshake from a peer's address. */
void coapserver_suspect(CoapPeer *p);
/* The peer proved to be alive. */
void coapserver_heard(CoapPeer *p);

/* coapserver-dtls.c */
int coapserver_dtls_setup(CoapServer *s);
void coapserver_dtls_done(CoapServer *s);
void coapserver_dtls_connected(CoapServer *s, coap_session_t *session);

/* coapserver-request.c */
void coapserver_request(CoapPeer *p, const coap_pdu_t *pdu);
void coapserver_body_drop(CoapPeer *p);

/* coapserver-exchange.c */
CoapTicket *exchange_find(CoapPeer *p, int mid, usec_t now);
/* NULL when too many of the peer's requests wait already, or without memory. */
CoapTicket *exchange_new(CoapPeer *p, const coap_pdu_t *pdu, usec_t now);
CoapTicket *exchange_free(CoapTicket *x);
/* The same message again. */
void exchange_repeat(CoapTicket *x);
void exchange_send(CoapTicket *x);
