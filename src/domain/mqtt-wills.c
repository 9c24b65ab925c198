/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-wills.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "domain/mqtt-journal.h"
#include "domain/mqtt-retained.h"

#define PAUSE_MIN USEC_PER_SEC
#define PAUSE_MAX USEC_PER_MIN

/* Tried at once: after a restart all that there were may be due. */
#define TRIED_MAX       256
#define TRIED_BYTES_MAX (4U << 20)

int mqtt_will_new(MqttMessage *m, uint32_t delay, usec_t due, uint64_t id, MqttWill **ret)
{
        MqttWill *w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        list_init(&w->node);
        list_init(&w->all);
        w->message = mqtt_message_ref(m);
        w->delay = delay;
        w->due = due;
        w->id = id;
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

static MqttWill *of_device(List *node)
{
        return LIST_ENTRY(node, MqttWill, node);
}

bool mqtt_wills_have_room(const MqttServer *s, const MqttMessage *m, const MqttWill *replaced)
{
        uint64_t used = s->will_bytes - (replaced ? replaced->counted : 0);
        return used + mqtt_journal_message_cost(m) <= s->config.will_bytes;
}

void mqtt_will_count(MqttServer *s, MqttWill *w)
{
        w->counted = mqtt_journal_message_cost(w->message);
        s->will_bytes += w->counted;
}

void mqtt_will_uncount(MqttServer *s, MqttWill *w)
{
        s->will_bytes -= w->counted;
        w->counted = 0;
}

static int enter(MqttServer *s, MqttServerDevice *d, const char *client_id, MqttWill *w)
{
        w->client_id = strdup(client_id);
        if (!w->client_id)
                return -ENOMEM;
        w->device = d;
        list_append(&d->wills, &w->node);
        list_append(&s->wills, &w->all);
        return 0;
}

static void finish(MqttServer *s, MqttWill *w)
{
        MqttServerDevice *d = w->device;
        mqtt_will_uncount(s, w);
        mqtt_will_free(w);
        mqtt_server_release_device(s, d);
}

/* Off the disk as well, whatever becomes of another. */
static void lose(MqttServer *s, MqttWill *w, const char *why)
{
        s->port->will_lost(w->device->name, (const char *)w->message->topic.data, why, s->userdata);
        s->port->begin(s->userdata);
        mqtt_journal_remove_will(s, w->id);
        finish(s, w);
}

/* A device that comes and goes while there is no room has no more of them that wait than it may
 * have sessions: the oldest go. */
static bool is_surplus(const MqttServer *s, const MqttWill *w)
{
        const ClassLimits *limits = s->port->limits(w->device->name, s->userdata);
        size_t n = 0;
        for (List *i = w->node.next; i != &w->device->wills; i = i->next)
                n += !of_device(i)->submitted;
        return limits && !w->submitted && n >= limits->sessions;
}

/* The newest stays, and with it the device. */
static void bound(MqttServer *s, MqttServerDevice *d)
{
        LIST_FOREACH_SAFE (i, &d->wills)
                if (is_surplus(s, of_device(i)))
                        lose(s, of_device(i), "too many of the device wait");
}

/* In a group of its own, which holds whatever becomes of another; and behind those that came before
 * it, when they are read. */
static void note(MqttServer *s, MqttWill *w)
{
        s->port->begin(s->userdata);
        mqtt_journal_remove_will(s, w->id);
        w->id = ++s->last_will;
        w->noted = true;
        mqtt_journal_waiting_will(s, w);
}

static void put_off(MqttServer *s, MqttWill *w, usec_t now)
{
        w->pause = w->pause > 0 ? MIN(2 * w->pause, PAUSE_MAX) : PAUSE_MIN;
        w->again = usec_add(now, w->pause);
        if (!w->noted)
                note(s, w);
}

/* NULL: it may be published. A posture counts when its time comes; who is gone cannot attest again,
 * and after a restart nobody has yet. */
static const char *why_not(const MqttServer *s, const MqttWill *w, bool *ret_for_good)
{
        PolicyTopic topic;
        const char *device = w->device->name, *absolute = (const char *)w->message->topic.data;
        MqttAccess access = w->judged ? MQTT_ACCESS_WILL : MQTT_ACCESS_PUBLISH;
        *ret_for_good = true;
        if (!s->port->limits(device, s->userdata))
                return "there is no such device any more";
        PolicyOutcome o = s->port->decide(access, device, absolute, &topic, s->userdata);
        if (policy_allows(o) && streq(topic.absolute, absolute))
                return NULL;
        *ret_for_good = o != POLICY_POSTURE;
        return "the policy denies it";
}

static MqttReason submit(MqttServer *s, MqttPending *p, const MqttWill *w)
{
        const char *device = w->device->name, *text;
        const MqttSubmission submission = {
                .device = device,
                .topic = mqtt_topic_below(device, (const char *)w->message->topic.data),
                .qos = w->message->qos,
                .payload = w->message->payload,
                .content_type = mqtt_message_content_type(w->message),
                .will = true,
        };
        return s->port->submit(p, &submission, &text, s->userdata);
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
        (*ret)->expires = m->expires;
        (*ret)->held = true;
        return 0;
}

/* Its client is known by its name, whatever became of the session (section 3.8.3.1). */
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

/* False: it has to wait. Whether another retained message took its place has to be known. */
static bool attempt(MqttServer *s, MqttWill *w, usec_t now)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        MqttPending *p;
        if (w->message->retain && mqtt_retained_is_open(s, w->message->topic, w->since))
                return false;
        s->port->begin(s->userdata);
        if (message_new(w, &m) < 0 || mqtt_pending_new(s, &p) < 0)
                return false;
        if (submit(s, p, w) != MQTT_SUCCESS) {
                mqtt_pending_free(p);
                return false;
        }
        mqtt_journal_remove_will(s, w->id);
        route(s, w, p, m, now);
        return true;
}

