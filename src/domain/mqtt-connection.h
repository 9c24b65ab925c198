/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One Network Connection of a device to the MQTT server: bytes in, packets out. It owns no
 * descriptor and reads no clock.
 *
 * The certificate has said which device this is; its class says under which client ids it may
 * connect. An empty one is given "<device>/auto-<number>". A user name or password is refused or
 * ignored, as configured, an authentication method refused.
 *
 * Answers go out in the order of what they answer, each when what it promises is durable. When too
 * many wait for that, the device has used up its allowance, or the client does not read, the engine
 * stops taking packets; nothing is dropped. */

#include "domain/mqtt-server.h"

#define MQTT_CLIENT_ID_MAX 128

typedef struct MqttConnectionPort {
        /* CONNECT was accepted. */
        void (*connected)(void *userdata);
        /* A topic was denied: to be logged, with a limit. */
        void (*denied)(MqttAccess access, Bytes topic, const char *reason, void *userdata);
        /* Output was appended, input may go on, or the connection has ended: look at it again, but
         * not from inside this call. */
        void (*wake)(void *userdata);
} MqttConnectionPort;

/* `out` is the connection's output and outlives it. 0 or -ENOMEM. */
int mqtt_connection_new(MqttServer *server, const char *device, Buf *out,
                        const MqttConnectionPort *port, void *userdata, usec_t now,
                        MqttConnection **ret);
/* The Network Connection is closed. Takes NULL. */
MqttConnection *mqtt_connection_free(MqttConnection *c);
DEFINE_CLEANUP(MqttConnection, mqtt_connection_free)

typedef enum MqttInput {
        MQTT_INPUT_MORE,    /* wants more bytes */
        MQTT_INPUT_AGAIN,   /* enough was taken: call again in the next turn */
        MQTT_INPUT_BLOCKED, /* takes nothing before the next wake(), or `ret_wait` from now */
        MQTT_INPUT_ENDED,
} MqttInput;

/* Takes at most `packets` whole packets off the front of `in`; a topic filter counts as one more.
 * `ret_wait`: how long the device's allowance makes it wait, 0 when that is not the reason. */
MqttInput mqtt_connection_input(MqttConnection *c, Bytes in, unsigned packets, usec_t now,
                                size_t *ret_consumed, usec_t *ret_wait);
/* Output was written away. */
void mqtt_connection_drained(MqttConnection *c, usec_t now);
/* Keep-alive and the deadline of CONNECT: call every second or so. */
void mqtt_connection_tick(MqttConnection *c, usec_t now);
/* Ends it with this reason, told to the client where the protocol can. `text` is copied. */
void mqtt_connection_end(MqttConnection *c, MqttReason reason, const char *text);

bool mqtt_connection_has_ended(const MqttConnection *c);
/* Why; MQTT_SUCCESS for a client that said goodbye. `ret_text` is "" or a sentence. */
MqttReason mqtt_connection_end_reason(const MqttConnection *c, const char **ret_text);
/* "" before CONNECT. */
const char *mqtt_connection_client_id(const MqttConnection *c);
const char *mqtt_connection_device(const MqttConnection *c);
