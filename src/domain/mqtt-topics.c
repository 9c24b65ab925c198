/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-topics.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "proto/topic.h"

static void root_init(MqttRoot *r)
{
        list_init(&r->entries);
        list_init(&r->shares);
        list_init(&r->retained);
}

int mqtt_topics_init(MqttTopics *t)
{
        *t = (MqttTopics){ 0 };
        root_init(&t->wild);
        t->roots = hashmap_new();
        return t->roots ? 0 : -ENOMEM;
}

void mqtt_topics_done(MqttTopics *t)
{
        hashmap_free(t->roots);
}

MqttRoot *mqtt_topics_find(const MqttTopics *t, Bytes topic)
{
        return hashmap_get(t->roots, topic_first_level(topic));
}

static MqttRoot *root_free(MqttRoot *r)
{
        if (!r)
                return NULL;
        free(r->name);
        free(r);
        return NULL;
}
DEFINE_CLEANUP(MqttRoot, root_free)

static int add_root(MqttTopics *t, Bytes name, MqttRoot **ret)
{
        _cleanup_(root_freep) MqttRoot *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        root_init(r);
        r->name = bytes_to_str(name);
        if (!r->name)
                return -ENOMEM;
        int e = hashmap_put(t->roots, bytes_from_str(r->name), r);
        if (e < 0)
                return e;
        *ret = TAKE_PTR(r);
        return 0;
}

int mqtt_topics_root(MqttTopics *t, Bytes filter, MqttRoot **ret)
{
        Bytes name = topic_first_level(filter);
        if (name.len == 1 && (name.data[0] == '+' || name.data[0] == '#')) {
                *ret = &t->wild;
                return 0;
        }
        MqttRoot *r = hashmap_get(t->roots, name);
        if (!r)
                return add_root(t, name, ret);
        *ret = r;
        return 0;
}

void mqtt_topics_release(MqttTopics *t, MqttRoot *r)
{
        if (!r->name || !list_empty(&r->entries) || !list_empty(&r->shares) ||
            !list_empty(&r->retained))
                return;
        hashmap_remove(t->roots, bytes_from_str(r->name));
        root_free(r);
}

static MqttShare *share_free(MqttShare *s)
{
        if (!s)
                return NULL;
        list_remove(&s->node);
        free(s->name);
        free(s->filter);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(MqttShare, share_free)

static MqttShare *find_share(const MqttRoot *r, const char *name, const char *filter)
{
        LIST_FOREACH (i, &r->shares) {
                MqttShare *s = LIST_ENTRY(i, MqttShare, node);
                if (streq(s->name, name) && streq(s->filter, filter))
                        return s;
        }
        return NULL;
}

static int add_share(MqttRoot *r, const char *name, const char *filter, MqttShare **ret)
{
        _cleanup_(share_freep) MqttShare *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        list_init(&s->node);
        list_init(&s->entries);
        s->root = r;
        s->name = strdup(name);
        s->filter = strdup(filter);
        if (!s->name || !s->filter)
                return -ENOMEM;
        list_append(&r->shares, &s->node);
        *ret = TAKE_PTR(s);
        return 0;
}

int mqtt_topics_enter(MqttTopics *t, MqttSubscriptionEntry *e, const char *share)
{
        MqttRoot *root;
        int r = mqtt_topics_root(t, bytes_from_str(e->filter), &root);
        if (r < 0)
                return r;
        if (share) {
                e->share = find_share(root, share, e->filter);
                r = e->share ? 0 : add_share(root, share, e->filter, &e->share);
        }
        if (r < 0) {
                mqtt_topics_release(t, root);
                return r;
        }
        e->root = root;
        list_append(share ? &e->share->entries : &root->entries, &e->in_index);
        return 0;
}

void mqtt_topics_leave(MqttTopics *t, MqttSubscriptionEntry *e)
{
        list_remove(&e->in_index);
        if (e->share && list_empty(&e->share->entries))
                share_free(e->share);
        e->share = NULL;
        mqtt_topics_release(t, e->root);
        e->root = NULL;
}
