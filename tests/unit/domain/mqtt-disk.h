/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A disk for the MQTT server that does what the test says: groups of values and records wait until
 * they are written, fail, or are lost in a crash. In the words of platform/store.h. */

#include "base/list.h"
#include "domain/mqtt-server.h"

typedef struct MqttDisk {
        List log;     /* what was asked for and is not written, or not answered */
        List values;  /* on disk, in the order of their keys */
        List records; /* on disk */
        uint64_t group;
        bool lost;       /* the process is dying: nothing gets here any more */
        bool no_barrier; /* there is no memory for one */
} MqttDisk;

void mqtt_disk_init(MqttDisk *d);
void mqtt_disk_done(MqttDisk *d);

/* What the port asks for. */
void mqtt_disk_begin(MqttDisk *d);
void mqtt_disk_put(MqttDisk *d, const MqttKey *key, Bytes value);
void mqtt_disk_remove(MqttDisk *d, const MqttKey *key);
/* -ENOMEM while it is lost, or there is none. */
int mqtt_disk_barrier(MqttDisk *d, MqttPending *p);
/* A message for the upstream, as text. */
int mqtt_disk_record(MqttDisk *d, MqttPending *p, const char *text);

/* Writes the next group without a word: false when none is left. */
bool mqtt_disk_write(MqttDisk *d);
/* Writes up to the next that somebody waits for, and says so. */
bool mqtt_disk_settle(MqttDisk *d);
void mqtt_disk_settle_all(MqttDisk *d);
/* The next that somebody waits for fails: a record with its group; a barrier alone, as values are
 * tried again. False when there is none, or it is written already. */
bool mqtt_disk_fail(MqttDisk *d, MqttReason reason, const char *text);
/* What is not written is gone, and nobody waits any more. */
void mqtt_disk_crash(MqttDisk *d);

/* How many wait for it. */
size_t mqtt_disk_waiting(const MqttDisk *d);
/* Who is answered next; NULL: nobody waits. */
const MqttPending *mqtt_disk_next(const MqttDisk *d);
size_t mqtt_disk_n_values(const MqttDisk *d, uint8_t kind);
size_t mqtt_disk_n_records(const MqttDisk *d);
/* NULL: there are not so many. */
const char *mqtt_disk_get_record(const MqttDisk *d, size_t i);

/* Straight to the disk, as another process would. */
void mqtt_disk_plant(MqttDisk *d, const MqttKey *key, Bytes value);
/* Of MqttStoredRead; `userdata` is the disk. */
int mqtt_disk_read(uint8_t kind, MqttStoredEach each, void *each_userdata, void *userdata);
