/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-packet-ids.h"

#include <errno.h>
#include <stdlib.h>

void mqtt_packet_ids_done(MqttPacketIds *p)
{
        free(p->ids);
        *p = (MqttPacketIds){ 0 };
}

static size_t find(const MqttPacketIds *p, uint16_t id)
{
        size_t i = 0;
        while (i < p->n && p->ids[i] != id)
                i++;
        return i;
}

bool mqtt_packet_ids_has(const MqttPacketIds *p, uint16_t id)
{
        return find(p, id) < p->n;
}

static int grow(MqttPacketIds *p)
{
        size_t size = p->size > 0 ? p->size * 2 : 8;
        uint16_t *ids = reallocarray(p->ids, size, sizeof(*ids));
        if (!ids)
                return -ENOMEM;
        p->ids = ids;
        p->size = size;
        return 0;
}

int mqtt_packet_ids_add(MqttPacketIds *p, uint16_t id)
{
        if (mqtt_packet_ids_has(p, id))
                return 0;
        if (p->n >= MQTT_PACKET_IDS_MAX)
                return -ENOSPC;
        int r = p->n == p->size ? grow(p) : 0;
        if (r == 0)
                p->ids[p->n++] = id;
        return r;
}

bool mqtt_packet_ids_remove(MqttPacketIds *p, uint16_t id)
{
        size_t i = find(p, id);
        if (i == p->n)
                return false;
        p->ids[i] = p->ids[--p->n];
        if (p->n == 0)
                mqtt_packet_ids_done(p);
        return true;
}
