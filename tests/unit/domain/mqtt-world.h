/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A gateway around an MqttServer: its disk (mqtt-disk.h), its devices and their policy, connections
 * that come and go, a clock, and crashes. Asserts nothing: the tests and the fuzzers share it.
 *
 * Any name is a device: "dev1/x" and "x" are dev1's own, "rats/dev1/x" is for attestation, "dev2"
 * is foreign, "$" is reserved. */

#include "domain/mqtt-connection.h"
#include "mqtt-disk.h"

typedef struct MqttWorld {
        MqttServer *server;
        MqttServerConfig config;
        MqttDisk disk;
        List clients; /* MqttWorldClient */
        ClassLimits limits;
        usec_t now, realtime;
        size_t dropped; /* values that the last start could not use */

        const char *publish, *subscribe; /* a filter that is granted to all; NULL: none */
        const char *closed;              /* a device that may receive nothing but attestation */
        const char *mute;                /* a device that may publish nothing but attestation */
        const char *gone;                /* a device that is no more; "*": all of them */
        MqttReason refuse;               /* what is submitted; MQTT_SUCCESS: nothing */
        usec_t wait;                     /* the allowance is used up */
        size_t n_overflows, n_wills_lost, n_failed, n_attested, n_submitted;
        char content_type[16]; /* of the last one that was submitted */
        char attested[64];     /* the last one: "rats:challenge=payload" */
} MqttWorld;

typedef struct MqttWorldClient {
        List node;
        MqttWorld *world;
        MqttConnection *connection; /* NULL: closed */
        Buf out;
        usec_t wait; /* what its last input has to wait for */
        size_t n_connected, n_wakes, n_denied;
        const char *denied; /* why, the last time */
} MqttWorldClient;

/* With small limits: see there. */
void mqtt_world_init(MqttWorld *w);
/* Starts the server with what is on disk. */
int mqtt_world_start(MqttWorld *w);
/* The process dies, and all connections with it: `connection` of each client is NULL then. */
void mqtt_world_crash(MqttWorld *w);
void mqtt_world_done(MqttWorld *w);

/* The Network Connection is there, CONNECT not yet. */
int mqtt_world_connect(MqttWorld *w, const char *device, MqttWorldClient *c);
/* And is closed. */
void mqtt_world_close(MqttWorldClient *c);
/* Takes `seconds`. */
void mqtt_world_pass(MqttWorld *w, unsigned seconds);
/* From the upstream. How many sessions took it. */
int mqtt_world_command(MqttWorld *w, const char *topic, const char *payload, uint8_t qos);

/* Whether there is no session and no message, in memory or on disk. */
bool mqtt_world_is_empty(MqttWorld *w);
/* Of all devices and sessions, when all connections are closed. Whether nothing of them is left, in
 * memory or on disk. */
bool mqtt_world_forget_all(MqttWorld *w);
