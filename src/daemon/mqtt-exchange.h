/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A question of a device about its attestation, and the answer to it: a message of its own, by MQTT
 * 5's request and response.
 *
 * What cannot be answered is refused with a reason in PUBACK or PUBREC. That takes MQTT 5 and more
 * than QoS 0: 3.1.1 would end the connection instead, and a device that asks a moment too soon is
 * no reason for that. Who cannot be told so gets a problem (RFC 9290) in place of the answer. */

#include "daemon/attest.h"
#include "daemon/ingress-mqtt-internal.h"
#include "proto/problem.h"

typedef struct MqttExchange {
        IngressMqtt *in;
        List node; /* in in->rats, once it is sure that there will be an answer */
        DeviceState *device;
        EvidenceTicket *evidence; /* while it is appraised */
        MqttMessage *answer;      /* once there is one */
        bool refusable;
        Bytes topic, correlation; /* of the answer; behind this struct */
} MqttExchange;

/* To be answered at `topic`. NULL without memory. */
MqttExchange *mqtt_exchange_new(IngressMqtt *in, DeviceState *d, const MqttSubmission *m,
                                Bytes topic);
/* Cancels it, wherever it is. Takes NULL. */
MqttExchange *mqtt_exchange_free(MqttExchange *e);

/* Makes its answer; `lifetime` in seconds, 0: it does not expire. 0, -ENOBUFS, -ENOMEM. */
int mqtt_exchange_make(MqttExchange *e, Bytes payload, const char *content_type, uint32_t lifetime);
int mqtt_exchange_make_problem(MqttExchange *e, const Problem *p);

/* Each ends the exchange. The answer goes out at once, which must not be inside the engine; */
void mqtt_exchange_publish(MqttExchange *e);
/* when the engine is done with the question (`error`: of making the answer); */
MqttReason mqtt_exchange_answer(MqttExchange *e, int error, const char **ret_text);
/* or there is none. */
MqttReason mqtt_exchange_refuse(MqttExchange *e, const Problem *p, const char **ret_text);
