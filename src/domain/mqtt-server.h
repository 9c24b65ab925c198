/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The MQTT server's state: sessions, which outlive their Network Connections, retained messages,
 * wills, and the way of a message to those who subscribed to it. It owns no descriptor, reads no
 * clock and knows no disk: what it needs is in its port.
 *
 * Every device has a server of its own, as it were: a client id is unique within a device, and a
 * message goes to another device only where the policy allows both its publishing and its
 * subscription.
 *
 * What has to survive is put through the port as values under keys while it changes, each change
 * in one group with the message that caused it. An answer that promises something (PUBACK, PUBREC,
 * SUBACK, CONNACK ...) waits as an MqttPending until the port says that all put before is durable;
 * so does the delivery of a message to a session that is kept, or with QoS 2. */

#include "base/list.h"
#include "domain/device.h"
#include "domain/mqtt-message.h"
#include "domain/policy.h"

typedef struct MqttServer MqttServer;
typedef struct MqttSession MqttSession;
typedef struct MqttConnection MqttConnection;
typedef struct MqttPending MqttPending;

typedef struct MqttServerConfig {
        uint32_t maximum_packet_size; /* bytes, in both directions */
        uint16_t keep_alive;          /* seconds; the longest */
        uint16_t receive_maximum;     /* unacknowledged QoS 1 and 2 of a client; at least 1 */
        uint16_t topic_alias_maximum; /* at most MQTT_TOPIC_ALIASES_MAX */
        uint16_t window;              /* unacknowledged messages to a client */
        uint32_t session_expiry;      /* seconds; the longest; UINT32_MAX: none too long */
        uint64_t kept_bytes;          /* on disk, of all queues and retained messages */
        uint64_t will_bytes;          /* on disk, of all wills */
        usec_t connect_timeout;       /* from the TLS handshake to CONNECT */
        uint64_t boot;                /* tells this boot of the host from others */
        usec_t earliest;              /* CLOCK_REALTIME before this is wrong */
        bool ignore_passwords;        /* else a user name or password is refused */
} MqttServerConfig;

#define MQTT_SERVER_CONFIG_DEFAULT                                                                 \
        ((MqttServerConfig){ .maximum_packet_size = 256 * 1024,                                    \
                             .keep_alive = 300,                                                    \
                             .receive_maximum = 64,                                                \
                             .topic_alias_maximum = 16,                                            \
                             .window = 32,                                                         \
                             .session_expiry = 7 * 86400,                                          \
                             .kept_bytes = UINT64_MAX,                                             \
                             .will_bytes = UINT64_MAX,                                             \
                             .connect_timeout = 10 * USEC_PER_SEC })

typedef enum MqttAccess {
        MQTT_ACCESS_PUBLISH,
        MQTT_ACCESS_WILL, /* to have one; it is published with the one above */
        MQTT_ACCESS_SUBSCRIBE,
} MqttAccess;

/* A message on its way out of the server: to the upstream, or to attestation. */
typedef struct MqttSubmission {
        const char *device; /* who publishes it */
        const char *topic;  /* below the device; as granted when it is outside of its namespace */
        uint8_t qos;
        Bytes payload;
        Bytes content_type, response_topic, correlation_data; /* empty: none */
        bool will;      /* what it may was asked before, whatever its posture is now */
        bool refusable; /* a refusal reaches the publisher and ends nothing: 5.0, not QoS 0 */
} MqttSubmission;

/* Under what a value is put; `a` and `b` are at most INT64_MAX. */
typedef struct MqttKey {
        uint8_t kind;
        uint64_t a, b;
} MqttKey;

/* What a value that is put has at most beside the packet that it came in: a topic for which an
 * alias stood there, names, times. */
#define MQTT_VALUE_EXTRA 2048

