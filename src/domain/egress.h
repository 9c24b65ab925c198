/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the packet filter must hold for a device: a plan of elements for the sets of
 * nft/sallyport.nft, and the difference between two plans. Decisions alone, no netlink. */

#include "domain/registry.h"

#define EGRESS_INTERFACE_MAX 16 /* with its NUL, as IFNAMSIZ */

typedef enum EgressKind {
        EGRESS_BOUND,             /* interface, hardware address and address of the device */
        EGRESS_PLACED,            /* the same where the hardware address is not known */
        EGRESS_CLAIMED,           /* its address is nobody else's to use */
        EGRESS_CLAIMED_ETHER,     /* nor its hardware address */
        EGRESS_HOME,              /* interface and hardware address */
        EGRESS_UNADDRESSED,       /* the same, of a device without configured addresses */
        EGRESS_REFUSED,           /* counts what of it was refused */
        EGRESS_QUARANTINED,       /* closed, but for attestation */
        EGRESS_QUARANTINED_ETHER, /* likewise, by hardware address */
        EGRESS_OPEN,              /* its allowances count, until `deadline` */
        EGRESS_ALLOWED,           /* one allowance of one address */
        _EGRESS_KIND_MAX,
} EgressKind;

/* Fields that a kind does not use are zero. */
typedef struct EgressElement {
        EgressKind kind;
        char interface[EGRESS_INTERFACE_MAX];
        uint8_t hardware[6];
        DeviceAddress address;
        EgressRule rule;
        usec_t deadline; /* CLOCK_BOOTTIME; USEC_INFINITY: until changed */
} EgressElement;

typedef struct EgressPlan {
        EgressElement *elements; /* in order, each once */
        size_t n_elements;
} EgressPlan;

void egress_plan_done(EgressPlan *p);
#define _cleanup_egress_plan_ _cleanup_(egress_plan_done)

/* The plan of `device` in `posture` (the effective one: an operator's quarantine counts as
 * contraindicated). A device without addresses has no egress: allowances hang on addresses.
 * 0, -EINVAL (zone without an interface that Linux can have), -ENOMEM. */
int egress_plan(const Device *device, Posture posture, usec_t deadline, EgressPlan *ret);

int egress_plan_copy(const EgressPlan *p, EgressPlan *ret);

/* Rules that overlap nowhere and allow together exactly what `rules` allow: the kernel's range
 * sets refuse overlaps. A rule whose protocol, family or ports make no sense is -EINVAL. */
int egress_rules_disjoint(const EgressRule *rules, size_t n, EgressRule **ret, size_t *ret_n);
/* One address and one port. */
bool egress_rule_is_exact(const EgressRule *r);

/* From one plan to the next; the elements are borrowed from the plans. An element of kind OPEN
 * whose deadline alone differs is in both lists. */
typedef struct EgressChange {
        const EgressElement **removed, **added;
        size_t n_removed, n_added;
        bool tightens; /* something that passed before does not any more: cut connections */
} EgressChange;

void egress_change_done(EgressChange *c);
#define _cleanup_egress_change_ _cleanup_(egress_change_done)
int egress_diff(const EgressPlan *from, const EgressPlan *to, EgressChange *ret);

/* Two devices must not claim the same address or hardware address: who would be meant? The first
 * such pair, or false. -ENOMEM is a pair as well, of NULLs. */
bool egress_find_conflict(const Device *const *devices, size_t n, const Device **ret_a,
                          const Device **ret_b);
