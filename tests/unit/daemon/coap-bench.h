/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the tests of the CoAP door stand on: a gateway that keeps what is handed to it and answers
 * later, certificates made by openssl(1), and real clients in processes of their own. */

#include "base/list.h"
#include "daemon/ingress-coap.h"
#include "platform/loop.h"

typedef struct Stored {
        List link;
        char *device, *topic, *content_type;
        uint8_t *payload;
        size_t len;
        bool durable;
        uint16_t format; /* of evidence */
} Stored;

struct Gateway {
        Loop *loop;
        usec_t delay; /* before submissions and evidence are answered */
        unsigned outcome;
        size_t ear_len;
        List telemetry, evidence, waiting;
        unsigned admitted, opened, closed, cancelled;
        char admit_reason[64];
        char refused_reason[64], refused_detail[160], refused_from[64];
        unsigned refused;
        DeviceState device[2]; /* "dev1" and "dev2" */
        Device config[2];
        Class class;
};

typedef struct Bench {
        Gateway gateway;
        IngressCoap *in;
        char directory[64];
        uint16_t port, device_port;
} Bench;

/* Forgets what has not been answered yet. */
void bench_gateway_done(Gateway *g);

/* A UDP port that nobody uses now. */
uint16_t bench_free_port(void);
int bench_setup(void **state);
int bench_teardown(void **state);

size_t list_length(const List *l);
Stored *last_stored(const List *l);
void bench_path(const Bench *b, const char *name, char ret[static 128]);
/* Puts a bundle of this folder in force, with a revocation list or without (NULL). */
void bench_trust(Bench *b, const char *authorities, const char *list);
Credential *bench_credential(const Bench *b, const char *name);

/* Runs `coap-client-openssl -v 6 -c CERT -j KEY ... coaps://127.0.0.1:PORT/PATH` while the loop
 * turns, at most `seconds`. What it wrote (both streams) is in bench_output() until the next run.
 * Returns its exit status, -1 when it had to be stopped. */
int bench_client(Bench *b, unsigned seconds, const char *who, const char *path,
                 const char *const *arguments);
#define BENCH_CLIENT(b, seconds, who, path, ...)                                                   \
        bench_client(b, seconds, who, path,                                                        \
                     (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })
const char *bench_output(void);

/* Runs `function` in a child process; its value is the exit status. */
int bench_child(Bench *b, unsigned seconds, int (*function)(Bench *b));
/* Turns the loop for this long. */
void bench_turn(Bench *b, usec_t time);
