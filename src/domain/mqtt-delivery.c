/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-delivery.h"

#include <errno.h>
#include <stdlib.h>

#include "domain/mqtt-journal.h"

/* An alias costs three bytes: shorter topics are better off without. */
#define ALIAS_TOPIC_MIN 4

/* Packet identifiers that are looked for at once. */
#define FREE_IDS_MAX 1024

static MqttQueued *entry_of(List *node)
{
        return LIST_ENTRY(node, MqttQueued, node);
}

static uint64_t cost(const MqttQueued *e)
{
        return sizeof(*e) + e->n_ids * sizeof(e->ids[0]) + mqtt_message_cost(e->message);
}

void mqtt_delivery_init(MqttDelivery *d, MqttSession *session)
{
        *d = (MqttDelivery){ .session = session, .searched = USEC_INFINITY };
        list_init(&d->sent);
        list_init(&d->waiting);
}

static void account(MqttDelivery *d, const MqttQueued *e, bool add)
{
        MqttServerDevice *device = d->session->device;
        d->bytes += add ? cost(e) : -cost(e);
        device->queued_bytes += add ? cost(e) : -cost(e);
}

static MqttQueued *entry_free(MqttQueued *e)
{
        list_remove(&e->node);
        mqtt_message_unref(e->message);
        free(e);
        return NULL;
}

/* Delivered, or not to be: off the disk as well, except for what never got there. */
static void finish(MqttDelivery *d, MqttQueued *e)
{
        if (e->order > 0)
                mqtt_journal_remove_queued(d->session, e);
        account(d, e, false);
        entry_free(e);
}

static void finish_sent(MqttDelivery *d, MqttQueued *e)
{
        d->n_sent--;
        finish(d, e);
}

static void finish_waiting(MqttDelivery *d, MqttQueued *e)
{
        d->n_waiting--;
        finish(d, e);
}

void mqtt_delivery_done(MqttDelivery *d)
{
        List *const lists[] = { &d->sent, &d->waiting };
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                LIST_FOREACH_SAFE (j, lists[i]) {
                        account(d, entry_of(j), false);
                        entry_free(entry_of(j));
                }
        d->n_sent = d->n_waiting = 0;
}

void mqtt_delivery_discard(MqttDelivery *d)
{
        LIST_FOREACH_SAFE (i, &d->sent)
                finish_sent(d, entry_of(i));
        LIST_FOREACH_SAFE (i, &d->waiting)
                finish_waiting(d, entry_of(i));
}

static bool given(MqttDelivery *d, MqttQueued *e, bool begun, MqttGive give, void *userdata)
{
        uint64_t kept = e->order > 0 ? mqtt_journal_queued_cost(e) : 0;
        account(d, e, false);
        d->session->server->kept_bytes -= kept;
        bool gone = give(e, begun, userdata);
        d->session->server->kept_bytes += kept;
        account(d, e, true);
        return gone;
}

void mqtt_delivery_give(MqttDelivery *d, MqttGive give, void *userdata)
{
        LIST_FOREACH_SAFE (i, &d->sent)
                if (given(d, entry_of(i), true, give, userdata))
                        finish_sent(d, entry_of(i));
        LIST_FOREACH_SAFE (i, &d->waiting)
                if (given(d, entry_of(i), entry_of(i)->dup, give, userdata))
                        finish_waiting(d, entry_of(i));
}

void mqtt_delivery_connect(MqttDelivery *d, MqttOutlet *outlet)
{
        d->outlet = outlet;
        LIST_FOREACH (i, &d->sent)
                entry_of(i)->dup = true; /* [MQTT-3.3.1-1] */
        list_splice(&d->sent, &d->waiting);
        list_splice(&d->waiting, &d->sent);
        d->n_waiting += d->n_sent;
        d->n_sent = 0;
}

void mqtt_delivery_disconnect(MqttDelivery *d)
{
        d->outlet = NULL;
        LIST_FOREACH_SAFE (i, &d->waiting)
                if (entry_of(i)->qos == 0 || entry_of(i)->message->attestation)
                        finish_waiting(d, entry_of(i));
}

/* An entry whose delivery has not begun and that is too late, or was never taken. */
static bool is_stale(const MqttQueued *e, usec_t now)
{
        return e->message->lost ||
               (!e->dup && mqtt_message_expired(e->message, now)); /* [MQTT-3.3.2-5] */
}

