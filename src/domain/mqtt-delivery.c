/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-delivery.h"

#include <errno.h>

typedef struct Entry {
        List node;
        MqttMessage *message;
        char *topic; /* as this client knows it */
        size_t topic_len;
        uint16_t packet_id;
        uint8_t qos;
        size_t n_ids;
        uint32_t ids[];
} Entry;

static Entry *entry_free(Entry *e)
{
        if (!e)
                return NULL;
        list_remove(&e->node);
        mqtt_message_unref(e->message);
        free(e->topic);
        free(e);
        return NULL;
}
DEFINE_CLEANUP(Entry, entry_free)

static Entry *entry_of(List *node)
{
        return LIST_ENTRY(node, Entry, node);
}

static size_t cost(const Entry *e)
{
        return sizeof(*e) + e->topic_len + mqtt_message_cost(e->message);
}

void mqtt_delivery_init(MqttDelivery *d, Buf *out, const MqttPeer *peer, size_t window,
                        size_t waiting_max)
{
        *d = (MqttDelivery){
                .out = out, .peer = peer, .window = window, .waiting_max = waiting_max
        };
        list_init(&d->sent);
        list_init(&d->waiting);
}

void mqtt_delivery_done(MqttDelivery *d)
{
        LIST_FOREACH_SAFE (i, &d->sent)
                entry_free(entry_of(i));
        LIST_FOREACH_SAFE (i, &d->waiting)
                entry_free(entry_of(i));
        d->n_sent = d->waiting_bytes = 0;
}

static int entry_new(MqttMessage *m, uint8_t qos, Bytes prefix, const uint32_t *ids, size_t n_ids,
                     Entry **ret)
{
        _cleanup_(entry_freep) Entry *e = calloc(1, sizeof(*e) + n_ids * sizeof(uint32_t));
        if (!e)
                return -ENOMEM;
        e->message = mqtt_message_ref(m);
        e->qos = qos;
        e->n_ids = n_ids;
        if (n_ids > 0)
                memcpy(e->ids, ids, n_ids * sizeof(uint32_t));
        e->topic_len = prefix.len + m->topic.len;
        e->topic = malloc(e->topic_len + 1);
        if (!e->topic)
                return -ENOMEM;
        if (prefix.len > 0)
                memcpy(e->topic, prefix.data, prefix.len);
        memcpy(e->topic + prefix.len, m->topic.data, m->topic.len);
        *ret = TAKE_PTR(e);
        return 0;
}

int mqtt_delivery_add(MqttDelivery *d, MqttMessage *m, uint8_t qos, Bytes prefix,
                      const uint32_t *subscription_ids, size_t n_subscription_ids)
{
        Entry *e;
        int r = entry_new(m, qos, prefix, subscription_ids, n_subscription_ids, &e);
        if (r < 0)
                return r;
        if (d->waiting_bytes + cost(e) > d->waiting_max) {
                entry_free(e);
                d->n_dropped++;
                return qos > 0 ? -ENOBUFS : 0;
        }
        d->waiting_bytes += cost(e);
        list_append(&d->waiting, &e->node);
        return 0;
}

static Entry *find_sent(const MqttDelivery *d, uint16_t packet_id)
{
        LIST_FOREACH (i, &d->sent)
                if (entry_of(i)->packet_id == packet_id)
                        return entry_of(i);
        return NULL;
}

/* There is a free one: the window is far smaller than the numbers. */
static uint16_t new_packet_id(MqttDelivery *d)
{
        do
                d->last_id = d->last_id == UINT16_MAX ? 1 : (uint16_t)(d->last_id + 1);
        while (find_sent(d, d->last_id));
        return d->last_id;
}

static int entry_write(MqttDelivery *d, const Entry *e, usec_t now)
{
        const MqttMessage *m = e->message;
        MqttOutgoing o = {
                .qos = e->qos,
                .packet_id = e->packet_id,
                .topic = BYTES(e->topic, e->topic_len),
                .payload = m->payload,
                .properties = m->properties,
                .expires = m->expires != USEC_INFINITY,
                .subscription_ids = e->ids,
                .n_subscription_ids = e->n_ids,
        };
        if (o.expires) /* [MQTT-3.3.2-6] */
                o.message_expiry = (uint32_t)((m->expires - now + USEC_PER_SEC - 1) / USEC_PER_SEC);
        return mqtt_write_publish(d->out, d->peer, &o);
}

/* Takes the first one off the queue and sends it, or drops it for good reasons. */
static int send_first(MqttDelivery *d, Entry *e, usec_t now)
{
        if (e->qos > 0)
                e->packet_id = new_packet_id(d);
        /* [MQTT-3.3.2-5]; a message that the client does not take counts as delivered:
         * [MQTT-3.1.2-25]. */
        int r = e->message->expires <= now ? -EMSGSIZE : entry_write(d, e, now);
        if (r == -ENOMEM || (r == -ENOBUFS && buf_len(d->out) > 0))
                return r;
        d->waiting_bytes -= cost(e);
        if (r < 0)
                d->n_dropped++;
        if (r < 0 || e->qos == 0) {
                entry_free(e);
                return 0;
        }
        list_remove(&e->node);
        list_append(&d->sent, &e->node);
        d->n_sent++;
        return 0;
}

int mqtt_delivery_flush(MqttDelivery *d, usec_t now)
{
        while (!list_empty(&d->waiting) && buf_len(d->out) <= d->out->max / 2) {
                Entry *e = entry_of(list_first(&d->waiting));
                if (e->qos > 0 && d->n_sent >= d->window)
                        break;
                int r = send_first(d, e, now);
                if (r == -ENOBUFS) /* goes on when the output has drained */
                        break;
                if (r < 0)
                        return r;
        }
        return 0;
}

bool mqtt_delivery_acknowledged(MqttDelivery *d, uint16_t packet_id)
{
        Entry *e = find_sent(d, packet_id);
        if (!e)
                return false;
        entry_free(e);
        d->n_sent--;
        return true;
}
