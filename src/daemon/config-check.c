/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From what was read to Settings: what follows from other keys, and what must fit together. */
#include <errno.h>
#include <limits.h>

#include "base/hashmap.h"
#include "base/str.h"
#include "daemon/config-load.h"
#include "domain/mqtt-server.h"
#include "platform/store.h"

static void missing(Config *c, const ConfigObject *o, const char *key, const char *why)
{
        config_error(c, o->origin, o, key, "not set%s", why);
}

static void set_default(Config *c, char **field, const char *value)
{
        if (*field)
                return;
        *field = strdup(value);
        if (!*field)
                c->no_memory = true;
}

static void host_name(char ret[static HOST_NAME_MAX + 1])
{
        if (gethostname(ret, HOST_NAME_MAX) < 0)
                ret[0] = '\0';
        ret[HOST_NAME_MAX] = '\0';
        ret[strcspn(ret, ".")] = '\0';
}

/* The host's name for a key that is not set. It may be empty, which would mean the default. */
static void set_host_name(Config *c, const ConfigObject *o, const char *key)
{
        char host[HOST_NAME_MAX + 1];
        host_name(host);
        if (!*host || config_assign(o, config_find_key(o->section, key), host) < 0)
                config_error(c, o->origin, o, key,
                             "not set, and the host name \"%s\" cannot stand in its place", host);
}

static void finish_names(Config *c)
{
        if (!c->settings->name)
                set_host_name(c, &c->gateway[SECTION_GATEWAY], "Name");
        if (c->settings->names.n == 0)
                set_host_name(c, &c->gateway[SECTION_IDENTITY], "Names");
}

static void finish_upstream(Config *c)
{
        Settings *s = c->settings;
        const ConfigObject *o = &c->gateway[SECTION_UPSTREAM];
        if (!s->upstream.host)
                return;
        if (!s->upstream.ca)
                missing(c, o, "CA", ", but Address= is: name the PEM file with the upstream's CA");
        set_default(c, &s->upstream.server_name, s->upstream.host);
        set_default(c, &s->upstream.client_id, strempty(s->name));
}

static void finish_enrollment(Config *c)
{
        const Settings *s = c->settings;
        const ConfigObject *o = &c->gateway[SECTION_ENROLLMENT];
        if (s->enrollment.server && !s->enrollment.ca)
                missing(c, o, "CA", ", but Server= is: name the PEM file with the EST server's CA");
}

static void finish_crl(Config *c)
{
        const Settings *s = c->settings;
        if (s->crl.url && startswith(s->crl.url, "https://") && !s->crl.ca)
                missing(c, &c->gateway[SECTION_DEVICES], "CRLURLCA",
                        ", but CRLURL= is https: name the PEM file with the CA of its server");
}

/* A packet that could never be stored would be sent again and again, or end the daemon. */
static void finish_store(Config *c)
{
        const Settings *s = c->settings;
        const ConfigObject *mqtt = &c->gateway[SECTION_MQTT];
        uint64_t room = store_record_max(s->store_maximum_size);
        if (s->mqtt.maximum_packet_size + MQTT_VALUE_EXTRA > room)
                config_error(c, config_origin(mqtt, "MaximumPacketSize"), mqtt, "MaximumPacketSize",
                             "too large for the store: with its MaximumSize= a message may have "
                             "%llu bytes",
                             (unsigned long long)(room - MQTT_VALUE_EXTRA));
}

static void finish_gateway(Config *c)
{
        Settings *s = c->settings;
        finish_names(c);
        finish_upstream(c);
        finish_enrollment(c);
        finish_crl(c);
        finish_store(c);
        const ConfigObject *mqtt = &c->gateway[SECTION_MQTT];
        if (s->mqtt.listen.n == 0 && s->coap.listen.n == 0)
                config_error(c, config_origin(mqtt, "Listen"), mqtt, "Listen",
                             "empty here and in [CoAP]: no device could connect");
}

static bool is_uplink(const Settings *s, const char *interface)
{
        for (size_t i = 0; i < s->egress_uplink.n; i++)
                if (streq(s->egress_uplink.words[i], interface))
                        return true;
        return false;
}

