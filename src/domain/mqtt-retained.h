/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Retained messages (MQTT 5.0 section 3.3.1.3): the last one of each topic. */

#include "domain/mqtt-server-internal.h"

typedef struct MqttRetained {
        List node; /* the root's */
        List all;  /* the server's */
        char *topic;
        MqttRoot *root;
        uint64_t id;                    /* on disk */
        MqttServerDevice *owner;        /* who published the last one */
        uint64_t counted;               /* bytes in the owner's account */
        MqttMessage *committed;         /* on disk; NULL: none */
        MqttServerDevice *committed_by; /* NULL: nobody */
        MqttMessage *pending;           /* being written; an empty payload clears. NULL: none */
} MqttRetained;

/* Whether the device may retain `m` too. */
bool mqtt_retained_has_room(const MqttServer *s, const char *device, const MqttMessage *m);
/* Whether a message behind the MqttPending `number` is being written for `topic`. */
bool mqtt_retained_is_open(const MqttServer *s, Bytes topic, uint64_t number);
/* `m`, published by `device`, takes the place of what is retained for its topic, or clears it. In
 * force at once; mqtt_retained_settle() says whether it lasts, when `ret_by` is not NULL: that is
 * held until then. 0 or -ENOMEM. */
int mqtt_retained_set(MqttServer *s, const char *device, MqttMessage *m, MqttServerDevice **ret_by);
/* Lets go of `by`. */
void mqtt_retained_settle(MqttServer *s, MqttMessage *m, MqttServerDevice *by, bool durable);
/* What was read from disk. 0 or -ENOMEM. */
int mqtt_retained_restore(MqttServer *s, const char *device, uint64_t id, MqttMessage *m);

/* To a session that just subscribed, up to the first that finds no room. */
void mqtt_retained_deliver(MqttServer *s, MqttSession *session, const MqttSubscriptionEntry *e,
                           usec_t now);
/* Forgets those that have expired, and those of devices that are no more; `most` of them. False:
 * there may be others. */
bool mqtt_retained_sweep(MqttServer *s, usec_t now, size_t most);
/* Frees all; they stay on disk. */
void mqtt_retained_done(MqttServer *s);
