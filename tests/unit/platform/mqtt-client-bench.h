/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A client and a real Mosquitto. All assert. */

#include "../unit.h"

#include "../broker.h"
#include "platform/mqtt-client.h"

typedef struct Seen {
        unsigned connected, disconnected, acknowledged, messages;
        uint8_t reason_code;
        MqttEnd end;
        char reason[512], topic[128], payload[64], type[64];
        MqttLimits limits;
        usec_t retry_in;
} Seen;

typedef struct Fixture {
        Broker broker;
        Loop *loop;
        Credential *credential;
        MqttClientConfig config;
        MqttClient *client;
        Seen seen;
} Fixture;

/* The broker's certificates are for the group; each test has a client that is not started, and a
 * broker that does not run. */
int group_setup(void **state);
int group_teardown(void **state);
int setup(void **state);
int teardown(void **state);
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

void start(Fixture *f);
/* Runs the loop until `*counter` has reached `target`; how many turns. */
unsigned pump(Fixture *f, const unsigned *counter, unsigned target, usec_t patience);
