/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What one session has subscribed to: few, bounded, searched one by one. Each entry also stands in
 * the index (mqtt-topics.h), by which a message finds it. */

#include "base/list.h"
#include "domain/mqtt-message.h"

#define MQTT_SUBSCRIPTIONS_MAX 64

typedef struct MqttSession MqttSession;
typedef struct MqttRoot MqttRoot;
typedef struct MqttShare MqttShare;

typedef struct MqttSubscriptionEntry {
        List node;     /* the session's */
        List in_index; /* a root's, or its share's */
        MqttSession *session;
        MqttRoot *root;
        MqttShare *share; /* NULL: not shared */
        uint32_t key;     /* on disk, within the session */

        char *text;      /* the filter as the client wrote it, with "$share/NAME/" */
        char *filter;    /* absolute, without it */
        size_t left_out; /* bytes of a topic in front that this client does not write */
        uint8_t qos;
        bool no_local, retain_as_published;
        uint32_t id; /* 0: none */
} MqttSubscriptionEntry;

typedef struct MqttSubscriptions {
        List entries;
        size_t n;
        uint32_t last_key;
} MqttSubscriptions;

/* Copies `text` and `filter`. 0 or -ENOMEM. */
int mqtt_subscription_new(const char *text, const char *filter, MqttSubscriptionEntry **ret);
/* It must stand in no list. */
MqttSubscriptionEntry *mqtt_subscription_free(MqttSubscriptionEntry *e);
DEFINE_CLEANUP(MqttSubscriptionEntry, mqtt_subscription_free)

/* "#" matches the level above too [MQTT-4.7.1-2]: but what is not below the device cannot be
 * written without its name. */
bool mqtt_subscription_matches(const MqttSubscriptionEntry *e, Bytes topic);

void mqtt_subscriptions_init(MqttSubscriptions *s);
MqttSubscriptionEntry *mqtt_subscriptions_find(const MqttSubscriptions *s, Bytes text);

/* One copy that a client gets of a message: the subscriptions that match and write the topic in
 * the same way give one copy, with the highest QoS among them. */
typedef struct MqttCopy {
        uint8_t qos;
        bool retain;
        size_t left_out;
        uint32_t share; /* key of the shared subscription; 0: by others */
        uint32_t ids[MQTT_SUBSCRIPTIONS_MAX];
        size_t n_ids;
} MqttCopy;

/* The copy by one subscription alone. */
void mqtt_subscription_copy(const MqttSubscriptionEntry *e, const MqttMessage *m, MqttCopy *ret);
/* The next copy by the subscriptions that are not shared; false when there is none. `*at` begins
 * with the first entry (of an empty list: its head). `own`: the message came from this session. */
bool mqtt_subscriptions_match(const MqttSubscriptions *s, const MqttMessage *m, bool own, List **at,
                              MqttCopy *ret);