/* False: it waits on. */
static bool try_again(MqttServer *s, MqttWill *w, usec_t now)
{
        bool for_good;
        const char *why = why_not(s, w, &for_good);
        if (mqtt_message_expired(w->message, now)) {
                why = "it expired while it waited";
                for_good = true;
        }
        if (why && for_good) {
                lose(s, w, why);
                return true;
        }
        if (!why && !w->judged) {
                w->judged = true;
                note(s, w);
        }
        if (!why && attempt(s, w, now))
                return true;
        put_off(s, w, now);
        return false;
}

/* Nothing of the device waits for room before it, or failed and is on its way again. What waits for
 * its device to be allowed may wait for ever. */
static bool is_next(const MqttWill *w)
{
        for (List *i = w->device->wills.next; i != &w->node; i = i->next) {
                const MqttWill *before = of_device(i);
                if (before->submitted ? before->pause > 0 : before->judged)
                        return false;
        }
        return true;
}

void mqtt_wills_publish(MqttSession *session, usec_t now)
{
        MqttServer *s = session->server;
        MqttWill *w = TAKE_PTR(session->will);
        bool for_good;
        mqtt_wills_retry_device(s, session->device, now);
        w->due = MIN(w->due, now); /* section 3.1.3.2.2: its delay ends with the session */
        w->message->expires = usec_add(w->due, w->message->expires);
        w->since = s->last_pending;
        if (enter(s, session->device, session->client_id, w) < 0) {
                s->port->failed(-ENOMEM, s->userdata);
                mqtt_will_free(w);
                return;
        }
        const char *why = why_not(s, w, &for_good);
        if (why && (for_good || !w->restored)) {
                lose(s, w, why);
                return;
        }
        w->judged = !why;
        note(s, w);
        if (w->judged && is_next(w) && attempt(s, w, now))
                return;
        put_off(s, w, now);
        bound(s, session->device);
}

int mqtt_wills_restore(MqttServer *s, const char *device, const char *client_id, MqttWill *w)
{
        MqttServerDevice *d;
        int r = mqtt_server_device(s, device, &d);
        if (r < 0)
                return r;
        r = enter(s, d, client_id, w);
        if (r < 0)
                mqtt_server_release_device(s, d);
        return r;
}

void mqtt_wills_retry(MqttServer *s, usec_t now)
{
        size_t n = 0, bytes = 0;
        LIST_FOREACH_SAFE (i, &s->wills) {
                MqttWill *w = LIST_ENTRY(i, MqttWill, all);
                if (w->submitted || w->again > now || !is_next(w))
                        continue;
                bytes += mqtt_message_cost(w->message);
                if (++n > TRIED_MAX || (n > 1 && bytes > TRIED_BYTES_MAX))
                        return;
                try_again(s, w, now);
        }
}

void mqtt_wills_retry_device(MqttServer *s, const MqttServerDevice *d, usec_t now)
{
        LIST_FOREACH_SAFE (i, &d->wills) {
                MqttWill *w = of_device(i);
                if (!w->submitted && !(is_next(w) && try_again(s, w, now)))
                        return;
        }
}

void mqtt_wills_review(MqttServer *s)
{
        bool for_good;
        LIST_FOREACH_SAFE (i, &s->wills) {
                MqttWill *w = LIST_ENTRY(i, MqttWill, all);
                const char *why = w->submitted ? NULL : why_not(s, w, &for_good);
                if (why && for_good)
                        lose(s, w, why);
                else if (is_surplus(s, w))
                        lose(s, w, "too many of the device wait");
        }
}

void mqtt_wills_supersede(MqttServer *s, const MqttPending *p)
{
        LIST_FOREACH (i, &s->wills) {
                MqttWill *w = LIST_ENTRY(i, MqttWill, all);
                if (w->submitted || !w->message->retain || w->since >= p->number ||
                    !bytes_equal(w->message->topic, p->message->topic))
                        continue;
                w->message->retain = false;
                note(s, w);
        }
}

void mqtt_wills_settle(MqttServer *s, MqttWill *w, bool durable)
{
        w->submitted = false;
        if (durable) {
                finish(s, w);
        } else if (!s->port->limits(w->device->name, s->userdata)) {
                lose(s, w, "there is no such device any more");
        } else {
                put_off(s, w, s->now);
                bound(s, w->device);
        }
}

void mqtt_wills_done(MqttServer *s)
{
        LIST_FOREACH_SAFE (i, &s->wills)
                finish(s, LIST_ENTRY(i, MqttWill, all));
}
