/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-session.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "domain/mqtt-connection-internal.h"
#include "domain/mqtt-journal.h"
#include "domain/mqtt-server-internal.h"
#include "proto/topic.h"

static int enter(MqttServer *server, const char *device, MqttSession *s)
{
        int r = mqtt_server_device(server, device, &s->device);
        if (r < 0)
                return r;
        r = hashmap_put(server->sessions, BYTES(&s->id, sizeof(s->id)), s);
        if (r < 0) {
                mqtt_server_release_device(server, s->device);
                return r;
        }
        list_append(&s->device->sessions, &s->node);
        list_append(&server->all_sessions, &s->all);
        s->device->n_sessions++;
        return 0;
}

int mqtt_session_new(MqttServer *server, const char *device, Bytes client_id, uint64_t id,
                     MqttSession **ret)
{
        MqttSession *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->server = server;
        s->id = id;
        s->ends = USEC_INFINITY;
        list_init(&s->node);
        list_init(&s->all);
        list_init(&s->unflushed);
        mqtt_subscriptions_init(&s->subscriptions);
        mqtt_delivery_init(&s->delivery, s);
        s->client_id = bytes_to_str(client_id);
        int r = s->client_id ? enter(server, device, s) : -ENOMEM;
        if (r < 0) {
                free(s->client_id);
                free(s);
                return r;
        }
        *ret = s;
        return 0;
}

MqttSession *mqtt_session_free(MqttSession *s)
{
        if (!s)
                return NULL;
        MqttServer *server = s->server;
        LIST_FOREACH_SAFE (i, &s->subscriptions.entries) {
                MqttSubscriptionEntry *e = LIST_ENTRY(i, MqttSubscriptionEntry, node);
                list_remove(&e->node);
                mqtt_topics_leave(&server->topics, e);
                mqtt_subscription_free(e);
        }
        mqtt_delivery_done(&s->delivery);
        mqtt_packet_ids_done(&s->received);
        mqtt_will_free(s->will);
        list_remove(&s->unflushed);
        list_remove(&s->node);
        list_remove(&s->all);
        s->device->n_sessions--;
        hashmap_remove(server->sessions, BYTES(&s->id, sizeof(s->id)));
        mqtt_server_release_device(server, s->device);
        free(s->client_id);
        free(s);
        return NULL;
}

static void forget_received(MqttSession *s)
{
        for (size_t i = 0; i < s->received.n; i++)
                mqtt_journal_remove_received(s, s->received.ids[i]);
}

static void forget_will(MqttSession *s)
{
        if (!s->will)
                return;
        mqtt_will_uncount(s->server, s->will);
        mqtt_journal_remove_will(s->server, s->will->id);
        s->will = mqtt_will_free(s->will);
}

static void forget_kept(MqttSession *s)
{
        LIST_FOREACH (i, &s->subscriptions.entries)
                mqtt_journal_remove_subscription(s, LIST_ENTRY(i, MqttSubscriptionEntry, node));
        forget_received(s);
        mqtt_delivery_discard(&s->delivery);
        mqtt_journal_remove_session(s);
        s->server->forgotten = s->server->last_pending + 1;
}

void mqtt_session_forget(MqttSession *s, usec_t now)
{
        MqttServer *server = s->server;
        uint64_t changes = server->n_changes;
        MqttPending *handed_on = mqtt_server_hand_on(s, now);
        forget_will(s);
        if (s->kept)
                forget_kept(s);
        mqtt_session_free(s);
        if (handed_on)
                mqtt_pending_commit(handed_on, changes);
}

void mqtt_session_end(MqttSession *s, usec_t now)
{
        const MqttServer *server = s->server;
        if (s->will)
                mqtt_wills_publish(s, now);
        server->port->begin(server->userdata); /* not with the will: that may be refused */
        mqtt_session_forget(s, now);
}

void mqtt_session_connect(MqttSession *s, MqttConnection *c)
{
        s->connection = c;
        s->ends = USEC_INFINITY;
        if (s->kept)
                mqtt_journal_session(s);
}

void mqtt_session_set_will(MqttSession *s, MqttWill *will)
{
        forget_will(s);
        s->will = will;
        if (will) {
                mqtt_will_count(s->server, will);
                mqtt_journal_will(s);
        }
}

/* Section 3.1.3.2.2: with its delay, or with the session if that ends before. */
static void schedule_will(MqttSession *s, usec_t now)
{
        s->will->due = usec_add(now, s->will->delay * USEC_PER_SEC);
        if (s->will->due <= now)
                mqtt_wills_publish(s, now);
        else
                mqtt_journal_will(s);
}

void mqtt_session_disconnect(MqttSession *s, bool goodbye, usec_t now)
{
        s->connection = NULL;
        mqtt_delivery_disconnect(&s->delivery);
        s->server->port->begin(s->server->userdata);
        if (goodbye) /* [MQTT-3.14.4-3] */
                mqtt_session_set_will(s, NULL);
        if (s->expiry == 0) {
                mqtt_session_end(s, now);
                return;
        }
        s->ends = s->expiry == MQTT_EXPIRY_NEVER ? USEC_INFINITY
                                                 : usec_add(now, s->expiry * USEC_PER_SEC);
        mqtt_journal_session(s);
        if (s->will)
                schedule_will(s, now);
}

