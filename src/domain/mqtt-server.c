/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-server.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "domain/mqtt-connection-internal.h"
#include "domain/mqtt-journal.h"
#include "domain/mqtt-retained.h"
#include "domain/mqtt-server-internal.h"

#define SWEEP_INTERVAL USEC_PER_MIN
#define AGE_INTERVAL   (10 * USEC_PER_MIN)

/* What ends at one moment may be all there is, when the gateway was away: it is taken in pieces of
 * so many changes. None of it can be had meanwhile. */
#define CHANGES_TICK 2048

int mqtt_server_new(const MqttServerConfig *config, const MqttServerPort *port, void *userdata,
                    MqttServer **ret)
{
        _cleanup_(mqtt_server_freep) MqttServer *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->config = *config;
        s->port = port;
        s->userdata = userdata;
        list_init(&s->pending);
        list_init(&s->unflushed);
        list_init(&s->all_sessions);
        list_init(&s->all_retained);
        list_init(&s->wills);
        s->devices = hashmap_new();
        s->sessions = hashmap_new();
        s->retained = hashmap_new();
        if (!s->devices || !s->sessions || !s->retained || mqtt_topics_init(&s->topics) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(s);
        return 0;
}

MqttServer *mqtt_server_free(MqttServer *s)
{
        if (!s)
                return NULL;
        LIST_FOREACH_SAFE (i, &s->pending) {
                MqttPending *p = LIST_ENTRY(i, MqttPending, all);
                if (p->retainer)
                        mqtt_retained_settle(s, p->message, TAKE_PTR(p->retainer), false);
                mqtt_pending_free(p);
        }
        LIST_FOREACH_SAFE (i, &s->all_sessions)
                mqtt_session_free(LIST_ENTRY(i, MqttSession, all));
        mqtt_wills_done(s);
        if (s->topics.roots)
                mqtt_retained_done(s);
        mqtt_topics_done(&s->topics);
        hashmap_free(s->retained);
        hashmap_free(s->sessions);
        hashmap_free(s->devices);
        free(s);
        return NULL;
}

static MqttServerDevice *find_device(const MqttServer *s, const char *name)
{
        return hashmap_get(s->devices, bytes_from_str(name));
}

int mqtt_server_device(MqttServer *s, const char *name, MqttServerDevice **ret)
{
        MqttServerDevice *d = find_device(s, name);
        if (d) {
                *ret = d;
                return 0;
        }
        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        list_init(&d->sessions);
        list_init(&d->wills);
        d->name = strdup(name);
        int r = d->name ? hashmap_put(s->devices, bytes_from_str(d->name), d) : -ENOMEM;
        if (r < 0) {
                free(d->name);
                free(d);
                return r;
        }
        *ret = d;
        return 0;
}

void mqtt_server_release_device(MqttServer *s, MqttServerDevice *d)
{
        if (!list_empty(&d->sessions) || !list_empty(&d->wills) || d->n_retained > 0)
                return;
        hashmap_remove(s->devices, bytes_from_str(d->name));
        free(d->name);
        free(d);
}

MqttSession *mqtt_server_find(const MqttServer *s, const char *device, Bytes client_id)
{
        const MqttServerDevice *d = find_device(s, device);
        if (!d)
                return NULL;
        LIST_FOREACH (i, &d->sessions) {
                MqttSession *session = LIST_ENTRY(i, MqttSession, node);
                if (bytes_equal(bytes_from_str(session->client_id), client_id))
                        return session;
        }
        return NULL;
}

MqttSession *mqtt_server_session(const MqttServer *s, uint64_t id)
{
        return hashmap_get(s->sessions, BYTES(&id, sizeof(id)));
}

static void tick_session(MqttServer *s, MqttSession *session, usec_t now)
{
        if (session->connection)
                return;
        if (session->ends <= now)
                mqtt_session_end(session, now);
        else if (session->will && session->will->due <= now)
                mqtt_wills_publish(session, now);
}

static void tick_sessions(MqttServer *s, usec_t now)
{
        uint64_t until = s->n_changes + CHANGES_TICK;
        LIST_FOREACH_SAFE (i, &s->all_sessions) {
                if (s->n_changes >= until)
                        return;
                tick_session(s, LIST_ENTRY(i, MqttSession, all), now);
        }
}

static bool keeps_anything(const MqttServer *s)
{
        LIST_FOREACH (i, &s->all_sessions)
                if (LIST_ENTRY(i, MqttSession, all)->kept)
                        return true;
        return !list_empty(&s->all_retained) || !list_empty(&s->wills);
}

static void note_age(MqttServer *s, usec_t now)
{
        if (now < s->age_due)
                return;
        s->age_due = usec_add(now, AGE_INTERVAL);
        if (keeps_anything(s))
                mqtt_journal_age(s);
}

void mqtt_server_tick(MqttServer *s, usec_t now, usec_t realtime)
{
        s->realtime_offset = realtime - now;
        s->now = now;
        mqtt_wills_retry(s, now);
        tick_sessions(s, now);
        if (now < usec_add(s->swept, SWEEP_INTERVAL))
                return;
        s->port->begin(s->userdata);
        if (mqtt_retained_sweep(s, now, CHANGES_TICK))
                s->swept = now;
        note_age(s, now);
}

void mqtt_server_device_changed(MqttServer *s, const char *device, usec_t now)
{
        const MqttServerDevice *d = find_device(s, device);
        if (!d)
                return;
        s->port->begin(s->userdata);
        LIST_FOREACH (i, &d->sessions)
                mqtt_session_flush(LIST_ENTRY(i, MqttSession, node), now);
}

/* The filter as the client wrote it, without a share's name. */
static bool still_allowed(const MqttServer *s, const MqttSession *session,
                          const MqttSubscriptionEntry *e)
{
        PolicyTopic topic;
        Bytes filter;
        const char *text = e->text;
        if (topic_filter_is_shared(bytes_from_str(text), &filter))
                text = (const char *)filter.data;
        return policy_allows(s->port->decide(MQTT_ACCESS_SUBSCRIBE, session->device->name, text,
                                             &topic, s->userdata)) &&
               streq(topic.absolute, e->filter) && topic.left_out == e->left_out;
}

bool mqtt_server_allows(const MqttServer *s, MqttAccess access, const char *device,
                        const char *absolute)
{
        PolicyTopic topic;
        return policy_allows(s->port->decide(access, device, absolute, &topic, s->userdata)) &&
               streq(topic.absolute, absolute);
}

static bool may_hear(const MqttSession *session, const MqttMessage *m)
{
        return m->attestation ||
               mqtt_server_allows(session->server, MQTT_ACCESS_SUBSCRIBE, session->device->name,
                                  (const char *)m->topic.data);
}

/* What waits under a filter that is denied now is denied as well. */
static void review_session(MqttServer *s, MqttSession *session)
{
        LIST_FOREACH_SAFE (i, &session->subscriptions.entries) {
                MqttSubscriptionEntry *e = LIST_ENTRY(i, MqttSubscriptionEntry, node);
                if (!still_allowed(s, session, e))
                        mqtt_session_remove_subscription(session, e);
        }
        mqtt_delivery_review(&session->delivery, may_hear);
}

void mqtt_server_review(MqttServer *s)
{
        LIST_FOREACH_SAFE (i, &s->all_sessions) {
                MqttSession *session = LIST_ENTRY(i, MqttSession, all);
                s->port->begin(s->userdata);
                if (s->port->limits(session->device->name, s->userdata))
                        review_session(s, session);
                else
                        mqtt_session_forget(session, s->now);
        }
        s->port->begin(s->userdata);
        mqtt_wills_review(s);
        mqtt_retained_sweep(s, s->now, SIZE_MAX);
}

static void view(const MqttSession *session, MqttSessionView *ret)
{
        *ret = (MqttSessionView){
                .device = session->device->name,
                .client_id = session->client_id,
                .connected = session->connection,
                .kept = session->kept,
                .subscriptions = session->subscriptions.n,
                .waiting = session->delivery.n_waiting,
                .unacknowledged = session->delivery.n_sent,
                .waiting_bytes = session->delivery.bytes,
                .dropped = session->delivery.n_dropped,
                .ends = session->ends,
        };
}

void mqtt_server_each(const MqttServer *s, MqttSessionEach each, void *userdata)
{
        MqttSessionView v;
        LIST_FOREACH (i, &s->all_sessions) {
                view(LIST_ENTRY(i, MqttSession, all), &v);
                each(&v, userdata);
        }
}

void mqtt_server_stats(const MqttServer *s, MqttServerStats *ret)
{
        *ret = (MqttServerStats){
                .sessions = hashmap_size(s->sessions),
                .retained = hashmap_size(s->retained),
                .kept_bytes = s->kept_bytes,
        };
}
