/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* MQTT 3.1.1 and 5 as a client writes and reads it: its own bytes, not the daemon's code, so that
 * both cannot be wrong in the same way. */

#include "base/buf.h"

typedef enum WireType {
        WIRE_CONNECT = 1,
        WIRE_CONNACK,
        WIRE_PUBLISH,
        WIRE_PUBACK,
        WIRE_PUBREC,
        WIRE_PUBREL,
        WIRE_PUBCOMP,
        WIRE_SUBSCRIBE,
        WIRE_SUBACK,
        WIRE_DISCONNECT = 14,
} WireType;

typedef struct WirePacket {
        WireType type;
        uint8_t qos;    /* PUBLISH */
        uint16_t id;    /* 0: none */
        uint8_t reason; /* of answers and of DISCONNECT: from 0x80 on it is a failure */
        Bytes payload;  /* PUBLISH */
} WirePacket;

/* `version`: 4 is MQTT 3.1.1, 5 is MQTT 5. */
void wire_connect(Buf *b, unsigned version, const char *id, uint16_t keep_alive);
void wire_subscribe(Buf *b, unsigned version, uint16_t id, const char *filter, uint8_t qos);
/* Room for the payload, to be filled by the caller. */
uint8_t *wire_publish(Buf *b, unsigned version, const char *topic, uint8_t qos, uint16_t id,
                      size_t size);
/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
void wire_answer(Buf *b, WireType type, uint16_t id);
void wire_disconnect(Buf *b);

/* The first packet of `in`: its length, 0 where it is not whole, -1 for what is no MQTT. */
ssize_t wire_read(Bytes in, unsigned version, WirePacket *ret);
