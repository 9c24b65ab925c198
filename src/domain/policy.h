/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Which topics a device may use. Every device has a namespace of its own: `temp` and `dev1/temp`
 * are the same topic of dev1. The names of other devices, `cmd/` (commands come down there) and
 * topics with '$' in front are not for publishing; `rats/<its own name>/` is for attestation. */

#include "domain/registry.h"

typedef enum PolicyOutcome {
        POLICY_TELEMETRY,   /* allowed: to gateway_submit() */
        POLICY_ATTESTATION, /* allowed: challenge, evidence, their answers */
        POLICY_BAD_TOPIC,   /* empty, or a wildcard where none may be */
        POLICY_RESERVED,    /* '$', "cmd", "rats" */
        POLICY_FOREIGN,     /* another device's namespace */
        POLICY_POSTURE,     /* its class takes no telemetry in its posture */
        _POLICY_MAX,
} PolicyOutcome;

/* A word for REASON=. */
const char *policy_outcome_to_string(PolicyOutcome o);
static inline bool policy_allows(PolicyOutcome o)
{
        return o == POLICY_TELEMETRY || o == POLICY_ATTESTATION;
}

/* May `d` publish to `topic`? When allowed `ret_topic` is the topic below the device or, for
 * attestation, behind `rats/<device>/`; it points into `topic`. Attestation is open in every
 * posture: there is no other way back. */
PolicyOutcome policy_publish(const Registry *r, const DeviceState *d, const char *topic,
                             const char **ret_topic);

/* May `d` subscribe to `filter`? `ret_filter` like `ret_topic`. To be matched against topics of
 * this device alone, so that '#' and '+' are its own too. The posture is not looked at: it may
 * change while the subscription stands, so that each delivery asks policy_may_receive(). */
PolicyOutcome policy_subscribe(const Registry *r, const DeviceState *d, const char *filter,
                               const char **ret_filter);

/* May something other than attestation be delivered to `d` now? */
bool policy_may_receive(const DeviceState *d);
