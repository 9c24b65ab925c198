/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-retained.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "domain/mqtt-journal.h"

/* What a new subscriber gets; NULL: nothing. */
static MqttMessage *current(const MqttRetained *r)
{
        if (!r->pending)
                return r->committed;
        return r->pending->payload.len > 0 ? r->pending : NULL;
}

static void recount(MqttServer *s, MqttRetained *r)
{
        uint64_t bytes = current(r) ? mqtt_journal_message_cost(current(r)) : 0;
        r->owner->retained_bytes += bytes - r->counted;
        s->kept_bytes += bytes - r->counted;
        r->counted = bytes;
}

static MqttRetained *retained_free(MqttRetained *r)
{
        list_remove(&r->node);
        list_remove(&r->all);
        mqtt_message_unref(r->committed);
        mqtt_message_unref(r->pending);
        free(r->topic);
        free(r);
        return NULL;
}

/* Each reference holds the device. */
static void refer(MqttServer *s, MqttServerDevice **at, MqttServerDevice *d)
{
        MqttServerDevice *old = *at;
        *at = d;
        if (d)
                d->n_retained++;
        if (!old)
                return;
        old->n_retained--;
        mqtt_server_release_device(s, old);
}

static void forget(MqttServer *s, MqttRetained *r)
{
        MqttRoot *root = r->root;
        r->owner->retained_bytes -= r->counted;
        s->kept_bytes -= r->counted;
        refer(s, &r->owner, NULL);
        refer(s, &r->committed_by, NULL);
        hashmap_remove(s->retained, bytes_from_str(r->topic));
        retained_free(r);
        mqtt_topics_release(&s->topics, root);
}

static int enter(MqttServer *s, MqttRetained *r)
{
        Bytes topic = bytes_from_str(r->topic);
        int e = mqtt_topics_root(&s->topics, topic, &r->root);
        if (e < 0)
                return e;
        e = hashmap_put(s->retained, topic, r);
        if (e < 0)
                mqtt_topics_release(&s->topics, r->root);
        return e;
}

static int add(MqttServer *s, MqttServerDevice *owner, Bytes topic, MqttRetained **ret)
{
        MqttRetained *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        list_init(&r->node);
        list_init(&r->all);
        r->topic = bytes_to_str(topic);
        int e = r->topic ? enter(s, r) : -ENOMEM;
        if (e < 0) {
                retained_free(r);
                return e;
        }
        refer(s, &r->owner, owner);
        list_append(&r->root->retained, &r->node);
        list_append(&s->all_retained, &r->all);
        *ret = r;
        return 0;
}

bool mqtt_retained_has_room(const MqttServer *s, const char *device, const MqttMessage *m)
{
        const ClassLimits *limits = s->port->limits(device, s->userdata);
        const MqttServerDevice *d = hashmap_get(s->devices, bytes_from_str(device));
        const MqttRetained *r = hashmap_get(s->retained, m->topic);
        uint64_t used = d ? d->retained_bytes : 0, bytes = mqtt_journal_message_cost(m);
        uint64_t replaced = r ? r->counted : 0;
        if (r && r->owner == d)
                used -= replaced;
        if (m->payload.len == 0)
                return true;
        return limits && used + bytes <= limits->retained_bytes &&
               s->kept_bytes - replaced + bytes <= s->config.kept_bytes;
}

bool mqtt_retained_is_open(const MqttServer *s, Bytes topic, uint64_t number)
{
        const MqttRetained *r = hashmap_get(s->retained, topic);
        return r && r->pending && r->pending->written > number;
}

static void set_owner(MqttServer *s, MqttRetained *r, MqttServerDevice *d)
{
        MqttServerDevice *old = r->owner;
        if (old == d)
                return;
        old->retained_bytes -= r->counted;
        d->retained_bytes += r->counted;
        refer(s, &r->owner, d);
}

static void set_pending(MqttServer *s, MqttRetained *r, MqttMessage *m)
{
        mqtt_message_unref(r->pending);
        r->pending = mqtt_message_ref(m);
        recount(s, r);
        if (m->payload.len > 0)
                mqtt_journal_retained(s, r, m);
        else
                mqtt_journal_remove_retained(s, r);
}

