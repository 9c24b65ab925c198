/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What one session has subscribed to: few, bounded, searched one by one. */

#include "domain/mqtt-message.h"

#define MQTT_SUBSCRIPTIONS_MAX 64

typedef struct MqttSubscriptionEntry {
        char *text;    /* the filter as the client wrote it */
        size_t prefix; /* bytes of it in front of the filter below the device */
        MqttSpace space;
        uint8_t qos;
        bool no_local;
        uint32_t id; /* 0: none */
} MqttSubscriptionEntry;

typedef struct MqttSubscriptions {
        MqttSubscriptionEntry *entries;
        size_t n, max; /* max: at most MQTT_SUBSCRIPTIONS_MAX */
} MqttSubscriptions;

void mqtt_subscriptions_done(MqttSubscriptions *s);
/* Copies `e`; takes the place of an entry with the same text [MQTT-3.8.4-3]. 0, -ENOSPC, -ENOMEM.
 */
int mqtt_subscriptions_put(MqttSubscriptions *s, const MqttSubscriptionEntry *e);
bool mqtt_subscriptions_remove(MqttSubscriptions *s, Bytes text);

/* One copy that a client gets of a message: the subscriptions that match and write the topic in
 * the same way give one copy, with the highest QoS among them. */
typedef struct MqttCopy {
        Bytes prefix; /* of the topic; lives in the subscription */
        uint8_t qos;
        uint32_t ids[MQTT_SUBSCRIPTIONS_MAX];
        size_t n_ids;
} MqttCopy;

/* The next copy, `*i` from 0. `own`: the message came from this session. */
bool mqtt_subscriptions_match(const MqttSubscriptions *s, const MqttMessage *m, bool own, size_t *i,
                              MqttCopy *ret);
