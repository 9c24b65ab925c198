/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Who is connected: the sessions of each device, one for each client id, and the way of a message
 * to those that subscribed to it. Messages stay within a device. */

#include "base/hashmap.h"
#include "base/list.h"
#include "domain/mqtt-message.h"

typedef struct MqttRouter MqttRouter;
typedef struct MqttRouterDevice MqttRouterDevice;
typedef struct MqttSession MqttSession;

/* A session's place in the router; embedded in it. */
typedef struct MqttRouterSlot {
        List node;
        MqttSession *session;
        MqttRouterDevice *device; /* NULL: not attached */
        const char *client_id;
} MqttRouterSlot;

/* At most `sessions_per_device` client ids of a device at a time. */
int mqtt_router_new(size_t sessions_per_device, MqttRouter **ret);
/* Every session must have been freed before. */
MqttRouter *mqtt_router_free(MqttRouter *r);
DEFINE_CLEANUP(MqttRouter, mqtt_router_free)

/* Enters a session. An older one with the same client id ends with "session taken over"
 * [MQTT-3.1.4-3]. 0, -ENOSPC: the device has too many, -ENOMEM. */
int mqtt_router_attach(MqttRouter *r, const char *device, MqttRouterSlot *slot);
/* Harmless when it is not attached. */
void mqtt_router_detach(MqttRouter *r, MqttRouterSlot *slot);

/* Whether a message to this device can be of interest to anybody. */
bool mqtt_router_has_subscribers(const MqttRouter *r, const char *device);
/* To every session of `device` that subscribed to it. `origin` (may be NULL) is where it came
 * from. Returns how many sessions took it. */
size_t mqtt_router_publish(MqttRouter *r, const char *device, MqttMessage *m,
                           const MqttSession *origin, usec_t now);
