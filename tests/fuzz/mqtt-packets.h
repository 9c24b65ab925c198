/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Packets of a client that are well-formed, with fields that the input chooses from small sets, so
 * that they have to do with one another. */

#include "mqtt-peer.h"

typedef struct PacketSender {
        MqttVersion version;
        char mark;        /* the first byte of all its payloads */
        const Peer *peer; /* what it has heard */
} PacketSender;

void packet_connect(Buf *out, Reader *r, const PacketSender *s);
void packet_publish(Buf *out, Reader *r, const PacketSender *s);
void packet_subscribe(Buf *out, Reader *r, const PacketSender *s);
void packet_unsubscribe(Buf *out, Reader *r, const PacketSender *s);
/* Of a message to the client or of one that it sent. */
void packet_ack(Buf *out, Reader *r, const PacketSender *s);
/* PINGREQ, DISCONNECT, AUTH. */
void packet_other(Buf *out, Reader *r, const PacketSender *s);
