/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The packet identifiers of QoS 2 messages that were received and not yet released (section 4.3.3):
 * few, so that they are searched one by one. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A client that leaves more unreleased than this does not speak QoS 2 with us. */
#define MQTT_PACKET_IDS_MAX 1024

typedef struct MqttPacketIds {
        uint16_t *ids;
        size_t n, size;
} MqttPacketIds;

void mqtt_packet_ids_done(MqttPacketIds *p);
bool mqtt_packet_ids_has(const MqttPacketIds *p, uint16_t id);
/* 0, also when it is there already; -ENOSPC beyond MQTT_PACKET_IDS_MAX, -ENOMEM. */
int mqtt_packet_ids_add(MqttPacketIds *p, uint16_t id);
/* Whether it was there. */
bool mqtt_packet_ids_remove(MqttPacketIds *p, uint16_t id);
