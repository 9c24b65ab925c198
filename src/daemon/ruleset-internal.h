/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The sets of the table, shared by its elements and its rules. */

#include "platform/nft.h"

typedef enum RulesetSet {
        SET_ZONES,
        SET_UPLINKS,
        SET_DHCP_ZONES,
        SET_PING_ZONES,
        SET_DOORS,
        SET_SERVICES,
        SET_BOUND4,
        SET_BOUND6,
        SET_PLACED4,
        SET_PLACED6,
        SET_CLAIMED4,
        SET_CLAIMED6,
        SET_CLAIMED_ETHER,
        SET_HOMES,
        SET_UNADDRESSED,
        SET_QUARANTINED4,
        SET_QUARANTINED6,
        SET_QUARANTINED_ETHER,
        SET_OPEN4,
        SET_OPEN6,
        SET_ALLOWED4,
        SET_ALLOWED6,
        SET_ALLOWED4_RANGE,
        SET_ALLOWED6_RANGE,
        SET_REFUSED4,
        SET_REFUSED6,
        _SET_MAX,
} RulesetSet;

extern const NftSet ruleset_sets[_SET_MAX];

/* Chains and rules; the sets must be in the batch already. */
void ruleset_rules(NftBatch *b, bool masquerade);
