/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The way out to one client: a window of QoS 1 messages that were sent and a bounded queue behind
 * it. Messages keep their order. */

#include "base/list.h"
#include "domain/mqtt-message.h"

typedef struct MqttDelivery {
        Buf *out; /* the connection's; written up to half its ceiling, the rest is for answers */
        const MqttPeer *peer;
        List sent;    /* QoS 1, not yet acknowledged, in the order sent */
        List waiting; /* not yet sent */
        size_t n_sent, window;
        size_t waiting_bytes, waiting_max;
        uint16_t last_id;
        uint64_t n_dropped; /* QoS 0 without room, expired, or larger than the client takes */
} MqttDelivery;

/* `window`: at most that many unacknowledged. `waiting_max`: bytes that may wait. */
void mqtt_delivery_init(MqttDelivery *d, Buf *out, const MqttPeer *peer, size_t window,
                        size_t waiting_max);
void mqtt_delivery_done(MqttDelivery *d);

/* Queues a message for `topic` = `prefix` and the message's own. The caller flushes.
 * -ENOBUFS: no room for a QoS 1 message (QoS 0 is dropped and counted). -ENOMEM. */
int mqtt_delivery_add(MqttDelivery *d, MqttMessage *m, uint8_t qos, Bytes prefix,
                      const uint32_t *subscription_ids, size_t n_subscription_ids);
/* Sends what window and output allow. 0 or -ENOMEM. */
int mqtt_delivery_flush(MqttDelivery *d, usec_t now);
/* A PUBACK came: false when nothing with this id was sent. */
bool mqtt_delivery_acknowledged(MqttDelivery *d, uint16_t packet_id);
