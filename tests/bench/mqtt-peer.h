/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One MQTT client over TLS on an epoll set: connects, says CONNECT, and then moves packets. */

#include <openssl/ssl.h>

#include "load.h"
#include "mqtt-wire.h"

typedef struct Peer Peer;

typedef struct PeerPort {
        void (*up)(Peer *p); /* CONNACK has come */
        void (*packet)(Peer *p, const WirePacket *packet);
        void (*lost)(Peer *p, const char *why); /* it is closed already */
} PeerPort;

typedef struct PeerTarget {
        const LoadParams *load; /* where to and from, names */
        SSL_CTX *ctx;
        int netns; /* the network namespace that it is in, or -1: this one */
        unsigned version;
        int epoll;
} PeerTarget;

typedef enum PeerStage {
        PEER_CLOSED,
        PEER_TCP,
        PEER_TLS,
        PEER_CONNACK,
        PEER_UP,
} PeerStage;

struct Peer {
        const PeerTarget *target;
        const PeerPort *port;
        PeerStage stage;
        unsigned number;
        char id[64];
        int fd;
        SSL *ssl;
        X509 *certificate;
        EVP_PKEY *key;
        Buf in, out;
        uint32_t events;
};

/* Begins to connect. Certificate and key become its own. */
void peer_open(Peer *p, const PeerTarget *target, const PeerPort *port, unsigned number,
               const char *id, X509 *certificate, EVP_PKEY *key);
/* An event of the epoll set with `p` in it. */
void peer_event(Peer *p);
/* Writes what is in `out`, as far as the socket takes it. */
void peer_flush(Peer *p);
/* Says goodbye where it can. */
void peer_close(Peer *p);
