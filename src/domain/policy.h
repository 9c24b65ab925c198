/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Which topics a device may use, and which MQTT clients it may be. Every device has a namespace of
 * its own: `temp` and `dev1/temp` are the same topic of dev1. What its class grants (Publish=,
 * Subscribe=) is a topic of the whole gateway, as it is written. Otherwise the names of other
 * devices, `cmd/` (commands come down there) and topics with '$' in front are not for it;
 * `rats/<its own name>/` is for attestation. No grant reaches what begins with `cmd`, `gateway`,
 * `rats` or '$', so that a wide one ("#") takes from a device neither its commands nor its way to
 * attest.
 *
 * What a device writes is looked at in this order: attestation, its own name, what it was granted,
 * another device's name, and what is left is below its own name. */

#include "domain/registry.h"
#include "proto/topic.h"

typedef enum PolicyOutcome {
        POLICY_OWN,         /* allowed: in its namespace */
        POLICY_GRANTED,     /* allowed: by its class */
        POLICY_ATTESTATION, /* allowed: challenge, evidence, their answers */
        POLICY_BAD_TOPIC,   /* empty, too long, or a wildcard where none may be */
        POLICY_RESERVED,    /* '$', "cmd", "rats" */
        POLICY_FOREIGN,     /* another device's namespace */
        POLICY_POSTURE,     /* its class takes nothing in its posture */
        _POLICY_MAX,
} PolicyOutcome;

/* A word for REASON=. */
const char *policy_outcome_to_string(PolicyOutcome o);
static inline bool policy_allows(PolicyOutcome o)
{
        return o == POLICY_OWN || o == POLICY_GRANTED || o == POLICY_ATTESTATION;
}

#define POLICY_TOPIC_MAX (TOPIC_BYTES_MAX + DEVICE_NAME_MAX + 8)

/* A topic or filter as this gateway knows it ("dev1/temp"), whatever the device wrote ("temp"). */
typedef struct PolicyTopic {
        char absolute[POLICY_TOPIC_MAX];
        size_t left_out; /* bytes of it in front that the device did not write */
        size_t below;    /* where the part below the device begins ("temp"; behind "rats/dev1/" for
                            attestation); 0: a granted topic outside of its own namespace */
} PolicyTopic;

/* May `d` publish to `topic`, a valid name? `ret` is filled when the outcome allows it. Attestation
 * is open in every posture: there is no other way back. */
PolicyOutcome policy_publish(const Registry *r, const DeviceState *d, const char *topic,
                             PolicyTopic *ret);

/* May `d` have a will there? As above, but the posture is not looked at: it may change before the
 * will is published, which is when policy_publish() is asked, and a device that has to attest yet
 * must be able to connect for it. */
PolicyOutcome policy_will(const Registry *r, const DeviceState *d, const char *topic,
                          PolicyTopic *ret);

/* May `d` subscribe to `filter`, a valid one and not shared? '#' and '+' in front are within its
 * own namespace, unless a grant covers them as they are. The posture is not looked at: it may
 * change while the subscription stands, so that each delivery asks policy_may_receive(). */
PolicyOutcome policy_subscribe(const Registry *r, const DeviceState *d, const char *filter,
                               PolicyTopic *ret);

/* May something other than attestation be delivered to `d` now? */
bool policy_may_receive(const DeviceState *d);

#define POLICY_CLIENT_ID_MAX 128 /* bytes */

/* May this device be the MQTT client `id`? What its class says (ClientIds=), and always what the
 * server assigns: the device's name, "/auto-" and 8 to 32 hexadecimal digits. Two devices may be
 * allowed the same one. */
bool policy_client_id(const DeviceState *d, Bytes id);

/* Whether `a` and `b` are granted the same topics and client identifiers. */
bool policy_same_grants(const Device *a, const Device *b);
