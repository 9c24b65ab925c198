/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One MQTT connection of a device: bytes in, actions out. It owns no descriptor and reads no clock.
 *
 * The client id is the device's name, or begins with it and goes on with a character that no name
 * holds ("dev1/shell"), so that one device may hold several sessions; an empty one becomes the
 * device's name. User name, password and authentication methods are refused: the certificate has
 * said who this is. State ends with the connection: Session Present is never set and the session
 * expiry is 0. QoS 2 and retained messages are announced as not available; 3.1.1 cannot hear that,
 * so a QoS 2 message ends its connection and the retain flag is without effect there.
 *
 * A PUBACK goes out when the port has reported the message durable, in the order in which the
 * messages came. When too many wait for that, or the client does not read, the engine stops taking
 * packets; nothing is dropped. */

#include "base/buf.h"
#include "domain/mqtt-message.h"
#include "domain/mqtt-router.h"
#include "proto/mqtt.h"

#define MQTT_CLIENT_ID_MAX 128

typedef struct MqttSessionConfig {
        uint32_t maximum_packet_size; /* bytes, in both directions */
        uint16_t keep_alive;          /* seconds; the longest */
        uint16_t receive_maximum;     /* unacknowledged QoS 1 of a client; at least 1 */
        uint16_t topic_alias_maximum; /* at most MQTT_TOPIC_ALIASES_MAX */
        uint16_t subscriptions;       /* at most MQTT_SUBSCRIPTIONS_MAX */
        uint16_t delivery_window;     /* unacknowledged messages to a client */
        size_t delivery_bytes;        /* that may wait for a client */
        usec_t connect_timeout;       /* from the TLS handshake to CONNECT */
} MqttSessionConfig;

#define MQTT_TOPIC_ALIASES_MAX 16
#define MQTT_SESSION_CONFIG_DEFAULT                                                                \
        ((MqttSessionConfig){ .maximum_packet_size = 256 * 1024,                                   \
                              .keep_alive = 300,                                                   \
                              .receive_maximum = 64,                                               \
                              .topic_alias_maximum = MQTT_TOPIC_ALIASES_MAX,                       \
                              .subscriptions = 32,                                                 \
                              .delivery_window = 32,                                               \
                              .delivery_bytes = 256 * 1024,                                        \
                              .connect_timeout = 10 * USEC_PER_SEC })

typedef enum MqttAccess {
        MQTT_ACCESS_PUBLISH,
        MQTT_ACCESS_SUBSCRIBE,
} MqttAccess;

/* What the policy says about a topic as the client wrote it. */
typedef struct MqttDecision {
        bool allowed;
        const char *reason; /* when it is not: a constant word, for the peer and for REASON= */
        MqttSpace space;
        const char *topic; /* below the device: the end of the string that was asked about */
} MqttDecision;

/* A PUBLISH on its way to the disk. */
typedef struct MqttInbound {
        List node;
        MqttSession *session;
        void *ticket; /* the port's */
        uint16_t packet_id;
        uint8_t qos;
        bool answered;
        MqttReason reason;
        const char *text;
} MqttInbound;

typedef struct MqttSubmission {
        MqttSpace space;
        const char *topic; /* below the device */
        uint8_t qos;
        Bytes payload;
        Bytes content_type, response_topic, correlation_data; /* empty for 3.1.1 */
} MqttSubmission;

typedef struct MqttSessionPort {
        MqttDecision (*decide)(MqttAccess access, const char *topic, void *userdata);
        /* May messages of `space` go to this device now? */
        bool (*may_receive)(MqttSpace space, void *userdata);
        /* Takes a message: copies it and calls mqtt_session_submitted(in) later, never from
         * inside. `in` NULL: a will, nobody waits. 0 or -ENOMEM. */
        int (*submit)(MqttInbound *in, const MqttSubmission *m, void *userdata);
        /* `in` is about to be freed: its answer is not wanted any more. */
        void (*abandon)(MqttInbound *in, void *userdata);
        /* CONNECT was accepted. */
        void (*connected)(void *userdata);
        /* A topic was denied: to be logged, with a limit. */
        void (*denied)(MqttAccess access, Bytes topic, const char *reason, void *userdata);
        /* Output was appended, input may go on, or the session has ended: look at it again, but
         * not from inside this call. */
        void (*wake)(void *userdata);
} MqttSessionPort;

/* `out` is the connection's output and outlives the session. */
int mqtt_session_new(const MqttSessionConfig *config, const MqttSessionPort *port, void *userdata,
                     MqttRouter *router, const char *device, Buf *out, usec_t now,
                     MqttSession **ret);
/* Without a DISCONNECT from the client its will is published. */
MqttSession *mqtt_session_free(MqttSession *s);
DEFINE_CLEANUP(MqttSession, mqtt_session_free)

typedef enum MqttInput {
        MQTT_INPUT_MORE,    /* wants more bytes */
        MQTT_INPUT_AGAIN,   /* `packets` were taken: call again in the next turn */
        MQTT_INPUT_BLOCKED, /* takes nothing before the next wake(): stop reading */
        MQTT_INPUT_ENDED,
} MqttInput;

/* Takes at most `packets` whole packets off the front of `in`. */
MqttInput mqtt_session_input(MqttSession *s, Bytes in, unsigned packets, usec_t now,
                             size_t *ret_consumed);
/* What became of a message: MQTT_SUCCESS means that it is durable. `text` (may be NULL) has to be
 * constant. `in` is gone afterwards. */
void mqtt_session_submitted(MqttInbound *in, MqttReason reason, const char *text);
/* The connection has written output away. */
void mqtt_session_drained(MqttSession *s, usec_t now);
/* Keep-alive and the deadline of CONNECT: call every second or so. */
void mqtt_session_tick(MqttSession *s, usec_t now);
/* Whether a message went to (the queue of) this session. For the router. */
bool mqtt_session_deliver(MqttSession *s, MqttMessage *m, const MqttSession *origin, usec_t now);
/* Ends it with this reason, told to the client where the protocol can. `text` is copied. */
void mqtt_session_end(MqttSession *s, MqttReason reason, const char *text);

bool mqtt_session_has_subscriptions(const MqttSession *s);
bool mqtt_session_has_ended(const MqttSession *s);
/* Why; MQTT_SUCCESS for a client that said goodbye. `ret_text` is "" or a sentence. */
MqttReason mqtt_session_end_reason(const MqttSession *s, const char **ret_text);
/* "" before CONNECT. */
const char *mqtt_session_client_id(const MqttSession *s);
