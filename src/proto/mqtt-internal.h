/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the reader, the writer and the properties of the MQTT codec; nobody else's. */

#include "proto/mqtt.h"

/* Where properties stand: what a client may send there. */
typedef enum MqttContext {
        MQTT_IN_CONNECT = 1 << 0,
        MQTT_IN_WILL = 1 << 1,
        MQTT_IN_PUBLISH = 1 << 2,
        MQTT_IN_ACK = 1 << 3,
        MQTT_IN_SUBSCRIBE = 1 << 4,
        MQTT_IN_UNSUBSCRIBE = 1 << 5,
        MQTT_IN_DISCONNECT = 1 << 6,
        MQTT_IN_AUTH = 1 << 7,
} MqttContext;

/* Section 1.5.5: up to four bytes. `ret_padded` (may be NULL) when it was not the shortest form;
 * then, with NULL, the reader fails. */
uint32_t mqtt_read_varint(Reader *r, bool *ret_padded);
/* Two bytes of length, then the data; strings are checked. */
Bytes mqtt_read_binary(Reader *r);
Bytes mqtt_read_string(Reader *r);

/* Reads the length and the properties. */
MqttReason mqtt_read_properties(Reader *r, MqttContext where, MqttProperties *ret);

size_t mqtt_varint_size(uint32_t v);
int mqtt_append_varint(Buf *out, uint32_t v);
int mqtt_append_binary(Buf *out, Bytes b);
