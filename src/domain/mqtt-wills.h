/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Wills (MQTT 5.0 section 3.1.2.5). One whose time has come is published like any message; where it
 * finds no room, or the disk does not take it, it waits and is tried again: whose it was is gone
 * and cannot. A device's wills keep their order. */

#include "domain/mqtt-message.h"
#include "domain/mqtt-server.h"

typedef struct MqttServerDevice MqttServerDevice;

typedef struct MqttWill {
        List node, all;       /* the device's, the server's: once its time has come */
        MqttMessage *message; /* its expiry is a span until then */
        uint32_t delay;       /* seconds */
        usec_t due;           /* once the connection has closed; else infinity */
        uint64_t id;          /* on disk */
        uint64_t counted;     /* bytes on disk that are in the server's account */
        bool restored;        /* of a connection that the restart has ended */

        /* Once its time has come. */
        MqttServerDevice *device;
        char *client_id;
        uint64_t since; /* MqttPending.number then: a message behind it is newer */
        usec_t again;   /* not to be tried before */
        usec_t pause;   /* the last one; 0: it never failed */
        bool judged;    /* its device was allowed to publish it when its time came */
        bool noted;     /* as such on disk, as one that waits */
        bool submitted; /* it is part of an MqttPending */
} MqttWill;

/* -ENOMEM. Takes a reference to `m`. */
int mqtt_will_new(MqttMessage *m, uint32_t delay, usec_t due, uint64_t id, MqttWill **ret);
MqttWill *mqtt_will_free(MqttWill *w);
DEFINE_CLEANUP(MqttWill, mqtt_will_free)

/* Whether there is room on disk for one more, in place of `replaced` (may be NULL). */
bool mqtt_wills_have_room(const MqttServer *s, const MqttMessage *m, const MqttWill *replaced);
/* It is on disk, or is not any more. */
void mqtt_will_count(MqttServer *s, MqttWill *w);
void mqtt_will_uncount(MqttServer *s, MqttWill *w);

/* The session's: its time has come. The session may end now. */
void mqtt_wills_publish(MqttSession *session, usec_t now);
/* One that was found on disk waits; its expiry is none of a span any more. Takes it when it
 * succeeds. 0 or -ENOMEM. */
int mqtt_wills_restore(MqttServer *s, const char *device, const char *client_id, MqttWill *w);
/* Tries those that have waited long enough, a bounded number of them. */
void mqtt_wills_retry(MqttServer *s, usec_t now);
/* Tries those of a device which has a session, in their order, up to the first that fails. */
void mqtt_wills_retry_device(MqttServer *s, const MqttServerDevice *d, usec_t now);
/* Those that are denied now, or are too many now, are gone. */
void mqtt_wills_review(MqttServer *s);
/* The retained message of `p` is durable: those that wait for the same topic came before it, and
 * retain nothing any more. */
void mqtt_wills_supersede(MqttServer *s, const MqttPending *p);
/* What became of its message: `w` is gone, or waits again. */
void mqtt_wills_settle(MqttServer *s, MqttWill *w, bool durable);
/* Frees those that wait; they stay on disk. */
void mqtt_wills_done(MqttServer *s);
