/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A real Mosquitto on loopback with mutual TLS, for tests: certificates made for the occasion in a
 * directory of its own. All assert. */

#include <sys/types.h>

#include "platform/credential.h"

typedef struct Broker {
        char directory[64];
        char ca[128], other_ca[128]; /* of the broker, and one that it does not know */
        char log[128];
        uint16_t port;
        pid_t pid;
} Broker;

/* Makes directory and certificates (server: broker.test and 127.0.0.1; client: gw-1), finds a free
 * port. Nothing runs yet. */
void broker_prepare(Broker *b);
/* `extra` are further lines of its configuration, or NULL. Returns when it listens. */
void broker_start(Broker *b, const char *extra);
/* Instead of Mosquitto tests/tools/hostile-broker, on the same port and with the same log. */
void broker_start_hostile(Broker *b, const char *behaviour, const char *word);
/* tests/tools/http-peer in its place; mode: "tls", "plain" or "old". */
void broker_start_web(Broker *b, const char *mode);
/* Until something listens on its port. */
void broker_wait(const Broker *b);
/* SIGKILL, and waits for its end. */
void broker_kill(Broker *b);
/* Kills, removes the directory. */
void broker_done(Broker *b);

/* The client credential; with `foreign` one of the other CA. */
Credential *broker_credential(Broker *b, bool foreign);

/* Runs mosquitto_sub with the broker's CA and a client certificate, output to `path`; returns
 * when it has subscribed. */
pid_t broker_subscriber(Broker *b, const char *topic, const char *format, const char *path);
/* A message into the broker by mosquitto_pub. */
void broker_publish(Broker *b, const char *topic, const char *payload, const char *more);

/* Of TCP on loopback, where nothing listens. */
uint16_t free_port(void);
/* Occurrences of `text` in the file. */
size_t file_count(const char *path, const char *text);
void file_wait(const char *path, const char *text);
/* Ends a process that this test started. */
void process_end(pid_t pid);
