/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The way out to one client: a window of messages that were sent and a bounded queue behind it.
 * Messages keep their order. What belongs to a kept session is on disk as well, with the packet
 * identifier that it will be sent under: it is the same one after a restart [MQTT-4.4.0-1]. */

#include "base/list.h"
#include "domain/mqtt-aliases.h"
#include "domain/mqtt-subscriptions.h"

/* Messages that wait for one session at most: far fewer than there are packet identifiers. */
#define MQTT_QUEUE_MAX 16384

/* Where a connection takes what it is sent. */
typedef struct MqttOutlet {
        Buf *out; /* written up to half its ceiling, the rest is for answers */
        MqttPeer peer;
        MqttAliases aliases;
        size_t window; /* unacknowledged messages at most: the client's Receive Maximum */
} MqttOutlet;

/* Section 4.3.3. */
typedef enum MqttStage {
        MQTT_STAGE_PUBLISH, /* to be sent, or sent and not acknowledged */
        MQTT_STAGE_PUBREL,  /* PUBREC came: PUBREL to be sent, or not yet answered */
} MqttStage;

/* A message in one session's queue. */
typedef struct MqttQueued {
        List node;
        MqttMessage *message;
        uint64_t order;   /* on disk, within the session; 0: not there */
        uint64_t written; /* with this MqttPending; not sent before that is durable */
        uint16_t packet_id;
        uint8_t qos;
        MqttStage stage;
        bool retain, dup;
        size_t left_out; /* of the topic, in front */
        uint32_t share;  /* key of the shared subscription that it is for; 0: none */
        size_t n_ids;
        uint32_t ids[];
} MqttQueued;

typedef struct MqttDelivery {
        MqttSession *session;
        MqttOutlet *outlet; /* NULL: nobody is connected */
        List sent;          /* not yet acknowledged, in the order sent */
        List waiting;
        size_t n_sent, n_waiting;
        uint64_t bytes; /* of both */
        uint64_t last_order;
        uint64_t last_sent; /* no `order` beyond was ever sent */
        uint16_t last_id;
        uint16_t n_free_ids; /* behind last_id, that nobody in the queue has; at least */
        usec_t searched;     /* when what is stale was looked for; infinity: never */
        uint64_t n_dropped;  /* no room, expired, or larger than the client takes */
} MqttDelivery;

void mqtt_delivery_init(MqttDelivery *d, MqttSession *session);
/* Frees the entries; those on disk stay there. */
void mqtt_delivery_done(MqttDelivery *d);
/* Takes all of it off the disk too. */
void mqtt_delivery_discard(MqttDelivery *d);
/* Asks `give` of each entry, which sees its room as free, and takes off those that it gave to
 * somebody else. `begun`: the client may have it. */
typedef bool (*MqttGive)(const MqttQueued *e, bool begun, void *userdata);
void mqtt_delivery_give(MqttDelivery *d, MqttGive give, void *userdata);

/* What was sent and not acknowledged is sent again. */
void mqtt_delivery_connect(MqttDelivery *d, MqttOutlet *outlet);
/* What a client that is away does not get, QoS 0 and answers of attestation, is dropped. */
void mqtt_delivery_disconnect(MqttDelivery *d);

/* Queues a message; the caller flushes. Without room it is counted as dropped: -ENOBUFS when this
 * session has used up its share of what its device may have waiting, else -ENOSPC. -ENOMEM. */
int mqtt_delivery_add(MqttDelivery *d, MqttMessage *m, const MqttCopy *copy, usec_t now);
/* An entry read from disk, in the order of `order`. -ENOMEM. */
int mqtt_delivery_restore(MqttDelivery *d, MqttMessage *m, const MqttQueued *entry,
                          const uint32_t *ids, MqttQueued **ret);
/* Sends what window, output and posture allow, up to the first message that may yet become durable.
 * 0 or -ENOMEM. */
int mqtt_delivery_flush(MqttDelivery *d, usec_t now);
/* Drops what is lost of what was queued with the MqttPending `number` or later: it may be the queue
 * of a client that is away, which nothing else looks through. */
void mqtt_delivery_drop_lost(MqttDelivery *d, uint64_t number);
/* Drops what was never sent and `may_hear` denies. */
void mqtt_delivery_review(MqttDelivery *d,
                          bool (*may_hear)(const MqttSession *s, const MqttMessage *m));

/* What the client's acknowledgement means. */
typedef enum MqttAcknowledged {
        MQTT_ACK_TAKEN,
        MQTT_ACK_RELEASE, /* PUBREL is due once the change is durable */
        MQTT_ACK_UNKNOWN, /* no such packet identifier is in use */
        MQTT_ACK_WRONG,   /* of another QoS, or too early */
} MqttAcknowledged;
MqttAcknowledged mqtt_delivery_puback(MqttDelivery *d, uint16_t packet_id);
/* `refused`: a reason code of 0x80 or more ends it [MQTT-4.3.3-9]. */
MqttAcknowledged mqtt_delivery_pubrec(MqttDelivery *d, uint16_t packet_id, bool refused);
MqttAcknowledged mqtt_delivery_pubcomp(MqttDelivery *d, uint16_t packet_id);
