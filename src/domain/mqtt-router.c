/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-router.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "domain/mqtt-session.h"

struct MqttRouterDevice {
        char *name;
        List slots; /* of live sessions and of those that ended in this turn */
};

struct MqttRouter {
        Hashmap *devices; /* name: MqttRouterDevice */
        size_t sessions_per_device;
};

static MqttRouterSlot *slot_of(List *node)
{
        return LIST_ENTRY(node, MqttRouterSlot, node);
}

int mqtt_router_new(size_t sessions_per_device, MqttRouter **ret)
{
        _cleanup_(mqtt_router_freep) MqttRouter *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->sessions_per_device = sessions_per_device;
        r->devices = hashmap_new();
        if (!r->devices)
                return -ENOMEM;
        *ret = TAKE_PTR(r);
        return 0;
}

MqttRouter *mqtt_router_free(MqttRouter *r)
{
        if (!r)
                return NULL;
        assert(!r->devices || hashmap_size(r->devices) == 0);
        hashmap_free(r->devices);
        free(r);
        return NULL;
}

static MqttRouterDevice *find_device(const MqttRouter *r, const char *name)
{
        return hashmap_get(r->devices, bytes_from_str(name));
}

static MqttRouterDevice *device_free(MqttRouterDevice *d)
{
        free(d->name);
        free(d);
        return NULL;
}
DEFINE_CLEANUP(MqttRouterDevice, device_free)

static int add_device(MqttRouter *r, const char *name, MqttRouterDevice **ret)
{
        _cleanup_(device_freep) MqttRouterDevice *d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        list_init(&d->slots);
        d->name = strdup(name);
        if (!d->name)
                return -ENOMEM;
        int e = hashmap_put(r->devices, bytes_from_str(d->name), d);
        if (e < 0)
                return e;
        *ret = TAKE_PTR(d);
        return 0;
}

/* Client ids begin with the device's name: no other device can hold this one. */
static MqttRouterSlot *find_live(const MqttRouterDevice *d, const char *client_id)
{
        LIST_FOREACH (i, &d->slots)
                if (!mqtt_session_has_ended(slot_of(i)->session) &&
                    strcmp(slot_of(i)->client_id, client_id) == 0)
                        return slot_of(i);
        return NULL;
}

static size_t count_live(const MqttRouterDevice *d)
{
        size_t n = 0;
        LIST_FOREACH (i, &d->slots)
                n += !mqtt_session_has_ended(slot_of(i)->session);
        return n;
}

int mqtt_router_attach(MqttRouter *r, const char *device, MqttRouterSlot *slot)
{
        MqttRouterDevice *d = find_device(r, device);
        MqttRouterSlot *old = d ? find_live(d, slot->client_id) : NULL;
        if (d && !old && count_live(d) >= r->sessions_per_device)
                return -ENOSPC;
        if (!d) {
                int e = add_device(r, device, &d);
                if (e < 0)
                        return e;
        }
        slot->device = d;
        list_append(&d->slots, &slot->node);
        if (old)
                mqtt_session_end(old->session, MQTT_SESSION_TAKEN_OVER,
                                 "another connection uses this client id");
        return 0;
}

void mqtt_router_detach(MqttRouter *r, MqttRouterSlot *slot)
{
        MqttRouterDevice *d = slot->device;
        if (!d)
                return;
        list_remove(&slot->node);
        slot->device = NULL;
        if (!list_empty(&d->slots))
                return;
        hashmap_remove(r->devices, bytes_from_str(d->name));
        device_free(d);
}

bool mqtt_router_has_subscribers(const MqttRouter *r, const char *device)
{
        const MqttRouterDevice *d = find_device(r, device);
        if (!d)
                return false;
        LIST_FOREACH (i, &d->slots)
                if (mqtt_session_has_subscriptions(slot_of(i)->session))
                        return true;
        return false;
}

size_t mqtt_router_publish(MqttRouter *r, const char *device, MqttMessage *m,
                           const MqttSession *origin, usec_t now)
{
        MqttRouterDevice *d = find_device(r, device);
        size_t n = 0;
        if (!d)
                return 0;
        /* A delivery may end a session; it leaves this list when it is freed, not before. */
        LIST_FOREACH (i, &d->slots)
                n += mqtt_session_deliver(slot_of(i)->session, m, origin, now);
        return n;
}
