/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/policy.h"

#include "base/str.h"

const char *policy_outcome_to_string(PolicyOutcome o)
{
        static const char *const words[_POLICY_MAX] = {
                [POLICY_TELEMETRY] = "telemetry",   [POLICY_ATTESTATION] = "attestation",
                [POLICY_BAD_TOPIC] = "bad-topic",   [POLICY_RESERVED] = "reserved-topic",
                [POLICY_FOREIGN] = "foreign-topic", [POLICY_POSTURE] = "posture",
        };
        return words[o];
}

/* The rest of `topic` behind the level `level`: "" when it is the last one, NULL when `topic`
 * does not begin with it. */
static const char *behind(const char *topic, const char *level)
{
        const char *rest = startswith(topic, level);
        if (!rest || (*rest != '\0' && *rest != '/'))
                return NULL;
        return *rest == '/' ? rest + 1 : rest;
}

/* The first level is the name of a device that is configured. */
static bool names_a_device(const Registry *r, const char *topic)
{
        char name[DEVICE_NAME_MAX + 1];
        size_t len = strcspn(topic, "/");
        if (len > DEVICE_NAME_MAX)
                return false;
        memcpy(name, topic, len);
        name[len] = '\0';
        return registry_get(r, name) != NULL;
}

/* What publishing and subscribing have in common: whose topic is it, and what is below. */
static PolicyOutcome resolve(const Registry *r, const DeviceState *d, const char *topic,
                             const char **ret)
{
        const char *own = d->device->name, *rest;
        if (*topic == '\0')
                return POLICY_BAD_TOPIC;
        if ((rest = behind(topic, "rats"))) {
                rest = behind(rest, own);
                if (!rest || *rest == '\0')
                        return POLICY_RESERVED;
                *ret = rest;
                return POLICY_ATTESTATION;
        }
        if ((rest = behind(topic, own)))
                topic = rest;
        else if (names_a_device(r, topic))
                return POLICY_FOREIGN;
        if (*topic == '\0')
                return POLICY_BAD_TOPIC;
        if (*topic == '$' || behind(topic, "rats"))
                return POLICY_RESERVED;
        *ret = topic;
        return POLICY_TELEMETRY;
}

bool policy_may_receive(const DeviceState *d)
{
        return d->device->class->telemetry & 1U << device_state_effective(d);
}

PolicyOutcome policy_publish(const Registry *r, const DeviceState *d, const char *topic,
                             const char **ret_topic)
{
        const char *below;
        if (strpbrk(topic, "+#"))
                return POLICY_BAD_TOPIC;
        PolicyOutcome o = resolve(r, d, topic, &below);
        if (!policy_allows(o))
                return o;
        if (o == POLICY_TELEMETRY && behind(below, "cmd"))
                return POLICY_RESERVED;
        if (o == POLICY_TELEMETRY && !policy_may_receive(d))
                return POLICY_POSTURE;
        *ret_topic = below;
        return o;
}

PolicyOutcome policy_subscribe(const Registry *r, const DeviceState *d, const char *filter,
                               const char **ret_filter)
{
        return resolve(r, d, filter, ret_filter);
}
