/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/policy.h"

#include "base/str.h"
#include "domain/pattern.h"

const char *policy_outcome_to_string(PolicyOutcome o)
{
        static const char *const words[_POLICY_MAX] = {
                [POLICY_OWN] = "own",
                [POLICY_GRANTED] = "granted",
                [POLICY_ATTESTATION] = "attestation",
                [POLICY_BAD_TOPIC] = "bad-topic",
                [POLICY_RESERVED] = "reserved-topic",
                [POLICY_FOREIGN] = "foreign-topic",
                [POLICY_POSTURE] = "posture",
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

typedef bool (*Match)(Bytes filter, Bytes topic);

static bool in_list(const Words *list, const Device *d, Bytes text, Match match)
{
        char buf[TOPIC_BYTES_MAX];
        for (size_t i = 0; i < list->n; i++) {
                Bytes pattern = pattern_expand(list->words[i], d, buf);
                if (pattern.len > 0 && match(pattern, text))
                        return true;
        }
        return false;
}

static bool is_granted(const Words *grants, const Device *d, const char *topic, Match match)
{
        Bytes t = bytes_from_str(topic);
        return grants->n > 0 && t.len > 0 && !device_name_reserved(topic_first_level(t)) &&
               in_list(grants, d, t, match);
}

/* Whose a topic is, in the words of the device. */
typedef struct Place {
        PolicyOutcome outcome;
        const char *below; /* the part below the device; NULL: granted */
        bool relative;     /* its name was left out */
} Place;

static Place attestation(const char *behind_rats, const char *name)
{
        const char *rest = behind(behind_rats, name);
        bool own = rest && *rest != '\0';
        return (Place){ own ? POLICY_ATTESTATION : POLICY_RESERVED, rest, false };
}

static Place own(const char *below, bool relative)
{
        PolicyOutcome o = POLICY_OWN;
        if (*below == '\0')
                o = POLICY_BAD_TOPIC;
        else if (*below == '$' || behind(below, "rats"))
                o = POLICY_RESERVED;
        return (Place){ o, below, relative };
}

/* The bound is that of what a device may write without its name in front: the same topic with it,
 * as it comes back when a will is due, is no longer. */
static bool is_too_long(const Device *d, const char *topic)
{
        const char *below = behind(topic, d->name);
        return strlen(below ? below : topic) > TOPIC_BYTES_MAX;
}

/* What publishing and subscribing have in common. */
static Place find_place(const Registry *r, const Device *d, const char *topic, const Words *grants,
                        Match match)
{
        const char *rest;
        if (is_too_long(d, topic))
                return (Place){ .outcome = POLICY_BAD_TOPIC };
        if ((rest = behind(topic, "rats")))
                return attestation(rest, d->name);
        if ((rest = behind(topic, d->name)))
                return own(rest, false);
        if (is_granted(grants, d, topic, match))
                return (Place){ .outcome = POLICY_GRANTED };
        if (names_a_device(r, topic))
                return (Place){ .outcome = POLICY_FOREIGN };
        return own(topic, true);
}

static void write_topic(const Device *d, const char *topic, const Place *p, PolicyTopic *ret)
{
        size_t front = 0, len = strlen(topic);
        if (p->relative) {
                front = strlen(d->name);
                memcpy(ret->absolute, d->name, front);
                ret->absolute[front++] = '/';
        }
        memcpy(ret->absolute + front, topic, len + 1);
        ret->left_out = front;
        ret->below = p->below ? front + (size_t)(p->below - topic) : 0;
}

bool policy_may_receive(const DeviceState *d)
{
        return d->device->class->telemetry & 1U << device_state_effective(d);
}

static PolicyOutcome publish(const Registry *r, const DeviceState *d, const char *topic,
                             bool posture_closes, PolicyTopic *ret)
{
        if (strpbrk(topic, "+#"))
                return POLICY_BAD_TOPIC;
        Place p = find_place(r, d->device, topic, &d->device->class->publish, topic_matches);
        if (!policy_allows(p.outcome))
                return p.outcome;
        if (p.outcome == POLICY_OWN && behind(p.below, "cmd"))
                return POLICY_RESERVED;
        if (p.outcome != POLICY_ATTESTATION && posture_closes && !policy_may_receive(d))
                return POLICY_POSTURE;
        write_topic(d->device, topic, &p, ret);
        return p.outcome;
}

PolicyOutcome policy_publish(const Registry *r, const DeviceState *d, const char *topic,
                             PolicyTopic *ret)
{
        return publish(r, d, topic, true, ret);
}

PolicyOutcome policy_will(const Registry *r, const DeviceState *d, const char *topic,
                          PolicyTopic *ret)
{
        return publish(r, d, topic, false, ret);
}

PolicyOutcome policy_subscribe(const Registry *r, const DeviceState *d, const char *filter,
                               PolicyTopic *ret)
{
        Place p =
                find_place(r, d->device, filter, &d->device->class->subscribe, topic_filter_covers);
        if (policy_allows(p.outcome))
                write_topic(d->device, filter, &p, ret);
        return p.outcome;
}

/* As the server makes them for clients that come without one. */
static bool is_assigned(const Device *d, Bytes id)
{
        static const char digits[] = "0123456789abcdefABCDEF";
        Bytes rest;
        if (!topic_strip_level(id, bytes_from_str(d->name), &rest) || rest.len < 5 + 8 ||
            rest.len > 5 + 32 || memcmp(rest.data, "auto-", 5) != 0)
                return false;
        for (size_t i = 5; i < rest.len; i++)
                if (!memchr(digits, rest.data[i], sizeof digits - 1))
                        return false;
        return true;
}

bool policy_client_id(const DeviceState *d, Bytes id)
{
        if (id.len == 0 || id.len > POLICY_CLIENT_ID_MAX || !mqtt_string_valid(id))
                return false;
        return is_assigned(d->device, id) ||
               in_list(&d->device->class->client_ids, d->device, id, pattern_matches);
}

static bool same_list(const Words *x, const Device *a, const Words *y, const Device *b)
{
        char bufs[2][TOPIC_BYTES_MAX];
        if (x->n != y->n)
                return false;
        for (size_t i = 0; i < x->n; i++)
                if (!bytes_equal(pattern_expand(x->words[i], a, bufs[0]),
                                 pattern_expand(y->words[i], b, bufs[1])))
                        return false;
        return true;
}

bool policy_same_grants(const Device *a, const Device *b)
{
        const Class *x = a->class, *y = b->class;
        return same_list(&x->publish, a, &y->publish, b) &&
               same_list(&x->subscribe, a, &y->subscribe, b) &&
               same_list(&x->client_ids, a, &y->client_ids, b);
}
