/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The index of topics by their first level, which is a device's name nearly always: who subscribed
 * there and what is retained there. Filters that begin with a wildcard stand in a root of their
 * own, that every message passes. */

#include "base/hashmap.h"
#include "domain/mqtt-subscriptions.h"

struct MqttRoot {
        char *name;    /* the first level; NULL: of the wildcards */
        List entries;  /* MqttSubscriptionEntry, not shared */
        List shares;   /* MqttShare */
        List retained; /* MqttRetained */
};

/* The subscriptions to one filter under one share name: a message goes to one of them (MQTT 5.0
 * section 4.8.2). */
struct MqttShare {
        List node;
        MqttRoot *root;
        char *name, *filter;
        List entries; /* the next to serve is the first */
};

typedef struct MqttTopics {
        Hashmap *roots;
        MqttRoot wild;
} MqttTopics;

int mqtt_topics_init(MqttTopics *t);
/* No subscription and nothing retained may be left. */
void mqtt_topics_done(MqttTopics *t);

/* NULL: there is none. */
MqttRoot *mqtt_topics_find(const MqttTopics *t, Bytes topic);
/* Made when it is not there. `filter` may begin with a wildcard. 0 or -ENOMEM. */
int mqtt_topics_root(MqttTopics *t, Bytes filter, MqttRoot **ret);
/* Frees it when nothing stands in it any more. */
void mqtt_topics_release(MqttTopics *t, MqttRoot *r);

/* Enters a subscription; `share` is its share name, NULL when it is not shared. 0 or -ENOMEM. */
int mqtt_topics_enter(MqttTopics *t, MqttSubscriptionEntry *e, const char *share);
void mqtt_topics_leave(MqttTopics *t, MqttSubscriptionEntry *e);
