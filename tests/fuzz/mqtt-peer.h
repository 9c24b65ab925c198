/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a client can say about the server by looking at one connection: whole packets in an order
 * that the protocol allows, within what the client takes. Aborts where that does not hold. */

#include "proto/mqtt.h"

#define PEER_SENT_MAX 64

typedef struct Peer {
        char device;   /* 'a' or 'b'; 0: any, topics are not judged */
        size_t window; /* of the server: at most PEER_SENT_MAX */
        bool marked;   /* payloads say whose they are */
        bool may_read; /* what "a" was granted of "b" */
        bool may_write;

        MqttConnect connect; /* what the first packet said */
        bool said_connect;
        bool connected; /* CONNACK came, and was none that refuses */
        bool ended;     /* nothing may come any more */
        uint16_t sent[PEER_SENT_MAX];
        bool releases[PEER_SENT_MAX]; /* PUBREC was sent */
        uint8_t qos[PEER_SENT_MAX];
        size_t n_sent;
        uint8_t received[8192]; /* a bit for each identifier that PUBREC was ever said for */
        char aliases[16][64];
        size_t n_pubacks, n_pubrecs; /* that did not refuse */
        size_t n_publishes;
} Peer;

/* The engine took this off the input, one packet at most. */
void peer_said(Peer *p, Bytes packet);
/* The engine appended this to the output. */
void peer_hears(Peer *p, Bytes packets);
