/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the files of platform/tls; nobody else's. */

#include <openssl/ssl.h>

#include "base/list.h"
#include "base/ratelimit.h"
#include "platform/fiber.h"
#include "platform/handshake.h"
#include "platform/tls.h"

/* Each in order of time; the third without a deadline. */
enum {
        TLS_HANDSHAKES,
        TLS_GOODBYES,
        TLS_WAITS_FOR_US, /* handshakes that wait for the TPM, or sign in it */
        TLS_DEADLINES,
};

struct TlsServer {
        Loop *loop;
        TlsServerConfig config; /* without its trust */
        SSL_CTX *ctx;
        TlsServerConfig next_config; /* prepared, */
        SSL_CTX *next_ctx;           /* or NULL: is not */
        Handshakes handshakes;
        Credential *credential;
        const TlsServerPort *port;
        void *userdata;
        List listeners;
        bool paused;      /* not accepting */
        usec_t starved;   /* when descriptors or memory ran out; 0: they did not */
        LoopSource *turn; /* for the connections in `ready` */
        LoopSource *step; /* for the handshakes in these: */
        List steps_begun, steps_first;
        unsigned n_passed; /* times that one of the first was before one of the second */
        LoopSource *timer; /* every second while something has a deadline */
        bool ticking;      /* the timer is armed */
        List connections, ready;
        List deadlines[TLS_DEADLINES];
        size_t n_connections, n_handshakes;
        size_t n_strangers; /* refused, and lingering */
        size_t n_signing;   /* in the TPM */
        size_t n_untidy;    /* handshakes that have ended since memory was given back, */
        usec_t last_ended;  /* and when the last of them did */
};

typedef enum TlsStage {
        TLS_HANDSHAKE,
        TLS_OPEN,
        TLS_FLUSHING,  /* closed by its owner, output is left */
        TLS_LINGERING, /* shut down, waits for the peer to take it in */
        TLS_DEAD,      /* to be freed in this turn */
} TlsStage;

typedef struct TlsRefusal {
        char reason[32], detail[128];
} TlsRefusal;

struct TlsConnection {
        TlsServer *server;
        List node, ready, timed, step;
        TlsStage stage;
        SSL *ssl;
        int fd;
        LoopSource *io;
        unsigned events;
        struct sockaddr_storage peer;
        Buf in, out;
        const TlsHandler *handler;
        void *userdata;
        usec_t deadline;
        bool stranger; /* one of n_strangers */
        bool want_write, held_up, stopped, again, eof;
        bool begun;      /* its handshake has had a step */
        bool key_in_tpm; /* so that its handshake needs a fiber */
        bool on_fiber;   /* its handshake runs on a fiber: hands off */
        bool step_done;  /* that fiber has ended */
        bool signing;    /* one of n_signing */
        Fiber *waiting;  /* until it may sign */
        int step_result;
        int step_want;       /* what it waits for: SSL_READING ... */
        TlsRefusal *refusal; /* when the step failed; NULL: without memory for it */
        RateLimit rekeys;    /* after the handshake */
};

/* tls-context.c */
int tls_context_new(TlsServer *s, const TlsServerConfig *config, Reason *reason, SSL_CTX **ret);
/* Why a handshake failed; empties the error queue. */
void tls_explain(SSL *ssl, TlsRefusal *ret);

/* tls-connection.c */
int tls_connection_new(TlsServer *s, int fd, const struct sockaddr_storage *peer);
TlsConnection *tls_connection_free(TlsConnection *c);
/* Its work of this turn. May free it. */
void tls_connection_turn(TlsConnection *c);
void tls_connection_expired(TlsConnection *c);
void tls_connection_set_events(TlsConnection *c, unsigned events);
/* What the call that just failed waits for: SSL_READING, SSL_WRITING, or SSL_NOTHING when it has
 * failed for good. */
int tls_connection_waits_for(const TlsConnection *c);
/* The last bytes would be lost if the socket were closed with input unread: the kernel would send
 * a reset. So our direction is shut and the peer's is read to its end, for a short time. */
void tls_connection_linger(TlsConnection *c);
/* Without a word to its owner; freed at the end of this turn. */
void tls_connection_die(TlsConnection *c);

/* tls-handshake.c */
/* Its socket is ready, while it is in the handshake. */
void tls_handshake_io(TlsConnection *c, unsigned events);
/* Takes in what its fiber, if that has ended, has come to. */
void tls_handshake_finish(TlsConnection *c);
/* A deferred source's handler; its userdata is the server. */
int tls_handshake_turn(void *userdata);

/* tls-rekey.c: its handshake is done. */
void tls_rekey_watch(TlsConnection *c);

/* tls-signing.c: for connections whose key is in the TPM. */
void tls_signing_prepare(TlsConnection *c);
/* Its step has ended: the next may sign. */
void tls_signing_done(TlsConnection *c);
/* It is dead, and need not wait on. */
void tls_signing_cancel(TlsConnection *c);

/* tls-server.c */
void tls_server_schedule(TlsServer *s, TlsConnection *c);
/* Puts a connection under a deadline; `list`: TLS_HANDSHAKES or TLS_GOODBYES. */
void tls_server_watch(TlsServer *s, TlsConnection *c, unsigned list, usec_t span);
/* One less: accepting may go on. */
void tls_server_release(TlsServer *s, bool handshake);