/* Once a moment: nothing more expires in it, however much finds no room. */
static void drop_stale(MqttDelivery *d, usec_t now)
{
        if (d->searched == now)
                return;
        d->searched = now;
        LIST_FOREACH_SAFE (i, &d->waiting)
                if (is_stale(entry_of(i), now)) {
                        d->n_dropped++;
                        finish_waiting(d, entry_of(i));
                }
}

/* The room of a device is for all of its sessions alike. */
static bool within_share(const MqttDelivery *d, const MqttQueued *e)
{
        const MqttServer *s = d->session->server;
        const MqttServerDevice *device = d->session->device;
        const ClassLimits *limits = s->port->limits(device->name, s->userdata);
        if (d->n_waiting >= MQTT_QUEUE_MAX || !limits)
                return false;
        return d->bytes == 0 || d->bytes + cost(e) <= limits->queue_bytes / device->n_sessions;
}

/* What the disk is charged for it: a message that others keep already lies there once. */
static uint64_t cost_on_disk(const MqttQueued *e)
{
        uint64_t shared = e->message->n_kept > 0 ? 0 : mqtt_journal_message_cost(e->message);
        return shared + mqtt_journal_queued_cost(e);
}

void mqtt_delivery_review(MqttDelivery *d,
                          bool (*may_hear)(const MqttSession *s, const MqttMessage *m))
{
        LIST_FOREACH_SAFE (i, &d->waiting) {
                MqttQueued *e = entry_of(i);
                if (e->dup || e->stage != MQTT_STAGE_PUBLISH || may_hear(d->session, e->message))
                        continue;
                d->n_dropped++;
                finish_waiting(d, e);
        }
}

/* From behind: an entry stands in the order in which it was written. */
void mqtt_delivery_drop_lost(MqttDelivery *d, uint64_t number)
{
        for (List *i = d->waiting.prev, *prev; i != &d->waiting; i = prev) {
                MqttQueued *e = entry_of(i);
                prev = i->prev;
                if (e->order > 0 && e->written < number)
                        return;
                if (!e->message->lost)
                        continue;
                d->n_dropped++;
                finish_waiting(d, e);
        }
}

/* A quarter of the device's room is left to those of its sessions that are there: those that are
 * away, perhaps for ever, do not take it from them. */
static uint64_t room_of(const MqttDelivery *d, const ClassLimits *limits)
{
        return d->outlet ? limits->queue_bytes : limits->queue_bytes - limits->queue_bytes / 4;
}

static bool within(const MqttDelivery *d, const MqttQueued *e, bool keep)
{
        const MqttServer *s = d->session->server;
        const MqttServerDevice *device = d->session->device;
        const ClassLimits *limits = s->port->limits(device->name, s->userdata);
        if (keep && s->kept_bytes + cost_on_disk(e) > s->config.kept_bytes)
                return false;
        /* A message of any size that is taken can wait for its receiver. */
        return d->bytes == 0 || (limits && device->queued_bytes + cost(e) <= room_of(d, limits));
}

static bool has_room(MqttDelivery *d, const MqttQueued *e, bool keep, usec_t now)
{
        if (within(d, e, keep))
                return true;
        drop_stale(d, now);
        return within(d, e, keep);
}

static MqttQueued *find_sent(const MqttDelivery *d, uint16_t packet_id)
{
        LIST_FOREACH (i, &d->sent)
                if (entry_of(i)->packet_id == packet_id)
                        return entry_of(i);
        return NULL;
}

static uint16_t next_id(uint16_t id)
{
        return id == UINT16_MAX ? 1 : (uint16_t)(id + 1);
}

static void use(uint8_t *used, uint16_t id)
{
        used[id / 8] = (uint8_t)(used[id / 8] | 1U << id % 8);
}

static bool is_used(const uint8_t *used, uint16_t id)
{
        return used[id / 8] & 1U << id % 8;
}

/* Looks through the queue, which is far shorter than there are numbers, for the next that are free:
 * one that waited long enough for all of them to be given once more keeps its own. */
static void find_free_ids(MqttDelivery *d)
{
        const List *const lists[] = { &d->sent, &d->waiting };
        uint8_t used[(UINT16_MAX + 1) / 8] = { 0 };
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                LIST_FOREACH (j, lists[i])
                        use(used, entry_of(j)->packet_id);
        while (is_used(used, next_id(d->last_id)))
                d->last_id = next_id(d->last_id);
        for (uint16_t id = next_id(d->last_id); d->n_free_ids < FREE_IDS_MAX && !is_used(used, id);
             id = next_id(id))
                d->n_free_ids++;
}

