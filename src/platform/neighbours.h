/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The kernel's table of neighbours: who has which hardware address is entered there for good, so
 * that no ARP packet and no neighbour advertisement (RFC 826, RFC 4861) of somebody else sends a
 * device's packets elsewhere, and no flood of them pushes it out. */

#include "platform/loop.h"

#define NEIGHBOUR_INTERFACE_MAX 16 /* with its NUL, as IFNAMSIZ */

typedef struct Neighbour {
        char interface[NEIGHBOUR_INTERFACE_MAX];
        uint8_t hardware[6];
        uint8_t family;   /* 4 or 6 */
        uint8_t addr[16]; /* network order */
        int index;        /* for the module alone, as the next one */
        bool present;
} Neighbour;

typedef struct Neighbours Neighbours;

/* Opens netlink sockets: needs CAP_NET_ADMIN. Changes nothing yet. */
int neighbours_new(Loop *loop, Neighbours **ret);
/* Leaves the entries in the kernel. */
Neighbours *neighbours_free(Neighbours *t);
DEFINE_CLEANUP(Neighbours, neighbours_free)

/* Enters `wanted` (allocated, taken over) and removes what was entered before, by this process or
 * an earlier one, and is not among them. Entries of an interface that is not there come with it;
 * what the kernel refuses is logged and tried again. */
void neighbours_set(Neighbours *t, Neighbour *wanted, size_t n);
