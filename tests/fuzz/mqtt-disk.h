/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A store that is as slow and as full as the input likes: what is put and submitted waits in
 * order, in groups, until disk_settle(). */

#include "domain/mqtt-server.h"

typedef struct DiskPending {
        MqttPending *pending;
        int owner; /* who asked */
        uint8_t qos;
        bool submitted; /* with a message, else a commit() */
} DiskPending;

void disk_begin(void);
void disk_put(const MqttKey *key, Bytes value);
void disk_remove(const MqttKey *key);
/* A submission begins a group. */
void disk_submit(const DiskPending *p);
void disk_commit(const DiskPending *p);

/* Whether somebody waits for an answer. */
bool disk_waits(void);
/* The oldest that waits for an answer: false when there is none. Where it fails, the values of a
 * submission's group are lost, those of other groups come with the next that succeeds. The caller
 * settles it. */
bool disk_settle(bool success, DiskPending *ret);
/* All values that nobody waits for. */
void disk_flush(void);
/* What is not durable is gone. */
void disk_crash(void);
/* Removes everything. */
void disk_done(void);

size_t disk_values(void);
int disk_read(uint8_t kind, MqttStoredEach each, void *each_userdata, void *userdata);