/* `o` alone has what `key` names: otherwise says who has it too. The key's bytes live in `o`. */
static void claim(Config *c, Hashmap *m, Bytes value, ConfigObject *o, const char *key)
{
        int r = hashmap_put(m, value, o);
        if (r == -ENOMEM)
                c->no_memory = true;
        if (r != -EEXIST)
                return;
        const ConfigObject *other = hashmap_get(m, value);
        config_error(c, config_origin(o, key), o, key, "the same as that of %s in %s:%u",
                     other->name, config_origin(other, key).file, config_origin(other, key).line);
}

static void finish_zone(Config *c, ConfigObject *o, Hashmap *interfaces)
{
        const char *interface = o->zone.interface;
        if (!interface) {
                missing(c, o, "Interface", "");
                return;
        }
        claim(c, interfaces, bytes_from_str(interface), o, "Interface");
        if (is_uplink(c->settings, interface))
                config_error(c, config_origin(o, "Interface"), o, "Interface",
                             "%s is an uplink in [Egress] as well", interface);
}

static void set_bursts(QuotaLimits *l)
{
        l->messages_burst = QUOTA_MESSAGES_BURST_SECONDS * l->messages_per_second;
        l->bytes_burst = QUOTA_BYTES_BURST_SECONDS * l->bytes_per_second;
}

static void finish_class(Config *c, ConfigObject *o)
{
        static const unsigned judged = 1U << POSTURE_AFFIRMING | 1U << POSTURE_WARNING;
        Class *class = &o->class;
        bool none = class->attestation == ATTESTATION_NONE;
        set_bursts(&class->limits.rate);
        if (!config_is_set(o, "Telemetry"))
                class->telemetry = none ? judged | 1U << POSTURE_UNATTESTED : judged;
        static const char *const keys[] = { "Egress", "EgressWarning" };
        static const Posture postures[] = { POSTURE_AFFIRMING, POSTURE_WARNING };
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (none && class->egress[postures[i]].n_rules > 0)
                        config_error(c, config_origin(o, keys[i]), o, keys[i],
                                     "never holds with Attestation=none, EgressUnattested= would");
}

static int by_name(const void *a, const void *b)
{
        const ConfigObject *x = *(ConfigObject *const *)a, *y = *(ConfigObject *const *)b;
        return strcmp(x->name, y->name);
}

/* Moves the zones and classes, in order of name. */
static void finish_named(Config *c)
{
        Settings *s = c->settings;
        _cleanup_(hashmap_freep) Hashmap *interfaces = hashmap_new();
        s->zones = calloc(c->n_named + 1, sizeof *s->zones);
        s->classes = calloc(c->n_named + 1, sizeof *s->classes);
        if (!interfaces || !s->zones || !s->classes) {
                c->no_memory = true;
                return;
        }
        if (c->n_named > 0)
                qsort(c->named, c->n_named, sizeof *c->named, by_name);
        for (size_t i = 0; i < c->n_named; i++)
                if (c->named[i]->section == &config_sections[SECTION_ZONE])
                        finish_zone(c, c->named[i], interfaces);
                else
                        finish_class(c, c->named[i]);
        for (size_t i = 0; i < c->n_named; i++) {
                ConfigObject *o = c->named[i];
                if (o->section == &config_sections[SECTION_ZONE]) {
                        s->zones[s->n_zones++] = o->zone;
                        o->zone = (Zone){ 0 };
                } else {
                        s->classes[s->n_classes++] = o->class;
                        o->class = (Class){ 0 };
                }
        }
}

/* What no two devices may have in common. */
typedef struct Unique {
        Hashmap *certificate_names, *pins, *macs, *addresses, *instance_ids, *keys;
} Unique;

static void unique_done(Unique *u)
{
        Hashmap *maps[] = { u->certificate_names, u->pins,         u->macs,
                            u->addresses,         u->instance_ids, u->keys };
        for (size_t i = 0; i < ELEMENTSOF(maps); i++)
                hashmap_free(maps[i]);
}

