/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What differs between the configuration in force and a new one. */
#include <stdio.h>

#include "base/str.h"
#include "daemon/reload.h"
#include "domain/policy.h"

static bool same_word(const char *a, const char *b)
{
        return streq(strempty(a), strempty(b));
}

static bool same_words(const Words *a, const Words *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!streq(a->words[i], b->words[i]))
                        return false;
        return true;
}

static bool same_listens(const Listens *a, const Listens *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (memcmp(&a->addresses[i].address, &b->addresses[i].address,
                           sizeof(a->addresses[i].address)) != 0)
                        return false;
        return true;
}

/* One is there or none. */
static bool same_upstream(const Settings *a, const Settings *b)
{
        return !a->upstream.host == !b->upstream.host;
}

bool reload_needs_restart(const Settings *a, const Settings *b, char *ret, size_t size)
{
        const struct {
                const char *key;
                bool same;
        } keys[] = {
                { "[Gateway] Name=", same_word(a->name, b->name) },
                { "[Gateway] StateDirectory=", same_word(a->state_directory, b->state_directory) },
                { "[TPM] TCTI=", same_word(a->tcti, b->tcti) },
                { "[TPM] PCRs=", a->pcrs == b->pcrs },
                { "[Identity] TLSKey=", a->tls_key == b->tls_key },
                { "[Identity] LeafLifetime=", a->leaf_lifetime == b->leaf_lifetime },
                { "[Identity] Names=", same_words(&a->names, &b->names) },
                { "[MQTT] Listen=", same_listens(&a->mqtt.listen, &b->mqtt.listen) },
                { "[MQTT] MaximumPacketSize=",
                  a->mqtt.maximum_packet_size == b->mqtt.maximum_packet_size },
                { "[MQTT] MaximumConnections=",
                  a->mqtt.maximum_connections == b->mqtt.maximum_connections },
                { "[MQTT] KeepAlive=", a->mqtt.keep_alive == b->mqtt.keep_alive },
                { "[MQTT] SessionExpiry=", a->mqtt.session_expiry == b->mqtt.session_expiry },
                { "[MQTT] Passwords=", a->mqtt.passwords == b->mqtt.passwords },
                { "[CoAP] Listen=", same_listens(&a->coap.listen, &b->coap.listen) },
                { "[CoAP] MaximumSessions=", a->coap.maximum_sessions == b->coap.maximum_sessions },
                { "[Upstream] Address=", same_upstream(a, b) },
                { "[Upstream] TopicPrefix=",
                  same_word(a->upstream.topic_prefix, b->upstream.topic_prefix) },
                { "[Upstream] Window=", a->upstream.window == b->upstream.window },
                { "[Store] MaximumSize=", a->store_maximum_size == b->store_maximum_size },
        };
        size_t len = 0;
        ret[0] = '\0';
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (!keys[i].same && len + strlen(keys[i].key) + 3 < size)
                        len += (size_t)snprintf(ret + len, size - len, "%s%s", len ? ", " : "",
                                                keys[i].key);
        return len > 0;
}

bool reload_ends_sessions(const Device *a, const Device *b)
{
        if (!same_word(a->certificate_name, b->certificate_name) ||
            a->spki_pinned != b->spki_pinned ||
            memcmp(a->spki_sha256, b->spki_sha256, sizeof(a->spki_sha256)) != 0 ||
            !streq(a->zone->interface, b->zone->interface) || a->n_addresses != b->n_addresses ||
            a->has_hardware_address != b->has_hardware_address ||
            memcmp(a->hardware_address, b->hardware_address, sizeof(a->hardware_address)) != 0)
                return true;
        for (size_t i = 0; i < a->n_addresses; i++)
                if (!device_address_equal(&a->addresses[i], &b->addresses[i]))
                        return true;
        return false;
}

bool reload_changes_rules(const Device *a, const Device *b)
{
        const ClassLimits *x = &a->class->limits, *y = &b->class->limits;
        return x->sessions != y->sessions || x->subscriptions != y->subscriptions ||
               x->retained_bytes != y->retained_bytes || x->queue_bytes != y->queue_bytes ||
               !policy_same_grants(a, b);
}
