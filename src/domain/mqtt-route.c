/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The way of a message to those who subscribed to it. */

#include <limits.h>

#include "base/str.h"
#include "domain/mqtt-journal.h"
#include "domain/mqtt-server-internal.h"
#include "proto/topic.h"

/* Each session once, whichever of its entries leads to it. A delivery may end a connection; the
 * session and its subscriptions go when the connection is freed, not before. */
static size_t route_entries(MqttServer *s, List *entries, MqttMessage *m, const MqttSession *origin,
                            usec_t now)
{
        size_t n = 0;
        LIST_FOREACH (i, entries) {
                MqttSubscriptionEntry *e = LIST_ENTRY(i, MqttSubscriptionEntry, in_index);
                if (e->session->visited == s->n_routed || !mqtt_subscription_matches(e, m->topic))
                        continue;
                e->session->visited = s->n_routed;
                n += mqtt_session_route(e->session, m, e->session == origin, now);
        }
        return n;
}

static bool is_listening(const MqttSubscriptionEntry *e)
{
        const MqttSession *s = e->session;
        const MqttServer *server = s->server;
        return s->delivery.outlet && server->port->may_receive(s->device->name, server->userdata);
}

/* Section 4.8.2: to one of them, in turn; to one that is away, or may not receive now, only when
 * there is no other. `from`: who had it before; who has no room for all that comes at once then is
 * passed over. */
static bool route_to(MqttShare *share, MqttMessage *m, const MqttSession *from, bool listening,
                     usec_t now)
{
        MqttCopy copy;
        LIST_FOREACH (i, &share->entries) {
                MqttSubscriptionEntry *e = LIST_ENTRY(i, MqttSubscriptionEntry, in_index);
                if (e->session == from || is_listening(e) != listening ||
                    !mqtt_subscription_matches(e, m->topic))
                        continue;
                mqtt_subscription_copy(e, m, &copy);
                if (!(from ? mqtt_session_offer : mqtt_session_deliver)(e->session, m, &copy, now))
                        continue;
                list_remove(&e->in_index);
                list_append(&share->entries, &e->in_index);
                mqtt_session_flush(e->session, now);
                return true;
        }
        return false;
}

static bool route_share(MqttShare *share, MqttMessage *m, const MqttSession *from, usec_t now)
{
        return route_to(share, m, from, true, now) || route_to(share, m, from, false, now);
}

static size_t route_shares(const MqttRoot *root, MqttMessage *m, usec_t now)
{
        size_t n = 0;
        LIST_FOREACH (i, &root->shares) {
                MqttShare *share = LIST_ENTRY(i, MqttShare, node);
                if (topic_matches(bytes_from_str(share->filter), m->topic))
                        n += route_share(share, m, NULL, now);
        }
        return n;
}

static size_t route_root(MqttServer *s, MqttRoot *root, MqttMessage *m, const MqttSession *origin,
                         usec_t now)
{
        return route_entries(s, &root->entries, m, origin, now) + route_shares(root, m, now);
}

size_t mqtt_server_route(MqttServer *s, MqttPending *p, const MqttSession *origin, usec_t now)
{
        MqttMessage *m = p->message;
        MqttRoot *root = mqtt_topics_find(&s->topics, m->topic);
        size_t n = 0;
        s->n_routed++;
        s->routed = p;
        if (root)
                n += route_root(s, root, m, origin, now);
        if (!m->attestation) /* a device's own, whatever was granted to others */
                n += route_root(s, &s->topics.wild, m, origin, now);
        s->routed = NULL;
        return n;
}

/* Section 4.8.2: QoS 1 whatever came of it, QoS 2 unless its delivery has begun [MQTT-4.8.2-5]. */
static MqttShare *share_of(const MqttSession *from, const MqttQueued *e, bool begun)
{
        if (e->share == 0 || e->message->lost || e->qos == 0 || (e->qos == 2 && begun))
                return NULL;
        LIST_FOREACH (i, &from->subscriptions.entries) {
                const MqttSubscriptionEntry *s = LIST_ENTRY(i, MqttSubscriptionEntry, node);
                if (s->key == e->share)
                        return s->share;
        }
        return NULL;
}

typedef struct HandOn {
        MqttSession *from;
        MqttPending *pending; /* NULL: nothing yet */
        usec_t now;
} HandOn;

static bool hand_on(const MqttQueued *e, bool begun, void *userdata)
{
        HandOn *h = userdata;
        MqttShare *share = share_of(h->from, e, begun);
        if (!share || (!h->pending && mqtt_pending_new(h->from->server, &h->pending) < 0))
                return false;
        return route_share(share, e->message, h->from, h->now);
}

MqttPending *mqtt_server_hand_on(MqttSession *from, usec_t now)
{
        HandOn h = { .from = from, .now = now };
        mqtt_delivery_give(&from->delivery, hand_on, &h);
        return h.pending;
}

int mqtt_server_publish(MqttServer *s, MqttMessage *m, usec_t now)
{
        MqttPending *p;
        int r = mqtt_pending_new(s, &p);
        if (r < 0)
                return r;
        uint64_t changes = s->n_changes;
        s->port->begin(s->userdata);
        p->message = mqtt_message_ref(m);
        size_t n = mqtt_server_route(s, p, NULL, now);
        mqtt_pending_commit(p, changes);
        return (int)MIN(n, (size_t)INT_MAX);
}

const char *mqtt_topic_below(const char *device, const char *topic)
{
        Bytes rest;
        if (!topic_strip_level(bytes_from_str(topic), bytes_from_str(device), &rest))
                return topic;
        return (const char *)rest.data;
}