static uint16_t new_packet_id(MqttDelivery *d)
{
        if (d->n_free_ids == 0)
                find_free_ids(d);
        d->n_free_ids--;
        d->last_id = next_id(d->last_id);
        return d->last_id;
}

static int entry_new(MqttMessage *m, size_t n_ids, MqttQueued **ret)
{
        MqttQueued *e = calloc(1, sizeof(*e) + n_ids * sizeof(e->ids[0]));
        if (!e)
                return -ENOMEM;
        list_init(&e->node);
        e->message = mqtt_message_ref(m);
        e->n_ids = n_ids;
        *ret = e;
        return 0;
}

static void append(MqttDelivery *d, MqttQueued *e)
{
        account(d, e, true);
        list_append(&d->waiting, &e->node);
        d->n_waiting++;
}

int mqtt_delivery_add(MqttDelivery *d, MqttMessage *m, const MqttCopy *copy, usec_t now)
{
        MqttQueued *e;
        bool keep = d->session->kept && copy->qos > 0 && !m->attestation;
        int r = entry_new(m, copy->n_ids, &e);
        if (r < 0)
                return r;
        e->qos = copy->qos;
        e->retain = copy->retain;
        e->left_out = copy->left_out;
        e->share = copy->share;
        if (copy->n_ids > 0)
                memcpy(e->ids, copy->ids, copy->n_ids * sizeof(e->ids[0]));
        if (d->n_waiting >= MQTT_QUEUE_MAX || !has_room(d, e, keep, now)) {
                r = within_share(d, e) ? -ENOSPC : -ENOBUFS;
                entry_free(e);
                d->n_dropped++;
                return r;
        }
        if (e->qos > 0)
                e->packet_id = new_packet_id(d);
        if (keep) {
                e->order = ++d->last_order;
                e->written = d->session->server->last_pending;
                mqtt_journal_queued(d->session, e);
        }
        append(d, e);
        return 0;
}

int mqtt_delivery_restore(MqttDelivery *d, MqttMessage *m, const MqttQueued *entry,
                          const uint32_t *ids, MqttQueued **ret)
{
        MqttQueued *e;
        int r = entry_new(m, entry->n_ids, &e);
        if (r < 0)
                return r;
        e->order = entry->order;
        e->packet_id = entry->packet_id;
        e->qos = entry->qos;
        e->stage = entry->stage;
        e->retain = entry->retain;
        e->left_out = entry->left_out;
        e->share = entry->share;
        e->dup = e->order <= d->last_sent;
        if (e->n_ids > 0)
                memcpy(e->ids, ids, e->n_ids * sizeof(e->ids[0]));
        d->last_order = MAX(d->last_order, e->order);
        d->last_id = e->packet_id;
        append(d, e);
        *ret = e;
        return 0;
}

/* Section 3.3.2.3.4: the topic itself once, then its number. */
static uint16_t choose_alias(MqttOutlet *to, MqttOutgoing *o, bool *ret_known)
{
        *ret_known = false;
        if (o->topic.len < ALIAS_TOPIC_MIN)
                return 0;
        o->topic_alias = mqtt_aliases_assign(&to->aliases, o->topic, ret_known);
        if (*ret_known)
                o->topic = BYTES(NULL, 0);
        return o->topic_alias;
}

static int write_publish(MqttOutlet *to, const MqttQueued *e, usec_t now)
{
        const MqttMessage *m = e->message;
        bool known;
        MqttOutgoing o = {
                .dup = e->dup,
                .retain = e->retain,
                .qos = e->qos,
                .packet_id = e->packet_id,
                .topic = BYTES(m->topic.data + e->left_out, m->topic.len - e->left_out),
                .payload = m->payload,
                .properties = m->properties,
                .expires = m->expires != USEC_INFINITY,
                .subscription_ids = e->ids,
                .n_subscription_ids = e->n_ids,
        };
        if (o.expires && m->expires > now) /* [MQTT-3.3.2-6] */
                o.message_expiry = (uint32_t)((m->expires - now + USEC_PER_SEC - 1) / USEC_PER_SEC);
        uint16_t alias = choose_alias(to, &o, &known);
        int r = mqtt_write_publish(to->out, &to->peer, &o);
        if (r < 0 && alias > 0 && !known)
                mqtt_aliases_unset(&to->aliases, alias);
        return r;
}

