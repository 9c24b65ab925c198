/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-wills.h"

#include <errno.h>
#include <stdlib.h>

#include "domain/mqtt-journal.h"
#include "domain/mqtt-retained.h"

int mqtt_will_new(MqttMessage *m, uint32_t delay, usec_t due, MqttWill **ret)
{
        MqttWill *w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        list_init(&w->node);
        list_init(&w->all);
        w->message = mqtt_message_ref(m);
        w->delay = delay;
        w->due = due;
        *ret = w;
        return 0;
}

MqttWill *mqtt_will_free(MqttWill *w)
{
        if (!w)
                return NULL;
        list_remove(&w->node);
        list_remove(&w->all);
        mqtt_message_unref(w->message);
        free(w->client_id);
        free(w);
        return NULL;
}

static int enter(MqttServer *s, MqttServerDevice *d, const char *client_id, MqttWill *w)
{
        w->device = d;
        list_append(&d->wills, &w->node);
        list_append(&s->wills, &w->all);
        w->client_id = strdup(client_id);
        return w->client_id ? 0 : -ENOMEM;
}

static void finish(MqttServer *s, MqttWill *w)
{
        MqttServerDevice *d = w->device;
        mqtt_will_free(w);
        mqtt_server_release_device(s, d);
}

/* Off the disk as well. */
static void lose(MqttServer *s, MqttWill *w, const char *why)
{
        s->port->will_lost(w->device->name, (const char *)w->message->topic.data, why, s->userdata);
        mqtt_journal_remove_will(s, w->id);
        finish(s, w);
}

/* A device that comes and goes while there is no room has no more of them than it may have
 * sessions. */
static void bound(MqttServer *s, MqttServerDevice *d)
{
        const ClassLimits *limits = s->port->limits(d->name, s->userdata);
        MqttWill *oldest = NULL;
        size_t n = 0;
        LIST_FOREACH (i, &d->wills) {
                MqttWill *w = LIST_ENTRY(i, MqttWill, node);
                if (!oldest && !w->submitted)
                        oldest = w;
                n++;
        }
        if (limits && oldest && n > limits->sessions)
                lose(s, oldest, "too many of the device wait");
}

/* While it waits, the session may go on and have another one. */
static void keep(MqttServer *s, MqttWill *w)
{
        const MqttSession *session = mqtt_server_session(s, w->session);
        if (w->id != w->session)
                return;
        if (!session || !session->will)
                mqtt_journal_remove_will(s, w->id);
        w->id = ++s->last_session;
        mqtt_journal_will(s, w->device->name, w->client_id, w->id, w);
}

/* It was allowed when the client connected; the policy may have changed since. */
static const char *why_not(const MqttServer *s, const MqttWill *w)
{
        const char *device = w->device->name, *topic = (const char *)w->message->topic.data;
        if (!s->port->limits(device, s->userdata))
                return "there is no such device any more";
        return mqtt_server_allows(s, MQTT_ACCESS_PUBLISH, device, topic) ? NULL
                                                                         : "the policy denies it";
}

static MqttReason submit(MqttServer *s, MqttPending *p, const MqttWill *w, const char **ret_text)
{
        const char *device = w->device->name, *topic = (const char *)w->message->topic.data;
        const MqttSubmission submission = {
                .device = device,
                .topic = mqtt_topic_below(device, topic),
                .qos = w->message->qos,
                .payload = w->message->payload,
                .content_type = mqtt_message_content_type(w->message),
        };
        *ret_text = why_not(s, w);
        return *ret_text ? MQTT_NOT_AUTHORIZED
                         : s->port->submit(p, &submission, ret_text, s->userdata);
}

/* A message of its own each time: one that failed is not to be had by anybody. */
static int message_new(const MqttWill *w, MqttMessage **ret)
{
        const MqttMessage *m = w->message;
        int r = mqtt_message_restore(m->topic, m->payload, m->properties, ret);
        if (r < 0)
                return r;
        (*ret)->qos = m->qos;
        (*ret)->retain = m->retain;
        (*ret)->expires = usec_add(w->due, m->expires);
        (*ret)->held = true;
        return 0;
}

