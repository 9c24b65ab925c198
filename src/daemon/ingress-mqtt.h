/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The devices' MQTT door: TLS connections, a session on each, and the daemon behind. A PUBLISH goes
 * to gateway_submit() and is acknowledged when that says it is stored. */

#include <sys/socket.h>

#include "domain/mqtt-server.h"
#include "domain/registry.h"
#include "platform/credential.h"
#include "platform/loop.h"
#include "platform/store.h"
#include "platform/trust.h"

typedef struct Gateway Gateway;
typedef struct IngressMqtt IngressMqtt;

typedef struct IngressMqttSettings {
        Trust *trust; /* in devices */
        Store *store; /* has the sessions, and outlives this */
        bool minimum_tls_1_3;
        uint32_t maximum_packet_size; /* bytes */
        uint32_t maximum_connections;
        usec_t keep_alive;     /* the longest, whole seconds */
        usec_t session_expiry; /* the longest; 0: no session outlives its connection */
        bool ignore_passwords;
        usec_t earliest; /* CLOCK_REALTIME before this is wrong */
} IngressMqttSettings;

/* Takes up the sessions that the store has. Does not listen yet, and refuses handshakes until it
 * has a credential. 0, or a negative errno with the reason logged. */
int ingress_mqtt_new(Gateway *g, Loop *loop, const IngressMqttSettings *settings,
                     IngressMqtt **ret);
/* Ends all sessions. Takes NULL. */
IngressMqtt *ingress_mqtt_free(IngressMqtt *in);
DEFINE_CLEANUP(IngressMqtt, ingress_mqtt_free)

/* See tls_server_set_credential() and tls_server_listen(). */
int ingress_mqtt_set_credential(IngressMqtt *in, Credential *c);
int ingress_mqtt_listen(IngressMqtt *in, const struct sockaddr_storage *address);
/* For an address with port 0. */
int ingress_mqtt_listen_any(IngressMqtt *in, const struct sockaddr_storage *address,
                            uint16_t *ret_port);

/* Another trust and another oldest version of TLS, in two steps: see tls_server_prepare(). */
int ingress_mqtt_prepare(IngressMqtt *in, Trust *trust, bool minimum_tls_1_3, Reason *reason);
void ingress_mqtt_commit(IngressMqtt *in);
void ingress_mqtt_cancel(IngressMqtt *in);
/* Ends the sessions that began with a chain which does not count any more by `trust`. What has
 * merely expired at `now` (CLOCK_REALTIME) stays. */
void ingress_mqtt_review(IngressMqtt *in, const Trust *trust, usec_t now);

/* The sessions, connected or not, and what is kept for them. */
void ingress_mqtt_each(const IngressMqtt *in, MqttSessionEach each, void *userdata);
void ingress_mqtt_stats(const IngressMqtt *in, MqttServerStats *ret);

/* See tls_server_handshakes(). */
void ingress_mqtt_handshakes(const IngressMqtt *in, uint64_t *ret_full, uint64_t *ret_resumed);

/* Ends the device's sessions and looks at `d` no more: before its state is freed. */
void ingress_mqtt_forget(IngressMqtt *in, DeviceState *d);

/* Other rules or limits are in force, or devices are gone. */
void ingress_mqtt_reconfigured(IngressMqtt *in);
/* The posture of `d` is another: what waited for it may go now. */
void ingress_mqtt_device_changed(IngressMqtt *in, const DeviceState *d);

/* To all sessions that subscribed to it; kept ones get it once it is durable. Returns how many, or
 * -ENOMEM. */
int ingress_mqtt_publish(IngressMqtt *in, MqttMessage *m);