int mqtt_retained_set(MqttServer *s, const char *device, MqttMessage *m, MqttServerDevice **ret_by)
{
        MqttServerDevice *d;
        MqttRetained *r = hashmap_get(s->retained, m->topic);
        if (!r && m->payload.len == 0) /* [MQTT-3.3.1-7]: nothing to clear, nothing to keep */
                return 0;
        int e = mqtt_server_device(s, device, &d);
        if (e < 0)
                return e;
        if (!r) {
                e = add(s, d, m->topic, &r);
                if (e < 0) {
                        mqtt_server_release_device(s, d);
                        return e;
                }
                r->id = ++s->last_retained;
        }
        set_owner(s, r, d);
        set_pending(s, r, m);
        refer(s, ret_by, d);
        return 0;
}

static void commit(MqttServer *s, MqttRetained *r, MqttMessage *m, MqttServerDevice *by)
{
        bool clears = m->payload.len == 0;
        mqtt_message_unref(r->committed);
        r->committed = clears ? NULL : mqtt_message_ref(m);
        refer(s, &r->committed_by, clears ? NULL : by);
}

static void settle(MqttServer *s, MqttRetained *r, MqttMessage *m)
{
        if (r->pending == m)
                r->pending = mqtt_message_unref(r->pending);
        if (!r->pending && r->committed)
                set_owner(s, r, r->committed_by);
        recount(s, r);
        if (!r->pending && !r->committed)
                forget(s, r);
}

void mqtt_retained_settle(MqttServer *s, MqttMessage *m, MqttServerDevice *by, bool durable)
{
        MqttRetained *r = hashmap_get(s->retained, m->topic);
        if (r && durable)
                commit(s, r, m, by);
        if (r)
                settle(s, r, m);
        refer(s, &by, NULL);
}

int mqtt_retained_restore(MqttServer *s, const char *device, uint64_t id, MqttMessage *m)
{
        MqttServerDevice *d;
        MqttRetained *r;
        if (hashmap_get(s->retained, m->topic))
                return -EEXIST;
        int e = mqtt_server_device(s, device, &d);
        if (e < 0)
                return e;
        e = add(s, d, m->topic, &r);
        if (e < 0) {
                mqtt_server_release_device(s, d);
                return e;
        }
        r->id = id;
        commit(s, r, m, d);
        recount(s, r);
        s->last_retained = MAX(s->last_retained, id);
        return 0;
}

/* False when there was no room for it. */
static bool deliver(const MqttRetained *r, MqttSession *session, const MqttSubscriptionEntry *e,
                    usec_t now)
{
        MqttCopy copy;
        MqttMessage *m = current(r);
        if (!m || mqtt_message_expired(m, now) || !mqtt_subscription_matches(e, m->topic))
                return true;
        mqtt_subscription_copy(e, m, &copy);
        copy.retain = true; /* [MQTT-3.3.1-8] */
        return mqtt_delivery_add(&session->delivery, m, &copy, now) >= 0;
}

void mqtt_retained_deliver(MqttServer *s, MqttSession *session, const MqttSubscriptionEntry *e,
                           usec_t now)
{
        /* Without room: it is what the client may ask for again. */
        if (e->root != &s->topics.wild) {
                LIST_FOREACH (i, &e->root->retained)
                        if (!deliver(LIST_ENTRY(i, MqttRetained, node), session, e, now))
                                return;
        } else {
                LIST_FOREACH (i, &s->all_retained)
                        if (!deliver(LIST_ENTRY(i, MqttRetained, all), session, e, now))
                                return;
        }
}

bool mqtt_retained_sweep(MqttServer *s, usec_t now, size_t most)
{
        LIST_FOREACH_SAFE (i, &s->all_retained) {
                MqttRetained *r = LIST_ENTRY(i, MqttRetained, all);
                bool stale = !r->pending && (mqtt_message_expired(r->committed, now) ||
                                             !s->port->limits(r->owner->name, s->userdata));
                if (!stale)
                        continue;
                if (most-- == 0)
                        return false;
                mqtt_journal_remove_retained(s, r);
                forget(s, r);
        }
        return true;
}

void mqtt_retained_done(MqttServer *s)
{
        LIST_FOREACH_SAFE (i, &s->all_retained)
                forget(s, LIST_ENTRY(i, MqttRetained, all));
}
