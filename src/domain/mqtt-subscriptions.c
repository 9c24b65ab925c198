/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-subscriptions.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/topic.h"

static MqttSubscriptionEntry *entry_of(List *node)
{
        return LIST_ENTRY(node, MqttSubscriptionEntry, node);
}

int mqtt_subscription_new(const char *text, const char *filter, MqttSubscriptionEntry **ret)
{
        _cleanup_(mqtt_subscription_freep) MqttSubscriptionEntry *e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->text = strdup(text);
        e->filter = strdup(filter);
        if (!e->text || !e->filter)
                return -ENOMEM;
        list_init(&e->node);
        list_init(&e->in_index);
        *ret = TAKE_PTR(e);
        return 0;
}

MqttSubscriptionEntry *mqtt_subscription_free(MqttSubscriptionEntry *e)
{
        if (!e)
                return NULL;
        free(e->text);
        free(e->filter);
        free(e);
        return NULL;
}

bool mqtt_subscription_matches(const MqttSubscriptionEntry *e, Bytes topic)
{
        return topic.len > e->left_out && topic_matches(bytes_from_str(e->filter), topic);
}

void mqtt_subscriptions_init(MqttSubscriptions *s)
{
        *s = (MqttSubscriptions){ 0 };
        list_init(&s->entries);
}

MqttSubscriptionEntry *mqtt_subscriptions_find(const MqttSubscriptions *s, Bytes text)
{
        LIST_FOREACH (i, &s->entries)
                if (bytes_equal(bytes_from_str(entry_of(i)->text), text))
                        return entry_of(i);
        return NULL;
}

static bool entry_matches(const MqttSubscriptionEntry *e, const MqttMessage *m, bool own)
{
        if (e->share || (own && e->no_local)) /* [MQTT-3.8.3-3] */
                return false;
        return mqtt_subscription_matches(e, m->topic);
}

/* Whether an entry before `at` already gave the copy with this way of writing the topic. */
static bool was_given(const MqttSubscriptions *s, List *at, const MqttMessage *m, bool own)
{
        for (List *i = s->entries.next; i != at; i = i->next)
                if (entry_of(i)->left_out == entry_of(at)->left_out &&
                    entry_matches(entry_of(i), m, own))
                        return true;
        return false;
}

static void take_part(const MqttSubscriptionEntry *e, const MqttMessage *m, MqttCopy *copy)
{
        copy->qos = MAX(copy->qos, MIN(e->qos, m->qos));
        copy->retain |= e->retain_as_published && m->retain; /* [MQTT-3.3.1-12], -13 */
        if (e->id > 0 && copy->n_ids < MQTT_SUBSCRIPTIONS_MAX)
                copy->ids[copy->n_ids++] = e->id;
}

void mqtt_subscription_copy(const MqttSubscriptionEntry *e, const MqttMessage *m, MqttCopy *ret)
{
        ret->qos = 0;
        ret->retain = false;
        ret->n_ids = 0;
        ret->left_out = e->left_out;
        ret->share = e->share ? e->key : 0;
        take_part(e, m, ret);
}

bool mqtt_subscriptions_match(const MqttSubscriptions *s, const MqttMessage *m, bool own, List **at,
                              MqttCopy *ret)
{
        for (; *at != &s->entries; *at = (*at)->next) {
                if (!entry_matches(entry_of(*at), m, own) || was_given(s, *at, m, own))
                        continue;
                mqtt_subscription_copy(entry_of(*at), m, ret);
                for (List *i = (*at)->next; i != &s->entries; i = i->next)
                        if (entry_of(i)->left_out == ret->left_out &&
                            entry_matches(entry_of(i), m, own))
                                take_part(entry_of(i), m, ret);
                *at = (*at)->next;
                return true;
        }
        return false;
}
