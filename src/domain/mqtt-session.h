/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A Session (MQTT 5.0 section 4.1): what a client and this server remember of one another beyond a
 * Network Connection. One whose expiry is 0 ends with its connection and is never on disk. */

#include "domain/mqtt-delivery.h"
#include "domain/mqtt-packet-ids.h"
#include "domain/mqtt-server.h"
#include "domain/mqtt-wills.h"

#define MQTT_EXPIRY_NEVER UINT32_MAX

/* The sessions of one device, and what it uses up. */
struct MqttServerDevice {
        char *name;
        List sessions;
        List wills; /* whose time has come */
        size_t n_sessions, n_retained;
        uint64_t queued_bytes, retained_bytes;
};

struct MqttSession {
        MqttServer *server;
        MqttServerDevice *device;
        List node;   /* the device's */
        List all;    /* the server's */
        uint64_t id; /* never used again */
        char *client_id;
        MqttConnection *connection; /* NULL: away */
        uint32_t expiry;            /* seconds, MQTT_EXPIRY_NEVER */
        bool kept;                  /* on disk */
        usec_t ends;                /* while away */
        MqttSubscriptions subscriptions;
        MqttDelivery delivery;
        MqttPacketIds received;
        MqttWill *will;   /* NULL: none */
        List unflushed;   /* the server's: an entry waits for the disk */
        uint64_t visited; /* by the last message that was routed here */
};

/* Not on disk yet. */
int mqtt_session_new(MqttServer *server, const char *device, Bytes client_id, uint64_t id,
                     MqttSession **ret);
/* Frees it; what is on disk stays. */
MqttSession *mqtt_session_free(MqttSession *s);
DEFINE_CLEANUP(MqttSession, mqtt_session_free)
/* Its end (section 4.1.0-2): its will is published if it is still due, its state forgotten. */
void mqtt_session_end(MqttSession *s, usec_t now);

/* The same without its will: there is no such device any more. */
void mqtt_session_forget(MqttSession *s, usec_t now);

/* `c` becomes its connection. Deliveries begin with mqtt_delivery_connect(). */
void mqtt_session_connect(MqttSession *s, MqttConnection *c);
/* The connection has closed. `goodbye`: by DISCONNECT, without the will. Ends a session whose
 * expiry is 0: do not use it any more. */
void mqtt_session_disconnect(MqttSession *s, bool goodbye, usec_t now);
/* Another will; takes it. NULL: none. */
void mqtt_session_set_will(MqttSession *s, MqttWill *will);

/* To its queue, and out if it is connected. True when it was taken. */
bool mqtt_session_deliver(MqttSession *s, MqttMessage *m, const MqttCopy *copy, usec_t now);
/* The same, and nothing comes of it where there is no room. */
bool mqtt_session_offer(MqttSession *s, MqttMessage *m, const MqttCopy *copy, usec_t now);
/* Its part of a message that goes to its subscriptions which are not shared. */
bool mqtt_session_route(MqttSession *s, MqttMessage *m, bool own, usec_t now);
void mqtt_session_flush(MqttSession *s, usec_t now);

/* Takes `e` when it succeeds. -ENOSPC: too many, -ENOMEM. In place of the one with the same text
 * [MQTT-3.8.4-3]; `ret_existed` tells whether there was one. */
int mqtt_session_subscribe(MqttSession *s, MqttSubscriptionEntry *e, bool *ret_existed);
/* False: there was none. */
bool mqtt_session_unsubscribe(MqttSession *s, Bytes text);
void mqtt_session_remove_subscription(MqttSession *s, MqttSubscriptionEntry *e);
/* Enters it in the index, with the share name of its text. */
int mqtt_session_enter(MqttSession *s, MqttSubscriptionEntry *e);