static void check_unique(Config *c, Unique *u, ConfigObject *o)
{
        const Device *d = &o->device.device;
        if (d->certificate_name)
                claim(c, u->certificate_names, bytes_from_str(d->certificate_name), o,
                      "CertificateName");
        if (d->spki_pinned)
                claim(c, u->pins, BYTES(d->spki_sha256, sizeof d->spki_sha256), o,
                      "CertificateSPKI");
        if (d->has_hardware_address)
                claim(c, u->macs, BYTES(d->hardware_address, sizeof d->hardware_address), o,
                      "HardwareAddress");
        for (size_t i = 0; i < d->n_addresses; i++)
                claim(c, u->addresses, BYTES(&d->addresses[i], sizeof d->addresses[i]), o,
                      "Address");
        if (d->has_instance_id)
                claim(c, u->instance_ids, BYTES(d->instance_id, sizeof d->instance_id), o,
                      "InstanceID");
        if (d->attestation_key)
                claim(c, u->keys, BYTES(d->attestation_key_sha256, 32), o, "AttestationKey");
}

static void load_key(Config *c, ConfigObject *o)
{
        const char *path = o->device.attestation_key;
        Device *d = &o->device.device;
        if (!path)
                return;
        int r = c->loader->load(path, &d->attestation_key, d->attestation_key_sha256,
                                c->loader->userdata);
        if (r < 0)
                config_error(
                        c, config_origin(o, "AttestationKey"), o, "AttestationKey", "%s: %s", path,
                        r == -EBADMSG ? "holds no key of P-256, P-384 or P-521" : strerror(-r));
}

static void look_up(Config *c, ConfigObject *o)
{
        ConfigDevice *d = &o->device;
        if (!d->zone)
                missing(c, o, "Zone", "");
        else if (!(d->device.zone = settings_zone(c->settings, d->zone)))
                config_error(c, config_origin(o, "Zone"), o, "Zone", "there is no [Zone %s]",
                             d->zone);
        if (!d->class)
                missing(c, o, "Class", "");
        else if (!(d->device.class = settings_class(c->settings, d->class)))
                config_error(c, config_origin(o, "Class"), o, "Class", "there is no [Class %s]",
                             d->class);
}

static void finish_device(Config *c, ConfigObject *o, Unique *u)
{
        Device *d = &o->device.device;
        look_up(c, o);
        load_key(c, o);
        if (!d->certificate_name && !d->spki_pinned)
                missing(c, o, "CertificateName", ", and neither is CertificateSPKI=");
        /* A CoRIM may bring the key for an Instance ID. */
        if (d->has_instance_id && !o->device.attestation_key &&
            c->settings->reference_values.n == 0)
                missing(c, o, "AttestationKey", ", but InstanceID= is");
        if (o->device.attestation_key && !d->has_instance_id)
                missing(c, o, "InstanceID", ", but AttestationKey= is");
        check_unique(c, u, o);
        set_default(c, &d->origin, o->origin.file);
}

static void move_devices(Config *c)
{
        Settings *s = c->settings;
        s->devices = calloc(c->n_devices + 1, sizeof *s->devices);
        if (!s->devices) {
                c->no_memory = true;
                return;
        }
        for (size_t i = 0; i < c->n_devices; i++) {
                ConfigDevice *d = &c->devices[i]->device;
                s->devices[s->n_devices++] = d->device;
                d->device = (Device){ 0 };
        }
}

static void finish_devices(Config *c)
{
        _cleanup_(unique_done) Unique u = { hashmap_new(), hashmap_new(), hashmap_new(),
                                            hashmap_new(), hashmap_new(), hashmap_new() };
        if (!u.certificate_names || !u.pins || !u.macs || !u.addresses || !u.instance_ids ||
            !u.keys) {
                c->no_memory = true;
                return;
        }
        /* "a.conf" and "a-b.conf" do not sort like "a" and "a-b". */
        if (c->n_devices > 0)
                qsort(c->devices, c->n_devices, sizeof *c->devices, by_name);
        for (size_t i = 0; i < c->n_devices; i++)
                finish_device(c, c->devices[i], &u);
        move_devices(c);
}

void config_finish(Config *c)
{
        finish_gateway(c);
        finish_named(c);
        if (!c->no_memory)
                finish_devices(c);
}
