/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Topic aliases of one Network Connection, one table for each direction (MQTT 5.0 section
 * 3.3.2.3.4). */

#include "base/bytes.h"

/* In either direction: what a connection may make us remember. */
#define MQTT_TOPIC_ALIASES_MAX 16

typedef struct MqttAliases {
        char **topics;      /* [0] is alias 1; NULL before the first one */
        uint64_t *used;     /* outgoing: when it was used last */
        uint16_t n;         /* how many the receiver of the direction allows */
        uint64_t n_lookups; /* the clock of `used` */
} MqttAliases;

/* At most `n`, and at most MQTT_TOPIC_ALIASES_MAX. */
void mqtt_aliases_init(MqttAliases *a, uint16_t n);
void mqtt_aliases_done(MqttAliases *a);

/* Incoming. The topic of an alias, or NULL. */
const char *mqtt_aliases_get(const MqttAliases *a, uint16_t alias);
/* `alias` is from 1 to `n`. 0 or -ENOMEM. */
int mqtt_aliases_set(MqttAliases *a, uint16_t alias, Bytes topic);

/* Outgoing: the alias for this topic, in place of the one that was not used for longest; `known`
 * tells whether the receiver knows it already. 0 when there is none to give. */
uint16_t mqtt_aliases_assign(MqttAliases *a, Bytes topic, bool *ret_known);
/* What mqtt_aliases_assign() gave last was not sent. */
void mqtt_aliases_unset(MqttAliases *a, uint16_t alias);
