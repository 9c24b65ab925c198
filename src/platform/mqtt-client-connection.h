/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One connection to an MQTT 5 broker by libmosquitto, from connect to its end; never used again.
 *
 * As long as the TLS handshake may come, calls run on a fiber when the key is in the TPM. While
 * that fiber waits nothing else is called on the instance. */

#include <sys/socket.h>

#include "platform/mqtt-client.h"

typedef struct MqttClientConnection MqttClientConnection;

/* All are called from the loop, none from inside a call into the connection. `down` comes once,
 * also when `up` never came; nothing comes after it. */
typedef struct MqttClientConnectionEvents {
        void (*up)(const MqttLimits *limits, void *userdata);
        void (*down)(MqttEnd end, const char *reason, void *userdata);
        void (*acknowledged)(int mid, uint8_t reason_code, void *userdata);
        void (*message)(const MqttClientMessage *message, void *userdata);
} MqttClientConnectionEvents;

/* `config` is read during the call only. */
int mqtt_client_connection_new(Loop *l, const MqttClientConfig *config, Credential *credential,
                               const struct sockaddr_storage *address,
                               const MqttClientConnectionEvents *events, void *userdata,
                               MqttClientConnection **ret);
/* May be called from the callbacks `up` and `down`. Says DISCONNECT when it is up. */
MqttClientConnection *mqtt_client_connection_free(MqttClientConnection *c);

int mqtt_client_connection_publish(MqttClientConnection *c, const MqttClientPublish *publish,
                                   int *ret_mid);
int mqtt_client_connection_subscribe(MqttClientConnection *c, const char *filter);
