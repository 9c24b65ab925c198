/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* MQTT 5 client over mutual TLS that keeps its connection: resolves, connects, waits and tries
 * again. libmosquitto on the loop, no threads but the resolver's. It remembers nothing over a
 * reconnect (clean start): what is to be sent again is the caller's. */

#include "base/bytes.h"
#include "platform/credential.h"
#include "platform/loop.h"

/* A plain struct; texts are copied. Times in microseconds, 0: the default. */
typedef struct MqttClientConfig {
        const char *host; /* name or address */
        uint16_t port;
        const char *server_name; /* what its certificate must be for; NULL: `host` */
        const char *ca;          /* PEM file; read at each connect */
        const char *client_id;
        uint16_t keep_alive; /* seconds; at least 5 */
        uint16_t window;     /* messages in flight that will be asked for */
        bool allow_tls12;
        usec_t connect_timeout;          /* until CONNACK; 30 s */
        usec_t backoff_min, backoff_max; /* 500 ms, 2 min */
} MqttClientConfig;

typedef struct MqttLimits {
        uint16_t receive_maximum;     /* QoS 1 messages that may be in flight */
        uint32_t maximum_packet_size; /* 0: no limit */
} MqttLimits;

typedef struct MqttUserProperty {
        const char *name, *value;
} MqttUserProperty;

typedef struct MqttClientPublish {
        const char *topic;
        Bytes payload;
        const char *content_type; /* or NULL */
        uint32_t expiry;          /* seconds; 0: never */
        const MqttUserProperty *properties;
        size_t n_properties;
} MqttClientPublish;

typedef struct MqttClientMessage {
        const char *topic;
        Bytes payload;
        const char *content_type; /* or NULL */
        bool retained;
} MqttClientMessage;

/* What the end of a connection may say of the messages that were in flight. */
typedef enum MqttEnd {
        MQTT_END_LINK,   /* nothing: the network, a timeout, or what the broker says of itself */
        MQTT_END_BROKER, /* it closed, reset, or sent what is no MQTT: perhaps one was the cause */
        MQTT_END_DENIED, /* its DISCONNECT speaks of rights or quota: one was not allowed */
        /* Of an attempt alone: */
        MQTT_END_REFUSED, /* it does not let this client in: an alert, or a CONNACK that denies */
        MQTT_END_DOUBT,   /* it said nothing after the TLS handshake: perhaps that */
} MqttEnd;

/* Called from the loop. None of them may free the client. */
typedef struct MqttClientEvents {
        void (*connected)(const MqttLimits *limits, void *userdata);
        /* Also after an attempt that failed. `reason` is half a sentence for an operator. */
        void (*disconnected)(MqttEnd end, const char *reason, usec_t retry_in, void *userdata);
        /* `reason_code` below 0x80: the broker has it (MQTT 5 section 2.4). */
        void (*acknowledged)(int mid, uint8_t reason_code, void *userdata);
        /* `message` holds during the call. */
        void (*message)(const MqttClientMessage *message, void *userdata);
} MqttClientEvents;

typedef struct MqttClient MqttClient;

/* Begins to connect from the loop. `credential` may be NULL (no client certificate). */
int mqtt_client_new(Loop *l, const MqttClientConfig *config, Credential *credential,
                    const MqttClientEvents *events, void *userdata, MqttClient **ret);
MqttClient *mqtt_client_free(MqttClient *c);
DEFINE_CLEANUP(MqttClient, mqtt_client_free)

/* Another may take it over, from `connected` as well. */
void mqtt_client_set_events(MqttClient *c, const MqttClientEvents *events, void *userdata);
/* What it was made with; holds as long as the client. */
const MqttClientConfig *mqtt_client_config(const MqttClient *c);
Credential *mqtt_client_credential(const MqttClient *c);

/* Gives the connection up, as after MQTT_END_LINK; calls `disconnected`. Without one: nothing. */
void mqtt_client_reconnect(MqttClient *c, const char *reason);
/* Connects or tries to, since it began. */
uint64_t mqtt_client_attempts(const MqttClient *c);

/* QoS 1. 0; -ENOTCONN; -EMSGSIZE: larger than the broker takes; -EINVAL: the topic or a text is
 * not valid; -ENOMEM. */
int mqtt_client_publish(MqttClient *c, const MqttClientPublish *publish, int *ret_mid);
/* Once for each connection, from `connected`. -ENOTCONN, -EINVAL. */
int mqtt_client_subscribe(MqttClient *c, const char *filter);

/* Words for a reason code of MQTT 5. */
const char *mqtt_client_reason(uint8_t reason_code);
bool mqtt_topic_matches(const char *filter, const char *topic);
bool mqtt_filter_valid(const char *filter);
