/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Keeps the packet filter as the devices' postures want it. Owns the table `inet sallyport`,
 * nothing else of nftables, and the neighbour entries of devices whose hardware address is known.
 * Both stay when the daemon stops or dies: verdicts run out in the kernel, everything else stays
 * shut. */

#include "daemon/ruleset.h"
#include "domain/registry.h"
#include "platform/loop.h"

typedef struct Enforcer Enforcer;

typedef struct EnforcerSettings {
        const Zone *zones;
        size_t n_zones;
        char *const *uplinks; /* interfaces; none: nothing is forwarded */
        size_t n_uplinks;
        bool masquerade; /* what leaves a zone by an uplink, IPv4 and IPv6 */
        const RulesetDoor *doors;
        size_t n_doors;
} EnforcerSettings;

/* Opens netlink sockets: needs CAP_NET_ADMIN. Changes nothing yet. */
int enforcer_new(Loop *loop, Enforcer **ret);
/* Leaves the table as it is. Callbacks that are due are not called. */
Enforcer *enforcer_free(Enforcer *e);
DEFINE_CLEANUP(Enforcer, enforcer_free)

/* Takes places and devices into the filter in one transaction, at start and on reload: the whole
 * table, or, where nobody touched it and devices alone changed, what differs. Copies what it needs.
 * A failure (-EEXIST: two devices claim one address) is logged and changes nothing. */
int enforcer_load(Enforcer *e, const EnforcerSettings *settings, const DeviceState *const *states,
                  size_t n_states);

typedef void (*EnforcerDone)(int error, void *userdata);
/* Takes the present posture of `d` into the filter: all changes of a turn are one transaction at
 * its end. `done` (or NULL) is called once after that, from the loop: 0 it is in force; else the
 * filter refused, and the device is closed, as in quarantine, until it takes it: that is tried
 * again. -ENODEV: not loaded; -ENOMEM: the device is closed, until the next call at the latest, and
 * `done` will not be called. */
int enforcer_apply(Enforcer *e, const DeviceState *d, EnforcerDone done, void *userdata);
/* Takes what is queued into the filter now instead of at the turn's end, for who has to answer at
 * once; callbacks wait for the turn's end. -EIO: it did not take the posture of `device`, which is
 * tried again. -ENODEV; or another negative errno: the table is gone and cannot be built. */
int enforcer_commit(Enforcer *e, const char *device);
/* The callbacks with this userdata will not be called. */
void enforcer_cancel(Enforcer *e, const void *userdata);

/* For `why`: what the kernel has of a device, read now. */
typedef struct EnforcerElement {
        EgressElement element; /* of kind CLAIMED (others in its name), REFUSED, QUARANTINED, */
                               /* QUARANTINED_ETHER, OPEN or ALLOWED */
        bool present;          /* false: expired, or taken away by somebody */
        NftCount count;        /* packets since the element is there */
        usec_t left;           /* USEC_INFINITY: stays */
} EnforcerElement;
#define ENFORCER_QUERY_MAX 512
/* `*ret_held`: closed because the filter refused its posture. -ENODEV. */
int enforcer_query(Enforcer *e, const char *device, EnforcerElement **ret, size_t *ret_n,
                   bool *ret_held);
/* Totals since the table was last built as a whole. */
int enforcer_counters(Enforcer *e, RulesetCounters *ret);
