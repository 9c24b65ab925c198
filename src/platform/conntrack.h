/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The kernel's table of connections: forgetting those of one address. */

#include "base/buf.h"
#include "base/util.h"

typedef struct Conntrack Conntrack;

int conntrack_open(Conntrack **ret);
Conntrack *conntrack_free(Conntrack *c);
DEFINE_CLEANUP(Conntrack, conntrack_free)

/* Whom an address may have connections with, of its own family. */
typedef struct ConntrackPeer {
        uint8_t address[16]; /* network order */
        uint8_t prefix;      /* bits */
        uint8_t protocol;
        uint16_t port_first, port_last; /* inclusive */
} ConntrackPeer;

/* Connections that are there, ready to be deleted. */
#define CONNTRACK_FOUND_MAX 4096
typedef struct ConntrackFound {
        Buf deletions;
        size_t n;
        bool more; /* than CONNTRACK_FOUND_MAX: delete these, then look again */
} ConntrackFound;
void conntrack_found_done(ConntrackFound *f);
#define _cleanup_conntrack_found_ _cleanup_(conntrack_found_done)

/* The connections that `address` (`family` 4 or 6, network order) opened and that none of `keep`
 * covers. Those to this host itself are not among them: nobody translates or forwards them. Blocks
 * for a walk through the kernel's table, which compares each entry: 6 ms where it has 262,144
 * buckets. */
int conntrack_find(Conntrack *c, uint8_t family, const uint8_t *address, const ConntrackPeer *keep,
                   size_t n_keep, ConntrackFound *ret);
/* Deletes what was found and is still there; a connection that began later stays. */
int conntrack_delete(Conntrack *c, ConntrackFound *f);
