/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/why.h"

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
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:s, s:i, s:o, s:o, s:o}", "device",
                         d->device->name, "zone", d->device->zone->name, "class",
                         d->device->class->name, "posture", posture_to_string(d->posture), "reason",
                         d->reason, "quarantined", d->quarantined, "peer", d->peer, "transport",
                         d->transport, "sessions", (int)d->sessions, "posture_seconds",
                         seconds_since(d->since, now), "expires_seconds",
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

/* An allowance counts while the device's address is open. */
static json_t *rule(const EnforcerElement *e, const EnforcerElement *open)
{
        char allows[EGRESS_RULE_FORMAT_MAX];
        bool live = e->present && open && open->present;
        json_t *left = live && open->left != USEC_INFINITY
                               ? json_real((double)open->left / (double)USEC_PER_SEC)
                               : json_null();
        return json_pack("{s:s, s:b, s:I, s:I, s:o}", "allows",
                         egress_rule_format(&e->element.rule, allows), "live", live, "packets",
                         (json_int_t)e->count.packets, "bytes", (json_int_t)e->count.bytes,
                         "expires_seconds", left);
}

static void add_filter(json_t *why, const EnforcerElement *elements, size_t n)
{
        json_t *rules = json_array();
        json_int_t packets = 0, bytes = 0;
        bool closed = false;
        for (size_t i = 0; i < n; i++) {
                const EnforcerElement *e = &elements[i];
                switch (e->element.kind) {
                case EGRESS_ALLOWED:
                        json_array_append_new(rules,
                                              rule(e, find_open(elements, n, &e->element.address)));
                        break;
                case EGRESS_REFUSED:
                case EGRESS_CLAIMED:
                        packets += (json_int_t)e->count.packets;
                        bytes += (json_int_t)e->count.bytes;
                        break;
                case EGRESS_QUARANTINED:
                case EGRESS_QUARANTINED_ETHER:
                        packets += (json_int_t)e->count.packets;
                        bytes += (json_int_t)e->count.bytes;
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
        json_object_set_new(why, "dropped_packets", json_integer(packets));
        json_object_set_new(why, "dropped_bytes", json_integer(bytes));
        json_object_set_new(why, "closed", json_boolean(closed));
}

static void query_filter(Gateway *g, const DeviceState *d, json_t *why)
{
        EnforcerElement *elements = NULL;
        size_t n = 0;
        bool held = false;
        if (enforcer_query(g->enforcer, d->device->name, &elements, &n, &held) < 0)
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
                "{s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:o}", "effective_posture",
                posture_to_string(device_state_effective(d)), "quarantine_reason",
                d->quarantine_reason, "interface", d->device->zone->interface, "attestation",
                attestation_name(class->attestation), "origin", strempty(d->device->origin),
                "telemetry", (class->telemetry & 1U << device_state_effective(d)) != 0,
                "messages_in", (json_int_t)d->messages_in, "bytes_in", (json_int_t)d->bytes_in,
                "messages_refused", (json_int_t)d->messages_refused, "certificate", certificate(d));
        if (!why || !more || json_object_update_missing(why, more) < 0) {
                json_decref(why);
                json_decref(more);
                return NULL;
        }
        json_decref(more);
        query_filter(g, d, why);
        return why;
}
