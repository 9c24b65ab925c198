/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One connection to an MQTT 5 broker by libmosquitto, from connect to its end; never used again.
 *
 * As long as the TLS handshake may come, calls run on a fiber when the key is in the TPM. While
 * that fiber waits nothing else is called on the instance. */

#include <sys/socket.h>

#include "platform/mqtt-client.h"

typedef struct MqttConnection MqttConnection;

/* All are called from the loop, none from inside a call into the connection. `down` comes once,
 * also when `up` never came; nothing comes after it. */
typedef struct MqttConnectionEvents {
        void (*up)(const MqttLimits *limits, void *userdata);
        void (*down)(MqttEnd end, const char *reason, void *userdata);
        void (*acknowledged)(int mid, uint8_t reason_code, void *userdata);
        void (*message)(const MqttClientMessage *message, void *userdata);
} MqttConnectionEvents;

/* `config` is read during the call only. */
int mqtt_connection_new(Loop *l, const MqttClientConfig *config, Credential *credential,
                        const struct sockaddr_storage *address, const MqttConnectionEvents *events,
                        void *userdata, MqttConnection **ret);
/* May be called from the callbacks `up` and `down`. Says DISCONNECT when it is up. */
MqttConnection *mqtt_connection_free(MqttConnection *c);

int mqtt_connection_publish(MqttConnection *c, const MqttClientPublish *publish, int *ret_mid);
int mqtt_connection_subscribe(MqttConnection *c, const char *filter);