typedef struct MqttServerPort {
        PolicyOutcome (*decide)(MqttAccess access, const char *device, const char *topic,
                                PolicyTopic *ret, void *userdata);
        /* May this device be the client `id`? */
        bool (*may_be)(const char *device, Bytes id, void *userdata);
        /* May something other than attestation go to this device now? */
        bool (*may_receive)(const char *device, void *userdata);
        /* NULL: there is no such device (any more). */
        const ClassLimits *(*limits)(const char *device, void *userdata);
        /* Takes a packet of `len` bytes off the device's allowance: a message, SUBSCRIBE or
         * UNSUBSCRIBE. 0, or how long to wait. */
        usec_t (*charge)(const char *device, size_t len, usec_t now, void *userdata);
        /* A message for a client found no room, and the client is not to blame for it. */
        void (*overflow)(const char *device, const char *client_id, void *userdata);
        /* A will is not published, and will not be; `topic` is absolute. */
        void (*will_lost)(const char *device, const char *topic, const char *why, void *userdata);

        /* State cannot be kept for want of memory: the process has to end, so that it comes back
         * with what is on disk. */
        void (*failed)(int error, void *userdata);
        /* What is put and submitted up to the next call of begin() is done as a whole or, when the
         * submission fails, not at all. */
        void (*begin)(void *userdata);
        void (*put)(const MqttKey *key, Bytes value, void *userdata);
        void (*remove)(const MqttKey *key, void *userdata);
        /* Calls mqtt_server_settle(p) later, never from inside, when all that was put before is
         * durable or could not be made so. 0 or -ENOMEM. */
        int (*commit)(MqttPending *p, void *userdata);
        /* Takes a message, as commit() does. MQTT_SUCCESS, or why it is refused at once, with a
         * constant `ret_text`; then nothing comes later. */
        MqttReason (*submit)(MqttPending *p, const MqttSubmission *m, const char **ret_text,
                             void *userdata);
        /* A challenge is asked for, or evidence handed in; `topic` is below "rats/<device>/". Its
         * answer is a message of its own. Reason and text as above. */
        MqttReason (*attest)(const MqttSubmission *m, const char **ret_text, void *userdata);
} MqttServerPort;

int mqtt_server_new(const MqttServerConfig *config, const MqttServerPort *port, void *userdata,
                    MqttServer **ret);
/* Every connection must have been freed before, and the port settles nothing after. What is kept on
 * disk stays there. */
MqttServer *mqtt_server_free(MqttServer *s);
DEFINE_CLEANUP(MqttServer, mqtt_server_free)

/* What was put before: calls `each` for every value of `kind`, in the order of the keys. */
typedef int (*MqttStoredEach)(const MqttKey *key, Bytes value, void *userdata);
typedef int (*MqttStoredRead)(uint8_t kind, MqttStoredEach each, void *each_userdata,
                              void *userdata);
/* Takes it up again, before the first connection. What cannot be read, or belongs to nothing, is
 * removed and counted in `ret_dropped`; what the policy denies now ends as in mqtt_server_review().
 * Now and everywhere here `now` is CLOCK_BOOTTIME, `realtime` CLOCK_REALTIME at the same moment. 0
 * or a negative errno. */
int mqtt_server_restore(MqttServer *s, MqttStoredRead read, void *userdata, usec_t now,
                        usec_t realtime, size_t *ret_dropped);

/* What became of it: MQTT_SUCCESS means that it is durable. `text` (may be NULL) has to be
 * constant. `p` is gone afterwards. */
void mqtt_server_settle(MqttPending *p, MqttReason reason, const char *text);

/* Expiry of sessions and messages, delays of wills: call every second or so. */
void mqtt_server_tick(MqttServer *s, usec_t now, usec_t realtime);

/* To all who subscribed to `m`. Kept sessions get it when it is durable. How many sessions took
 * it, or -ENOMEM. */
int mqtt_server_publish(MqttServer *s, MqttMessage *m, usec_t now);

/* What the device may receive has changed: goes on with what waits for it. */
void mqtt_server_device_changed(MqttServer *s, const char *device, usec_t now);
/* What the policy says has changed: subscriptions that are denied now end with what waits under
 * them, and so do the sessions of devices that are no more. The connections of the devices
 * concerned must have been freed. */
void mqtt_server_review(MqttServer *s);

/* For who shows sessions. */
typedef struct MqttSessionView {
        const char *device, *client_id;
        bool connected, kept;
        size_t subscriptions, waiting, unacknowledged; /* the last two: messages */
        uint64_t waiting_bytes, dropped;
        usec_t ends; /* CLOCK_BOOTTIME; USEC_INFINITY: connected, or never */
} MqttSessionView;
typedef void (*MqttSessionEach)(const MqttSessionView *view, void *userdata);
void mqtt_server_each(const MqttServer *s, MqttSessionEach each, void *userdata);

typedef struct MqttServerStats {
        size_t sessions, retained;
        uint64_t kept_bytes;
} MqttServerStats;
void mqtt_server_stats(const MqttServer *s, MqttServerStats *ret);
