/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-subscriptions.h"

#include <errno.h>

#include "proto/topic.h"

void mqtt_subscriptions_done(MqttSubscriptions *s)
{
        for (size_t i = 0; i < s->n; i++)
                free(s->entries[i].text);
        free(s->entries);
        s->entries = NULL;
        s->n = 0;
}

static MqttSubscriptionEntry *find(const MqttSubscriptions *s, Bytes text)
{
        for (size_t i = 0; i < s->n; i++)
                if (bytes_equal(bytes_from_str(s->entries[i].text), text))
                        return &s->entries[i];
        return NULL;
}

int mqtt_subscriptions_put(MqttSubscriptions *s, const MqttSubscriptionEntry *e)
{
        MqttSubscriptionEntry *slot = find(s, bytes_from_str(e->text));
        if (!slot && s->n >= s->max)
                return -ENOSPC;
        _cleanup_free_ char *text = strdup(e->text);
        if (!text)
                return -ENOMEM;
        if (!slot) {
                MqttSubscriptionEntry *grown =
                        reallocarray(s->entries, s->n + 1, sizeof(*s->entries));
                if (!grown)
                        return -ENOMEM;
                s->entries = grown;
                slot = &s->entries[s->n++];
                slot->text = NULL;
        }
        free(slot->text);
        *slot = *e;
        slot->text = TAKE_PTR(text);
        return 0;
}

bool mqtt_subscriptions_remove(MqttSubscriptions *s, Bytes text)
{
        MqttSubscriptionEntry *slot = find(s, text);
        if (!slot)
                return false;
        free(slot->text);
        *slot = s->entries[--s->n];
        return true;
}

static bool entry_matches(const MqttSubscriptionEntry *e, const MqttMessage *m, bool own)
{
        if (e->space != m->space || (own && e->no_local)) /* [MQTT-3.8.3-3] */
                return false;
        return topic_matches(bytes_from_str(e->text + e->prefix), m->topic);
}

static Bytes prefix_of(const MqttSubscriptionEntry *e)
{
        return BYTES(e->text, e->prefix);
}

/* Whether an entry before `i` already gave the copy with this way of writing the topic. */
static bool was_given(const MqttSubscriptions *s, size_t i, const MqttMessage *m, bool own)
{
        for (size_t j = 0; j < i; j++)
                if (bytes_equal(prefix_of(&s->entries[j]), prefix_of(&s->entries[i])) &&
                    entry_matches(&s->entries[j], m, own))
                        return true;
        return false;
}

static void gather(const MqttSubscriptions *s, size_t first, const MqttMessage *m, bool own,
                   MqttCopy *copy)
{
        copy->prefix = prefix_of(&s->entries[first]);
        copy->qos = 0;
        copy->n_ids = 0;
        for (size_t i = first; i < s->n; i++) {
                const MqttSubscriptionEntry *e = &s->entries[i];
                if (!bytes_equal(prefix_of(e), copy->prefix) || !entry_matches(e, m, own))
                        continue;
                copy->qos = MAX(copy->qos, e->qos);
                if (e->id > 0 && copy->n_ids < MQTT_SUBSCRIPTIONS_MAX)
                        copy->ids[copy->n_ids++] = e->id;
        }
        copy->qos = MIN(copy->qos, m->qos);
}

bool mqtt_subscriptions_match(const MqttSubscriptions *s, const MqttMessage *m, bool own, size_t *i,
                              MqttCopy *ret)
{
        for (; *i < s->n; ++*i) {
                if (!entry_matches(&s->entries[*i], m, own) || was_given(s, *i, m, own))
                        continue;
                gather(s, (*i)++, m, own, ret);
                return true;
        }
        return false;
}