static void route(MqttServer *s, MqttWill *w, MqttPending *p, MqttMessage *m, usec_t now)
{
        const char *device = w->device->name;
        p->message = mqtt_message_ref(m);
        m->written = p->number;
        p->on_disk = true;
        p->will = w;
        w->submitted = true;
        if (m->retain && mqtt_retained_has_room(s, device, m))
                mqtt_retained_set(s, device, m, &p->retainer);
        mqtt_server_route(s, p, mqtt_server_find(s, device, bytes_from_str(w->client_id)), now);
}

/* Whether it still waits; else it is on its way, or gone. */
static bool attempt(MqttServer *s, MqttWill *w, usec_t now)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        MqttPending *p;
        const char *text;
        s->port->begin(s->userdata);
        if (message_new(w, &m) < 0 || mqtt_pending_new(s, &p) < 0)
                return true;
        MqttReason reason = submit(s, p, w, &text);
        if (reason == MQTT_SUCCESS) {
                mqtt_journal_remove_will(s, w->id);
                route(s, w, p, m, now);
                return false;
        }
        mqtt_pending_free(p);
        if (reason == MQTT_NOT_AUTHORIZED)
                lose(s, w, text);
        return reason != MQTT_NOT_AUTHORIZED;
}

void mqtt_wills_publish(MqttSession *session, usec_t now)
{
        MqttServer *s = session->server;
        MqttWill *w = TAKE_PTR(session->will);
        w->due = MIN(w->due, now); /* section 3.1.3.2.2: its delay ends with the session */
        w->session = w->id = session->id;
        if (enter(s, session->device, session->client_id, w) < 0) {
                lose(s, w, "out of memory");
                return;
        }
        if (!attempt(s, w, now))
                return;
        keep(s, w);
        bound(s, session->device);
}

int mqtt_wills_restore(MqttServer *s, const char *device, const char *client_id, uint64_t id,
                       MqttWill *w)
{
        MqttServerDevice *d;
        int r = mqtt_server_device(s, device, &d);
        if (r < 0)
                return r;
        w->due = MIN(w->due, s->now);
        w->id = id;
        r = enter(s, d, client_id, w);
        if (r < 0) {
                list_remove(&w->node);
                mqtt_server_release_device(s, d);
        }
        return r;
}

static void retry(MqttServer *s, MqttWill *w, usec_t now)
{
        if (w->submitted)
                return;
        if (usec_add(w->due, w->message->expires) > now)
                attempt(s, w, now);
        else
                lose(s, w, "it expired while it waited");
}

void mqtt_wills_retry(MqttServer *s, usec_t now)
{
        LIST_FOREACH_SAFE (i, &s->wills)
                retry(s, LIST_ENTRY(i, MqttWill, all), now);
}

void mqtt_wills_retry_device(MqttServer *s, const MqttServerDevice *d, usec_t now)
{
        LIST_FOREACH_SAFE (i, &d->wills)
                retry(s, LIST_ENTRY(i, MqttWill, node), now);
}

void mqtt_wills_review(MqttServer *s)
{
        LIST_FOREACH_SAFE (i, &s->wills) {
                MqttWill *w = LIST_ENTRY(i, MqttWill, all);
                const char *why = w->submitted ? NULL : why_not(s, w);
                if (why)
                        lose(s, w, why);
        }
}

void mqtt_wills_settle(MqttServer *s, MqttWill *w, bool durable)
{
        w->submitted = false;
        if (durable) {
                finish(s, w);
                return;
        }
        keep(s, w);
        bound(s, w->device);
}

void mqtt_wills_done(MqttServer *s)
{
        LIST_FOREACH_SAFE (i, &s->wills)
                finish(s, LIST_ENTRY(i, MqttWill, all));
}
