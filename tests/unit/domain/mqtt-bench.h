/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Clients that speak raw packets (hex.h) to the MQTT server in its world, and what its tests say
 * often. All assert. There is one world, fresh for each test; in the end nothing may be left of its
 * sessions, in memory or on disk. */

#include "../unit.h"

#include "mqtt-world.h"

#define CONNECT3 "10 10 0004'MQTT'04 02 003c 0004'dev1' "
#define CONNECT5 "10 11 0004'MQTT'05 02 003c 00 0004'dev1' "
/* Session Expiry 100 s, as it was */
#define RESUME5 "10 16 0004'MQTT'05 00 003c 05 11 00000064 0004'dev1' "
/* A session of 100 s, begun anew */
#define BEGIN5   "10 16 0004'MQTT'05 02 003c 05 11 00000064 0004'dev1' "
#define CONNACK3 "20 02 00 00 "
/* receive maximum 4, 1024 bytes, 4 aliases */
#define CONNACK5 "20 0e 00 00 0b 21 0004 22 0004 27 00000400 "
#define PRESENT5 "20 0e 01 00 0b 21 0004 22 0004 27 00000400 "

typedef MqttWorldClient Client;

extern MqttWorld world;

int setup(void **state);
int teardown(void **state);
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

void client_open_as(Client *c, const char *device);
/* Of dev1. */
void client_open(Client *c);
/* Opens it and feeds `connect`; what the disk has to do is done. */
void client_connect_as(Client *c, const char *device, const char *connect, const char *connack);
void client_connect(Client *c, const char *connect, const char *connack);
void client_close(Client *c);
/* The client says goodbye, and the disk does all it has to. */
void client_leave(Client *c);
/* The same, and its session ends. */
void client_leave_for_good(Client *c);

/* All of it has to be taken unless the answer is another than MQTT_INPUT_MORE. */
MqttInput feed(Client *c, const char *hex);
/* What was sent is exactly this; forgets it. */
void assert_out(Client *c, const char *hex);
/* Feeds, lets the disk do all it has to, and looks at what was sent; NULL: the caller does. */
void exchange(Client *c, const char *in, const char *out);
void assert_ended(const Client *c, MqttReason reason);
/* The upstream got exactly these: "dev1:topic=payload,..." */
void assert_records(const char *expected);

/* From the upstream. How many sessions took it. */
int command(const char *topic, const char *payload, uint8_t qos);
MqttServerStats stats(void);
/* Of a session that has to be there; its strings are the server's. */
MqttSessionView view(const char *client_id);
/* The disk does all it has to: there is no session, no message, no value. */
void assert_nothing_kept(void);

/* Everything that waits for the disk is durable. */
void settle(void);
/* The next that somebody waits for is not; `text` may be NULL. */
void settle_failed(MqttReason reason, const char *text);
/* The process dies now and starts again with what is on disk. */
void crash(void);
/* The same `seconds` later. */
void crash_for(unsigned seconds);
/* The host dies: CLOCK_BOOTTIME begins anew, CLOCK_REALTIME goes on by `clock` seconds, which may
 * be less than none. */
void reboot(int clock);
