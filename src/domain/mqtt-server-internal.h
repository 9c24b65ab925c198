/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the files of the MQTT server; nobody else's. */

#include "base/hashmap.h"
#include "domain/mqtt-server.h"
#include "domain/mqtt-session.h"
#include "domain/mqtt-topics.h"

struct MqttServer {
        MqttServerConfig config;
        const MqttServerPort *port;
        void *userdata;

        Hashmap *devices;  /* name: MqttServerDevice */
        Hashmap *sessions; /* id: MqttSession */
        List all_sessions;
        Hashmap *retained; /* topic: MqttRetained */
        List all_retained;
        List wills; /* MqttWill: whose time has come */
        MqttTopics topics;
        List pending;        /* MqttPending */
        List unflushed;      /* MqttSession */
        MqttPending *routed; /* whose message is on its way to sessions now; NULL: none */

        uint64_t last_pending, durable; /* MqttPending.number: the latest, the latest on disk */
        uint64_t forgotten; /* durable with this MqttPending: the end of every kept session */
        uint64_t last_session, last_message, last_retained, last_will;
        uint64_t n_routed;
        uint64_t n_changes; /* put or removed */
        uint64_t kept_bytes, will_bytes;
        usec_t now;             /* of the last call */
        usec_t realtime_offset; /* CLOCK_REALTIME minus CLOCK_BOOTTIME, modulo 2^64 */
        usec_t swept;           /* when expired retained messages were looked for */

        /* Its age is the time for which it has run, over all starts: see mqtt-journal.h. */
        usec_t started, age_at_start;
        usec_t age_due; /* to be put on disk */
};

static inline usec_t mqtt_server_age(const MqttServer *s)
{
        return usec_add(s->age_at_start, s->now - s->started);
}

/* Something that waits for the disk, and the answer that goes out then. */
struct MqttPending {
        List order; /* its connection's */
        List all;   /* the server's */
        MqttServer *server;
        MqttConnection *connection; /* NULL: nobody waits */
        MqttMessage *message;       /* that is part of it; or NULL */
        MqttServerDevice *retainer; /* gave it to mqtt_retained_set(); NULL: nobody */
        uint64_t number;            /* ascending */
        uint64_t session;           /* that received a QoS 2 message under `packet_id`; 0: none */
        MqttWill *will;             /* `message` is that; NULL: none */
        uint16_t packet_id;
        uint8_t answer; /* MqttType; 0: none */
        bool on_disk;   /* settled in the order of `number` with all others of this kind */
        bool repeated;  /* answers for a message that came before */
        bool settled;
        MqttReason reason;
        const char *text;
        Buf packet;  /* the answer, where it is more than an acknowledgement */
        Buf removed; /* MqttKey: gone from queues while its message was routed */
};

/* The device's entry, made when it is not there. 0 or -ENOMEM. */
int mqtt_server_device(MqttServer *s, const char *name, MqttServerDevice **ret);
/* Frees it when nothing is in it. */
void mqtt_server_release_device(MqttServer *s, MqttServerDevice *d);
MqttSession *mqtt_server_find(const MqttServer *s, const char *device, Bytes client_id);
MqttSession *mqtt_server_session(const MqttServer *s, uint64_t id);

/* Not attached to a connection. */
int mqtt_pending_new(MqttServer *s, MqttPending **ret);
MqttPending *mqtt_pending_free(MqttPending *p);

/* Asks the port for it when something was put since `changes`, else settles it. */
void mqtt_pending_commit(MqttPending *p, uint64_t changes);
/* Routes the message of `p`, which came from `origin` (may be NULL). How many sessions took it. */
size_t mqtt_server_route(MqttServer *s, MqttPending *p, const MqttSession *origin, usec_t now);
/* Gives what `from`, which ends, had as a member of a group to others of it. What is put is to be
 * committed together with the end of `from`; NULL: there is nothing. */
MqttPending *mqtt_server_hand_on(MqttSession *from, usec_t now);
/* Whether the policy of now lets the device at `absolute`, under that very name. */
bool mqtt_server_allows(const MqttServer *s, MqttAccess access, const char *device,
                        const char *absolute);
/* The part of a topic below the device, or all of it when it is not the device's. */
const char *mqtt_topic_below(const char *device, const char *topic);
