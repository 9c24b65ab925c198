/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the files of the session engine; nobody else's. */

#include "domain/mqtt-delivery.h"
#include "domain/mqtt-session.h"
#include "domain/mqtt-subscriptions.h"
#include "proto/topic.h"

typedef enum MqttState {
        MQTT_STATE_WAIT_CONNECT,
        MQTT_STATE_CONNECTED,
        MQTT_STATE_ENDED,
} MqttState;

struct MqttSession {
        const MqttSessionConfig *config;
        const MqttSessionPort *port;
        void *userdata;
        MqttRouter *router;
        char *device;
        Buf *out;

        MqttState state;
        MqttPeer peer; /* version 0 before CONNECT */
        char *client_id;
        MqttRouterSlot slot;
        usec_t keep_alive; /* 0: none */
        usec_t deadline;   /* of the next packet */
        bool expiry_was_zero;
        usec_t now;        /* when it was called last */
        MqttMessage *will; /* NULL: none */
        char *will_content_type;

        List inbound;                      /* in the order in which they came */
        size_t n_inbound, n_inbound_acked; /* all; those with QoS 1 */
        char *aliases[MQTT_TOPIC_ALIASES_MAX + 1];
        MqttSubscriptions subscriptions;
        MqttDelivery delivery;

        MqttReason end_reason;
        char end_text[160];
};

/* Ends it when a writer could not append. */
void mqtt_session_check_write(MqttSession *s, int error);
/* `topic` as a string in `ret` and what the policy says of it; a topic that is out of bounds is
 * not allowed either. */
typedef struct MqttTopic {
        char text[TOPIC_BYTES_MAX + 1];
        MqttDecision decision;
} MqttTopic;
void mqtt_session_decide(MqttSession *s, MqttAccess access, Bytes topic, MqttTopic *ret);

void mqtt_session_on_connect(MqttSession *s, const MqttFrame *f, usec_t now);
void mqtt_session_on_publish(MqttSession *s, const MqttFrame *f, usec_t now);
void mqtt_session_on_subscribe(MqttSession *s, const MqttFrame *f);
void mqtt_session_on_unsubscribe(MqttSession *s, const MqttFrame *f);
void mqtt_session_forget_will(MqttSession *s);
/* Publishes the will, if there is one, and forgets it. */
void mqtt_session_publish_will(MqttSession *s);
/* Abandons what waits for the disk. */
void mqtt_session_drop_inbound(MqttSession *s);
