/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/settings.h"

static void words_free(Words *w)
{
        for (size_t i = 0; i < w->n; i++)
                free(w->words[i]);
        free(w->words);
}

static void zone_free(Zone *z)
{
        free(z->name);
        free(z->interface);
}

static void class_free(Class *c)
{
        free(c->name);
        words_free(&c->publish);
        words_free(&c->subscribe);
        words_free(&c->client_ids);
        for (int p = 0; p < _POSTURE_MAX; p++)
                free(c->egress[p].rules);
}

static void device_free(const Settings *s, Device *d)
{
        free(d->name);
        free(d->certificate_name);
        free(d->origin);
        if (d->attestation_key)
                s->key_free(d->attestation_key);
}

Settings *settings_free(Settings *s)
{
        if (!s)
                return NULL;
        for (size_t i = 0; i < s->n_zones; i++)
                zone_free(&s->zones[i]);
        for (size_t i = 0; i < s->n_classes; i++)
                class_free(&s->classes[i]);
        for (size_t i = 0; i < s->n_devices; i++)
                device_free(s, &s->devices[i]);
        free(s->zones);
        free(s->classes);
        free(s->devices);
        char *strings[] = {
                s->name,
                s->state_directory,
                s->tcti,
                s->devices_ca,
                s->upstream.host,
                s->upstream.server_name,
                s->upstream.ca,
                s->upstream.client_id,
                s->upstream.topic_prefix,
                s->enrollment.server,
                s->enrollment.ca,
                s->enrollment.label,
                s->enrollment.user_file,
                s->crl.url,
                s->crl.ca,
        };
        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                free(strings[i]);
        words_free(&s->names);
        words_free(&s->devices_crl);
        words_free(&s->reference_values);
        words_free(&s->egress_uplink);
        free(s->mqtt.listen.addresses);
        free(s->coap.listen.addresses);
        free(s);
        return NULL;
}

/* The name stands first in all three. */
static int compare_name(const void *key, const void *element)
{
        return strcmp(key, *(char *const *)element);
}

_Static_assert(offsetof(Zone, name) == 0 && offsetof(Class, name) == 0 &&
                       offsetof(Device, name) == 0,
               "compare_name() reads it there");

static const void *find(const char *name, const void *items, size_t n, size_t size)
{
        return n > 0 ? bsearch(name, items, n, size, compare_name) : NULL;
}

const Zone *settings_zone(const Settings *s, const char *name)
{
        return find(name, s->zones, s->n_zones, sizeof *s->zones);
}

const Class *settings_class(const Settings *s, const char *name)
{
        return find(name, s->classes, s->n_classes, sizeof *s->classes);
}

const Device *settings_device(const Settings *s, const char *name)
{
        return find(name, s->devices, s->n_devices, sizeof *s->devices);
}
