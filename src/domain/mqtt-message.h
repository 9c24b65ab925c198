/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* An Application Message on its way to sessions: shared by all that get it. */

#include "base/time.h"
#include "base/util.h"
#include "proto/mqtt.h"

typedef struct MqttMessage {
        unsigned n_refs;
        uint8_t qos;
        bool retain;      /* as the publisher set it */
        bool attestation; /* goes to a device whatever its posture is; never kept on disk */
        bool lost;        /* the publisher heard that it was not taken: nobody gets it */
        bool held;        /* nobody gets it before it is taken: it may be published again */
        uint64_t written; /* it is taken when this MqttPending is durable; 0: it is */
        uint64_t id;      /* of its copy on disk, 0: there is none */
        unsigned n_kept;  /* entries of queues on disk that name the copy */
        Bytes topic;      /* absolute: "dev1/temp"; a NUL follows it */
        Bytes payload;
        Bytes properties; /* encoded: those that go on to the receiver */
        usec_t expires;   /* CLOCK_BOOTTIME, or infinity */
} MqttMessage;

/* Copies everything; `properties` may be NULL. 0 or -ENOMEM. */
int mqtt_message_new(Bytes topic, Bytes payload, uint8_t qos, const MqttProperties *properties,
                     usec_t now, MqttMessage **ret);
/* From parts that are encoded already: -EBADMSG where the properties are none that go on. */
int mqtt_message_restore(Bytes topic, Bytes payload, Bytes properties, MqttMessage **ret);
/* Empty: none. */
Bytes mqtt_message_content_type(const MqttMessage *m);
MqttMessage *mqtt_message_ref(MqttMessage *m);
MqttMessage *mqtt_message_unref(MqttMessage *m);
DEFINE_CLEANUP(MqttMessage, mqtt_message_unref)

static inline bool mqtt_message_expired(const MqttMessage *m, usec_t now)
{
        return m->expires <= now;
}

/* The bytes that it costs to keep, in memory or on disk. */
static inline size_t mqtt_message_cost(const MqttMessage *m)
{
        return sizeof(*m) + m->topic.len + m->payload.len + m->properties.len;
}
