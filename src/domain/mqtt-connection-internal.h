/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the files of a connection and the server behind; nobody else's. */

#include "domain/mqtt-connection.h"
#include "domain/mqtt-server-internal.h"
#include "proto/topic.h"

typedef enum MqttConnectionState {
        MQTT_WAITS_FOR_CONNECT,
        MQTT_ACCEPTING, /* CONNACK waits for the disk */
        MQTT_CONNECTED,
        MQTT_ENDED,
} MqttConnectionState;

struct MqttConnection {
        MqttServer *server;
        char *device;
        const MqttConnectionPort *port;
        void *userdata;

        MqttConnectionState state;
        MqttSession *session; /* NULL before CONNECT, and once it was taken over */
        MqttOutlet outlet;
        MqttAliases aliases; /* of what it sends */
        usec_t keep_alive;   /* 0: none */
        usec_t deadline;     /* of the next packet */
        bool throttled;      /* by the device's allowance */
        bool goodbye;        /* DISCONNECT, without the will */
        size_t n_filters;    /* of SUBSCRIBE and UNSUBSCRIBE in this turn */

        List answers; /* MqttPending, in the order in which they go out */
        size_t n_answers;
        size_t n_unacknowledged; /* QoS 1 and 2 that count towards Receive Maximum */

        MqttReason end_reason;
        char *end_text;
};

/* Ends it when a writer could not append. */
void mqtt_connection_check_write(MqttConnection *c, int error);
/* What a delivery has brought: checks its error and wakes. */
void mqtt_connection_flushed(MqttConnection *c, int error);
/* An answer is ready: sends what may go out now. */
void mqtt_connection_answer(MqttConnection *c);
/* Lets go of its session, which learns that the connection has closed. */
void mqtt_connection_detach(MqttConnection *c);

/* A new answer at the end of the queue. NULL: no memory, the connection has ended. */
MqttPending *mqtt_answer_new(MqttConnection *c, MqttType type, uint16_t packet_id);
/* Its packet was written, or not (`error`): it goes out when what was put since `changes` is
 * durable. Frees it when the connection has ended. */
void mqtt_answer_commit(MqttConnection *c, MqttPending *a, int error, uint64_t changes);

/* `topic` as a string, and what the policy says of it; a topic out of bounds is not allowed
 * either. */
typedef struct MqttTopic {
        char text[TOPIC_BYTES_MAX + 1];
        PolicyTopic policy;
        PolicyOutcome outcome;
} MqttTopic;
/* NULL when it is allowed, else why not; that is logged. */
const char *mqtt_connection_decide(MqttConnection *c, MqttAccess access, Bytes topic,
                                   MqttTopic *ret);

void mqtt_connection_on_connect(MqttConnection *c, const MqttFrame *f, usec_t now);
void mqtt_connection_on_publish(MqttConnection *c, const MqttFrame *f, usec_t now);
void mqtt_connection_on_pubrel(MqttConnection *c, const MqttFrame *f);
void mqtt_connection_on_ack(MqttConnection *c, const MqttFrame *f, usec_t now);
void mqtt_connection_on_subscribe(MqttConnection *c, const MqttFrame *f, usec_t now);
void mqtt_connection_on_unsubscribe(MqttConnection *c, const MqttFrame *f);
