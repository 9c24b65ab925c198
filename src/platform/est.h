/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A certificate for the identity by EST (RFC 7030 with RFC 8951): cacerts, csrattrs, then
 * simpleenroll or simplereenroll, one after the other, on the loop. The TPM signs on fibers. */

#include "platform/identity.h"
#include "platform/loop.h"

/* What is borrowed is copied by est_start(), but for the identity, which has to outlive it. */
typedef struct EstParams {
        Loop *loop;
        Identity *identity;
        const char *server;     /* https://HOST or https://HOST:PORT */
        const char *label;      /* of the CA, where the server has several; NULL: its only one */
        const char *ca;         /* PEM file with the authorities for the server */
        const char *user;       /* "NAME:PASSWORD", or NULL */
        Credential *credential; /* shows who asks; NULL: none */
        bool renewal;           /* simplereenroll, for what the certificate in force says */
        const char *common_name;
        const char *const *names;
        size_t n_names;
        usec_t patience; /* while the CA says that it takes its time */
} EstParams;

/* Holds during the call. */
typedef struct EstResult {
        const char *pem;    /* the new certificate, then all that may belong to its chain, roots as
                             * well; nothing of it is checked but the key. NULL: there is none */
        const char *reason; /* why; a sentence */
        int error;          /* 0, or why this host could not ask: errors of identity_sign() */
} EstResult;

typedef struct Est Est;
/* Called once, from the loop; the enrolment is gone then. */
typedef void (*EstDone)(const EstResult *result, void *userdata);

/* Not from a fiber. -EINVAL: the server is no https URL, or the like. */
int est_start(const EstParams *params, EstDone done, void *userdata, Est **ret, Reason *reason);
/* CLOCK_BOOTTIME; when a CA that takes its time is asked again. 0: it does not. */
usec_t est_waits_until(const Est *e);
/* `done` will not be called. Takes NULL, returns NULL. */
Est *est_cancel(Est *e);

/* Whether it can be in a URL after /.well-known/est/. */
bool est_label_valid(const char *label);
bool est_server_valid(const char *server);
