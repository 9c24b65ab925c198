/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A TLS server and its clients, in one process. All assert. */

#include "../unit.h"
#include "pki.h"

#include <openssl/ssl.h>

#include "platform/tls.h"

typedef struct Bench {
        Loop *loop;
        TlsServer *server;
        TlsServerConfig config; /* without its trust */
        PkiCertificate both;    /* of both sides, and its own authority */
        uint16_t port;
        unsigned timeouts, too_many, too_many_of_one, established, closed, drained;
        char reason[32]; /* why the last one was refused */
        TlsConnection *connection;
        size_t received;
        TlsInput answer;
        unsigned inputs;
        usec_t cost; /* of each */
} Bench;

/* Listens on loopback; 0: no bound of its own for an address. A handshake may take a second. */
void bench_open_bounded(Bench *b, size_t connections_max, size_t handshakes_max,
                        size_t handshakes_per_address);
void bench_open(Bench *b, size_t connections_max, size_t handshakes_max);
void bench_close(Bench *b);
/* Runs its loop for so long. */
void turn(Bench *b, usec_t span);
/* A blocking socket that is connected. */
int dial(const Bench *b);

typedef struct Client {
        SSL_CTX *ctx;
        SSL *ssl;
        int fd;
} Client;

/* Ready to shake hands. */
void client_begin(Bench *b, Client *c);
/* Until the only one that is established is this. */
void client_go_on(Bench *b, Client *c);
void client_open(Bench *b, Client *c);
void client_close(Client *c);
/* How many bytes come until nothing does for a moment. */
size_t client_read(Bench *b, Client *c);
