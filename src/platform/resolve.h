/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Names to addresses by getaddrinfo(), in a thread, so that a slow name server never holds up the
 * loop. */

#include <sys/socket.h>

#include "platform/loop.h"

/* Threads that may wait for a name at a time, in the process; cancelled ones count until their
 * getaddrinfo() returns. */
#define RESOLVE_THREADS_MAX 8
#define RESOLVE_ADDRESSES   8

typedef struct Resolve Resolve;

/* `error` 0: `n` addresses (at least one), with the port filled in, in the order of preference.
 * Otherwise -ENOENT (no such name) or -EAGAIN (no answer) or another errno, and `reason` says
 * it. Called once, from the loop; the query is gone then. */
typedef void (*ResolveDone)(int error, const char *reason, const struct sockaddr_storage *addresses,
                            size_t n, void *userdata);

/* -EBUSY when too many are under way. An address in digits is answered without a thread. */
int resolve_start(Loop *l, const char *host, uint16_t port, ResolveDone done, void *userdata,
                  Resolve **ret);
/* `done` will not be called. Takes NULL, returns NULL. */
Resolve *resolve_cancel(Resolve *r);
