/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A message on its way to sessions: shared by all that get it, never changed. */

#include "base/time.h"
#include "base/util.h"
#include "proto/mqtt.h"

/* Two sets of topics of each device that never match one another. */
typedef enum MqttSpace {
        MQTT_SPACE_DEVICE,      /* telemetry, commands */
        MQTT_SPACE_ATTESTATION, /* challenges, evidence, results */
} MqttSpace;

typedef struct MqttMessage {
        unsigned n_refs;
        MqttSpace space;
        uint8_t qos;
        Bytes topic; /* below the device, in `space`; a NUL follows it */
        Bytes payload;
        Bytes properties; /* encoded: those that go on to the receiver */
        usec_t expires;   /* CLOCK_BOOTTIME, or infinity */
} MqttMessage;

/* Copies everything; `properties` may be NULL. 0 or -ENOMEM. */
int mqtt_message_new(MqttSpace space, Bytes topic, Bytes payload, uint8_t qos,
                     const MqttProperties *properties, usec_t now, MqttMessage **ret);
MqttMessage *mqtt_message_ref(MqttMessage *m);
MqttMessage *mqtt_message_unref(MqttMessage *m);
DEFINE_CLEANUP(MqttMessage, mqtt_message_unref)

/* The bytes that it costs to keep. */
static inline size_t mqtt_message_cost(const MqttMessage *m)
{
        return sizeof(*m) + m->topic.len + m->payload.len + m->properties.len;
}
