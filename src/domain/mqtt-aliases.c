/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-aliases.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "base/util.h"

void mqtt_aliases_init(MqttAliases *a, uint16_t n)
{
        *a = (MqttAliases){ .n = MIN(n, MQTT_TOPIC_ALIASES_MAX) };
}

void mqtt_aliases_done(MqttAliases *a)
{
        for (size_t i = 0; a->topics && i < a->n; i++)
                free(a->topics[i]);
        free(a->topics);
        free(a->used);
        *a = (MqttAliases){ 0 };
}

const char *mqtt_aliases_get(const MqttAliases *a, uint16_t alias)
{
        return a->topics && alias > 0 && alias <= a->n ? a->topics[alias - 1] : NULL;
}

/* Most clients never use one: nothing is allocated for them. */
static int begin(MqttAliases *a)
{
        if (!a->topics)
                a->topics = calloc(a->n, sizeof(*a->topics));
        if (!a->used)
                a->used = calloc(a->n, sizeof(*a->used));
        return a->topics && a->used ? 0 : -ENOMEM;
}

int mqtt_aliases_set(MqttAliases *a, uint16_t alias, Bytes topic)
{
        if (begin(a) < 0)
                return -ENOMEM;
        char *copy = bytes_to_str(topic);
        if (!copy)
                return -ENOMEM;
        free(a->topics[alias - 1]);
        a->topics[alias - 1] = copy;
        return 0;
}

/* The slot of the topic, else a free one, else the one that rested longest. */
static uint16_t find_slot(const MqttAliases *a, Bytes topic, bool *ret_known)
{
        uint16_t oldest = 0;
        for (uint16_t i = 0; i < a->n; i++) {
                if (a->topics[i] && bytes_equal(bytes_from_str(a->topics[i]), topic)) {
                        *ret_known = true;
                        return i;
                }
                if (a->used[i] < a->used[oldest])
                        oldest = i;
        }
        *ret_known = false;
        return oldest;
}

uint16_t mqtt_aliases_assign(MqttAliases *a, Bytes topic, bool *ret_known)
{
        *ret_known = false;
        if (a->n == 0 || begin(a) < 0)
                return 0;
        uint16_t slot = find_slot(a, topic, ret_known);
        if (!*ret_known && mqtt_aliases_set(a, (uint16_t)(slot + 1), topic) < 0)
                return 0;
        a->used[slot] = ++a->n_lookups;
        return (uint16_t)(slot + 1);
}

void mqtt_aliases_unset(MqttAliases *a, uint16_t alias)
{
        free(a->topics[alias - 1]);
        a->topics[alias - 1] = NULL;
        a->used[alias - 1] = 0;
}