void mqtt_session_flush(MqttSession *s, usec_t now)
{
        if (s->delivery.outlet)
                mqtt_connection_flushed(s->connection, mqtt_delivery_flush(&s->delivery, now));
}

/* A client that does not read is told so by the end of its connection. One that is away, may not
 * receive now, or found the room taken by others, loses the message. */
static void on_no_room(MqttSession *s, uint8_t qos, bool by_others)
{
        const MqttServer *server = s->server;
        if (qos == 0)
                return;
        if (s->delivery.outlet && !by_others &&
            server->port->may_receive(s->device->name, server->userdata))
                mqtt_connection_end(s->connection, MQTT_QUOTA_EXCEEDED, "the client does not read");
        else
                server->port->overflow(s->device->name, s->client_id, server->userdata);
}

/* What nobody will wait for. */
static bool is_for_nobody(const MqttSession *s, const MqttMessage *m, uint8_t qos)
{
        const MqttServer *server = s->server;
        if (!s->delivery.outlet)
                return !s->kept || qos == 0 || m->attestation;
        return qos == 0 && !m->attestation &&
               !server->port->may_receive(s->device->name, server->userdata);
}

bool mqtt_session_offer(MqttSession *s, MqttMessage *m, const MqttCopy *copy, usec_t now)
{
        const MqttServer *server = s->server;
        if (is_for_nobody(s, m, copy->qos))
                return false;
        int r = mqtt_delivery_add(&s->delivery, m, copy, now);
        if (r < 0)
                server->port->overflow(s->device->name, s->client_id, server->userdata);
        return r >= 0;
}

bool mqtt_session_deliver(MqttSession *s, MqttMessage *m, const MqttCopy *copy, usec_t now)
{
        if (is_for_nobody(s, m, copy->qos))
                return false;
        int r = mqtt_delivery_add(&s->delivery, m, copy, now);
        if (r == -ENOBUFS || r == -ENOSPC)
                on_no_room(s, copy->qos, r == -ENOSPC);
        else if (r < 0 && s->delivery.outlet)
                mqtt_connection_end(s->connection, MQTT_UNSPECIFIED_ERROR, "out of memory");
        return r >= 0;
}

bool mqtt_session_route(MqttSession *s, MqttMessage *m, bool own, usec_t now)
{
        MqttCopy copy;
        List *at = s->subscriptions.entries.next;
        bool taken = false;
        while (mqtt_subscriptions_match(&s->subscriptions, m, own, &at, &copy))
                taken |= mqtt_session_deliver(s, m, &copy, now);
        if (taken)
                mqtt_session_flush(s, now);
        return taken;
}

/* "$share/NAME/filter": NAME. */
static char *share_name(const char *text)
{
        Bytes filter, all = bytes_from_str(text);
        if (!topic_filter_is_shared(all, &filter))
                return NULL;
        size_t begin = strlen("$share/");
        return bytes_to_str(BYTES(text + begin, all.len - filter.len - begin - 1));
}

int mqtt_session_enter(MqttSession *s, MqttSubscriptionEntry *e)
{
        _cleanup_free_ char *share = NULL;
        if (topic_filter_is_shared(bytes_from_str(e->text), NULL)) {
                share = share_name(e->text);
                if (!share)
                        return -ENOMEM;
        }
        int r = mqtt_topics_enter(&s->server->topics, e, share);
        if (r < 0)
                return r;
        e->session = s;
        list_append(&s->subscriptions.entries, &e->node);
        s->subscriptions.n++;
        s->subscriptions.last_key = MAX(s->subscriptions.last_key, e->key);
        return 0;
}

void mqtt_session_remove_subscription(MqttSession *s, MqttSubscriptionEntry *e)
{
        if (s->kept)
                mqtt_journal_remove_subscription(s, e);
        mqtt_topics_leave(&s->server->topics, e);
        list_remove(&e->node);
        s->subscriptions.n--;
        mqtt_subscription_free(e);
}

int mqtt_session_subscribe(MqttSession *s, MqttSubscriptionEntry *e, bool *ret_existed)
{
        const MqttServer *server = s->server;
        const ClassLimits *limits = server->port->limits(s->device->name, server->userdata);
        MqttSubscriptionEntry *old =
                mqtt_subscriptions_find(&s->subscriptions, bytes_from_str(e->text));
        size_t max = limits ? MIN(limits->subscriptions, MQTT_SUBSCRIPTIONS_MAX) : 0;
        if (!old && s->subscriptions.n >= max)
                return -ENOSPC;
        e->key = old ? old->key : s->subscriptions.last_key + 1;
        int r = mqtt_session_enter(s, e);
        if (r < 0)
                return r;
        *ret_existed = old;
        if (old)
                mqtt_session_remove_subscription(s, old);
        if (s->kept)
                mqtt_journal_subscription(s, e);
        return 0;
}

bool mqtt_session_unsubscribe(MqttSession *s, Bytes text)
{
        MqttSubscriptionEntry *e = mqtt_subscriptions_find(&s->subscriptions, text);
        if (!e)
                return false;
        mqtt_session_remove_subscription(s, e);
        return true;
}
