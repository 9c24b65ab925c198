/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The table `inet sallyport` as a netlink batch: nft/sallyport.nft says the same for people. */

#include "domain/egress.h"
#include "platform/nft.h"

#define RULESET_TABLE     "sallyport"
#define RULESET_LOG_GROUP 5 /* nflog: refused packets, ten a second at most */

typedef struct RulesetZone {
        char interface[NFT_INTERFACE_MAX];
        unsigned services; /* ZONE_SERVICE_* */
} RulesetZone;

/* A port of the gateway that every host in a zone may reach, to attest. */
typedef struct RulesetDoor {
        uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
        uint16_t port;
} RulesetDoor;

/* What of the table is the same for every device. */
typedef struct RulesetFrame {
        RulesetZone *zones;
        size_t n_zones;
        char (*uplinks)[NFT_INTERFACE_MAX]; /* none: nothing is forwarded */
        size_t n_uplinks;
        bool masquerade;
        RulesetDoor *doors;
        size_t n_doors;
} RulesetFrame;

/* Replaces the whole table by `frame` and the elements of `plans`. OPEN elements whose deadline is
 * not after `now` are left out. */
void ruleset_replace(NftBatch *b, const RulesetFrame *frame, const EgressPlan *const *plans,
                     size_t n_plans, usec_t now);

/* Elements that may have expired meanwhile are removed without an error. */
void ruleset_change(NftBatch *b, const EgressChange *change, usec_t now);

/* -ENOENT: not there, or expired. */
int ruleset_read(Nft *n, const EgressElement *element, NftCount *ret, usec_t *ret_left);

typedef struct RulesetCounters {
        NftCount spoofed, quarantined, lateral, invalid, refused;
} RulesetCounters;
int ruleset_read_counters(Nft *n, RulesetCounters *ret);