static int write_entry(MqttDelivery *d, const MqttQueued *e, usec_t now)
{
        MqttOutlet *to = d->outlet;
        if (e->stage == MQTT_STAGE_PUBREL)
                return mqtt_write_ack(to->out, &to->peer, MQTT_PUBREL, e->packet_id, MQTT_SUCCESS,
                                      NULL);
        return is_stale(e, now) ? -EMSGSIZE : write_publish(to, e, now);
}

/* Sends an entry, or drops it for good reasons: what the client does not take for its size counts
 * as delivered [MQTT-3.1.2-25]. */
static int send_entry(MqttDelivery *d, MqttQueued *e, usec_t now)
{
        int r = write_entry(d, e, now);
        if (r == -ENOMEM || (r == -ENOBUFS && buf_len(d->outlet->out) > 0))
                return r;
        if (r < 0)
                d->n_dropped++;
        if (r < 0 || e->qos == 0) {
                finish_waiting(d, e);
                return 0;
        }
        list_remove(&e->node);
        list_append(&d->sent, &e->node);
        d->n_waiting--;
        d->n_sent++;
        d->last_sent = MAX(d->last_sent, e->order);
        return 0;
}

/* What is on disk with the session goes out when it is there. With QoS 2, and where it is held, the
 * message has to be taken too: it may have to be published again, as another one. */
static bool is_durable(const MqttServer *s, const MqttQueued *e)
{
        const MqttMessage *m = e->message;
        bool early = e->qos < 2 && !m->held;
        return m->lost || (e->written <= s->durable && (early || m->written <= s->durable));
}

/* Whether it has to wait, and with it all behind it. */
static bool must_wait(MqttDelivery *d, const MqttQueued *e)
{
        MqttSession *s = d->session;
        if (!is_durable(s->server, e)) {
                if (list_empty(&s->unflushed))
                        list_append(&s->server->unflushed, &s->unflushed);
                return true;
        }
        return e->qos > 0 && d->n_sent >= d->outlet->window;
}

int mqtt_delivery_flush(MqttDelivery *d, usec_t now)
{
        const MqttServer *s = d->session->server;
        if (!d->outlet || list_empty(&d->waiting))
                return 0;
        bool open = s->port->may_receive(d->session->device->name, s->userdata);
        LIST_FOREACH_SAFE (i, &d->waiting) {
                MqttQueued *e = entry_of(i);
                if (!open && !e->message->attestation)
                        continue;
                if (must_wait(d, e) || buf_len(d->outlet->out) > d->outlet->out->max / 2)
                        break;
                int r = send_entry(d, e, now);
                if (r == -ENOBUFS) /* goes on when the output has drained */
                        break;
                if (r < 0)
                        return r;
        }
        return 0;
}

MqttAcknowledged mqtt_delivery_puback(MqttDelivery *d, uint16_t packet_id)
{
        MqttQueued *e = find_sent(d, packet_id);
        if (!e)
                return MQTT_ACK_UNKNOWN;
        if (e->qos != 1)
                return MQTT_ACK_WRONG;
        finish_sent(d, e);
        return MQTT_ACK_TAKEN;
}

MqttAcknowledged mqtt_delivery_pubrec(MqttDelivery *d, uint16_t packet_id, bool refused)
{
        MqttQueued *e = find_sent(d, packet_id);
        if (!e)
                return MQTT_ACK_UNKNOWN;
        if (e->qos != 2)
                return MQTT_ACK_WRONG;
        if (refused) {
                finish_sent(d, e);
                return MQTT_ACK_TAKEN;
        }
        if (e->stage == MQTT_STAGE_PUBLISH) {
                e->stage = MQTT_STAGE_PUBREL;
                if (e->order > 0)
                        mqtt_journal_requeued(d->session, e);
        }
        return MQTT_ACK_RELEASE;
}

MqttAcknowledged mqtt_delivery_pubcomp(MqttDelivery *d, uint16_t packet_id)
{
        MqttQueued *e = find_sent(d, packet_id);
        if (!e)
                return MQTT_ACK_UNKNOWN;
        if (e->qos != 2 || e->stage != MQTT_STAGE_PUBREL)
                return MQTT_ACK_WRONG;
        finish_sent(d, e);
        return MQTT_ACK_TAKEN;
}
