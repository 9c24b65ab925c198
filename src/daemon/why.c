/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/why.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/str.h"

/* Members that a value may lack are null, which neither D-Bus nor the command line show. */
static json_t *seconds_since(usec_t then, usec_t now)
{
        if (then == 0)
                return json_null();
        return json_real((double)(now > then ? now - then : 0) / (double)USEC_PER_SEC);
}

static json_t *seconds_until(usec_t then, usec_t now)
{
        if (then == USEC_INFINITY)
                return json_null();
        return json_real((double)(then > now ? then - now : 0) / (double)USEC_PER_SEC);
}

json_t *summary_of_device(Gateway *g, const DeviceState *d)
{
        usec_t now = loop_now(g->loop);
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:s, s:i, s:o, s:o, s:o}",
                         "device", d->device->name, "zone", d->device->zone->name, "class",
                         d->device->class->name, "posture", posture_to_string(d->posture), "reason",
                         d->reason, "quarantined", d->quarantined, "revoked", d->revoked, "peer",
                         d->peer, "transport", d->transport, "sessions", (int)d->sessions,
                         "posture_seconds", seconds_since(d->since, now), "expires_seconds",
                         seconds_until(d->expires, now), "last_seen_seconds",
                         seconds_since(d->last_seen, now));
}

static json_t *certificate(const DeviceState *d)
{
        char pin[2 * sizeof(d->certificate_spki_sha256) + 1], until[USEC_FORMAT_MAX];
        if (!d->has_certificate)
                return json_null();
        hex_encode(BYTES(d->certificate_spki_sha256, sizeof(d->certificate_spki_sha256)), pin);
        return json_pack("{s:s, s:s, s:s, s:s, s:s}", "subject", d->certificate_subject, "issuer",
                         d->certificate_issuer, "serial", d->certificate_serial, "spki_sha256", pin,
                         "not_after", usec_format_utc(d->certificate_not_after, until));
}

/* ---- what the kernel has ---- */

static const EnforcerElement *find_open(const EnforcerElement *elements, size_t n,
                                        const DeviceAddress *address)
{
        for (size_t i = 0; i < n; i++) {
                const DeviceAddress *a = &elements[i].element.address;
                if (elements[i].element.kind == EGRESS_OPEN && a->family == address->family &&
                    memcmp(a->addr, address->addr, sizeof(a->addr)) == 0)
                        return &elements[i];
        }
        return NULL;
}

static const char *format_address(const DeviceAddress *a, char ret[static INET6_ADDRSTRLEN])
{
        return inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->addr, ret, INET6_ADDRSTRLEN);
}

/* An allowance counts while the device's address is open. */
static json_t *rule(const EnforcerElement *e, const EnforcerElement *open)
{
        char allows[EGRESS_RULE_FORMAT_MAX], from[INET6_ADDRSTRLEN];
        bool live = e->present && open && open->present;
        json_t *left = live && open->left != USEC_INFINITY
                               ? json_real((double)open->left / (double)USEC_PER_SEC)
                               : json_null();
        return json_pack("{s:s, s:s, s:b, s:I, s:I, s:o}", "from",
                         format_address(&e->element.address, from), "allows",
                         egress_rule_format(&e->element.rule, allows), "live", live, "packets",
                         (json_int_t)e->count.packets, "bytes", (json_int_t)e->count.bytes,
                         "expires_seconds", left);
}

/* Packets of the device, or that claimed to be it, which the kernel dropped; one number a cause. */
typedef struct Drops {
        NftCount spoofed, refused, quarantined;
} Drops;

static void add_count(NftCount *sum, const NftCount *c)
{
        sum->packets += c->packets;
        sum->bytes += c->bytes;
}

static void add_drops(json_t *why, const Drops *d)
{
        const struct {
                const char *name;
                const NftCount *count;
        } causes[] = { { "refused", &d->refused },
                       { "quarantined", &d->quarantined },
                       { "spoofed", &d->spoofed } };
        json_t *drops = json_object();
        for (size_t i = 0; i < ELEMENTSOF(causes); i++)
                json_object_set_new(drops, causes[i].name,
                                    json_pack("{s:I, s:I}", "packets",
                                              (json_int_t)causes[i].count->packets, "bytes",
                                              (json_int_t)causes[i].count->bytes));
        json_object_set_new(why, "dropped", drops);
}

static void add_filter(json_t *why, const EnforcerElement *elements, size_t n)
{
        json_t *rules = json_array();
        Drops drops = { 0 };
        bool closed = false;
        for (size_t i = 0; i < n; i++) {
                const EnforcerElement *e = &elements[i];
                switch (e->element.kind) {
                case EGRESS_ALLOWED:
                        json_array_append_new(rules,
                                              rule(e, find_open(elements, n, &e->element.address)));
                        break;
                case EGRESS_REFUSED:
                        add_count(&drops.refused, &e->count);
                        break;
                case EGRESS_CLAIMED:
                        add_count(&drops.spoofed, &e->count);
                        break;
                case EGRESS_QUARANTINED:
                case EGRESS_QUARANTINED_ETHER:
                        add_count(&drops.quarantined, &e->count);
                        closed = closed || e->present;
                        break;
                case EGRESS_BOUND:
                case EGRESS_PLACED:
                case EGRESS_CLAIMED_ETHER:
                case EGRESS_HOME:
                case EGRESS_UNADDRESSED:
                case EGRESS_OPEN:
                case _EGRESS_KIND_MAX:
                        break;
                }
        }
        json_object_set_new(why, "rules", rules);
        json_object_set_new(why, "closed", json_boolean(closed));
        add_drops(why, &drops);
}

static void query_filter(Gateway *g, const DeviceState *d, json_t *why)
{
        EnforcerElement *elements = NULL;
        size_t n = 0;
        bool held = false;
        int r = enforcer_query(g->enforcer, d->device->name, &elements, &n, &held);
        json_object_set_new(why, "filter_read", json_boolean(r >= 0));
        if (r < 0)
                return;
        add_filter(why, elements, n);
        json_object_set_new(why, "held", json_boolean(held));
        free(elements);
}

static const char *attestation_name(AttestationKind k)
{
        switch (k) {
        case ATTESTATION_NONE:
                return "none";
        case ATTESTATION_PSA:
                return "psa";
        case _ATTESTATION_MAX:
                break;
        }
        return "unknown";
}

json_t *why_device(Gateway *g, const DeviceState *d)
{
        const Class *class = d->device->class;
        json_t *why = summary_of_device(g, d);
        json_t *more = json_pack(
                "{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:o}", "effective_posture",
                posture_to_string(device_state_effective(d)), "quarantine_reason",
                d->quarantine_reason, "revoked_reason", d->revoked_reason, "interface",
                d->device->zone->interface, "attestation", attestation_name(class->attestation),
                "origin", strempty(d->device->origin), "telemetry",
                (class->telemetry & 1U << device_state_effective(d)) != 0, "messages_in",
                (json_int_t)d->messages_in, "bytes_in", (json_int_t)d->bytes_in, "messages_refused",
                (json_int_t)d->messages_refused, "certificate", certificate(d));
        if (!why || !more || json_object_update_missing(why, more) < 0) {
                json_decref(why);
                json_decref(more);
                return NULL;
        }
        json_decref(more);
        query_filter(g, d, why);
        return why;
}
