/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The kernel's table of connections: forgetting those of one address. */

#include "base/util.h"

typedef struct Conntrack Conntrack;

int conntrack_open(Conntrack **ret);
Conntrack *conntrack_free(Conntrack *c);
DEFINE_CLEANUP(Conntrack, conntrack_free)

/* Deletes the connections that `address` (`family` 4 or 6, network order) opened. Blocks for a walk
 * through the kernel's table, which compares each entry: 6 ms where it has 262,144 buckets. At most
 * CONNTRACK_FORGET_MAX connections a call; -EAGAIN when there are more, call again. */
#define CONNTRACK_FORGET_MAX 4096
int conntrack_forget(Conntrack *c, uint8_t family, const uint8_t *address, size_t *ret_deleted);
