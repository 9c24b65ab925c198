/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The server's state as values under keys: what has to be on disk for sessions, retained messages
 * and wills to survive. Times are kept as CLOCK_BOOTTIME, which holds within this boot whatever the
 * clock does, and for the next boot as CLOCK_REALTIME. That may be wrong then (there is no battery,
 * no network yet): what was left at the server's age is kept too, and the age is put a
 * minute after the start and every ten minutes, so that what it was running for counts in any case.
 */

#include "domain/mqtt-retained.h"

typedef enum MqttKind {
        MQTT_KIND_SESSION = 1,  /* session */
        MQTT_KIND_SUBSCRIPTION, /* session, key */
        MQTT_KIND_MESSAGE,      /* message */
        MQTT_KIND_QUEUED,       /* session, order */
        MQTT_KIND_RECEIVED,     /* session, packet identifier */
        MQTT_KIND_RETAINED,     /* retained */
        MQTT_KIND_WILL,         /* will */
        MQTT_KIND_AGE,          /* 1 */
        _MQTT_KIND_MAX,
} MqttKind;

/* In the flags of an entry of a queue. */
#define MQTT_QUEUED_RETAIN 1U
#define MQTT_QUEUED_SHARED 2U /* the key of the subscription follows */

/* In the flags of a will. */
#define MQTT_WILL_WAITS  1U /* its expiry is a moment */
#define MQTT_WILL_JUDGED 2U

void mqtt_journal_session(const MqttSession *s);
void mqtt_journal_subscription(const MqttSession *s, const MqttSubscriptionEntry *e);
void mqtt_journal_remove_subscription(const MqttSession *s, const MqttSubscriptionEntry *e);
/* The entry and, with the first one of a message, the message. */
void mqtt_journal_queued(const MqttSession *s, MqttQueued *e);
/* It has changed its stage. */
void mqtt_journal_requeued(const MqttSession *s, const MqttQueued *e);
/* The entry and, with the last one, the message. While another message is routed that is noted in
 * its MqttPending: they stand in one group, and come off the disk whatever becomes of that. */
void mqtt_journal_remove_queued(const MqttSession *s, const MqttQueued *e);
/* What was noted: the message was not taken, and nothing of its group is done. */
void mqtt_journal_remove_again(const MqttPending *p);
void mqtt_journal_received(const MqttSession *s, uint16_t packet_id);
void mqtt_journal_remove_received(const MqttSession *s, uint16_t packet_id);
void mqtt_journal_retained(MqttServer *s, const MqttRetained *r, const MqttMessage *m);
void mqtt_journal_remove_retained(MqttServer *s, const MqttRetained *r);
/* The session's; and one whose time has come. */
void mqtt_journal_will(const MqttSession *s);
void mqtt_journal_waiting_will(MqttServer *s, const MqttWill *w);
void mqtt_journal_remove_will(MqttServer *s, uint64_t id);
/* Of the server. */
void mqtt_journal_age(MqttServer *s);
/* Its own value: the others are removed by whom they belong to. */
void mqtt_journal_remove_session(const MqttSession *s);

/* One that nothing belongs to any more. */
void mqtt_journal_remove(MqttServer *s, const MqttKey *key);

/* What an entry of a queue costs on disk beside its message, and what a message costs. */
uint64_t mqtt_journal_queued_cost(const MqttQueued *e);
uint64_t mqtt_journal_message_cost(const MqttMessage *m);
