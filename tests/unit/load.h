/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Many TLS clients at once, in one thread: TCP, TLS with a certificate of their own, MQTT 3.1.1
 * CONNECT until CONNACK. Bounded in number and in time. Ends the program where this host fails. */

#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/time.h"
#include "base/util.h"

#define LOAD_CLIENTS_MAX 5000
#define LOAD_REASONS_MAX 16

typedef struct LoadParams {
        struct sockaddr_storage to;
        socklen_t to_len;
        uint32_t source;  /* IPv4 address of the first client, host order; each its own;
                             0: the host's choice */
        unsigned clients; /* named <name>0, <name>1, ... */
        const char *name;
        X509 *issuer; /* of the clients' certificates */
        EVP_PKEY *issuer_key;
        const char *trust_file; /* of the server's */
        const char *host;       /* name or address that the server's certificate must hold */
        int version;            /* TLS1_3_VERSION, TLS1_2_VERSION */
        bool resume;            /* a first round, not measured, gathers sessions */
        bool tls_only;          /* no MQTT */
        usec_t hold;            /* connected, once all are in; */
        void (*held)(void);     /* called then, may be NULL; and the end of it before its time */
        const volatile sig_atomic_t *over; /* may be NULL */
        usec_t retry;   /* after a failure each comes again after this time; 0: never */
        usec_t repeat;  /* each comes again and again for so long; 0: once */
        usec_t timeout; /* of the whole */
        pid_t watch;    /* a server whose CPU time is told; 0: none */
} LoadParams;

typedef struct LoadReason {
        char text[96];
        unsigned n;
} LoadReason;

typedef struct LoadResult {
        unsigned clients, in;      /* of them got in; with `repeat` all that did */
        unsigned attempts, failed; /* attempts that came to nothing */
        unsigned resumed;          /* TLS sessions that were not negotiated anew */
        unsigned certificates;     /* different ones that the server showed */
        usec_t cpu;                /* of the server that is watched, in that time */
        usec_t own_cpu;            /* of the load: near `wall`, it is the load that was too slow */
        usec_t wall;               /* from the first connect() until the last was in */
        usec_t min, median, p99, max; /* from a client's first connect() until it was in */
        LoadReason reasons[LOAD_REASONS_MAX];
        size_t n_reasons;
} LoadResult;

/* What a client is made of, for programs that do more with one than load_run() does: */
SSL_CTX *load_context(const LoadParams *p);
X509 *load_certify(const LoadParams *p, unsigned number, EVP_PKEY **ret_key);
/* A socket that is connecting, or a negative errno. */
int load_connect(const LoadParams *p, unsigned number);

/* CPU time that all threads of a process have used, or 0. */
usec_t load_cpu(pid_t pid);

/* Blocks. */
void load_run(const LoadParams *p, LoadResult *ret);
/* A JSON object, without a newline. */
void load_print(const LoadResult *r, FILE *f);
