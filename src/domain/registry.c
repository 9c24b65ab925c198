/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/registry.h"

#include <errno.h>
#include <stdio.h>

#include "base/list.h"
#include "base/str.h"

/* Of the log, for one device: it may connect every few seconds, not more often. */
#define LINES_PER_MINUTE 30

typedef struct Entry {
        DeviceState state;
        List changed;      /* in Registry.changed while the port has to hear of it */
        Posture old;       /* with that: the effective posture it heard of last */
        bool in_new_table; /* while a configuration is taken over */
} Entry;

/* Everything that follows from one list of devices; it is replaced as a whole. */
typedef struct Table {
        Entry **entries; /* in order of name; while prepared, in that of `devices` */
        size_t n;
        const Device *devices;
        Hashmap *by_name, *by_certificate_name, *by_pin;
} Table;

struct Registry {
        Table table;
        Table next; /* prepared */
        bool prepared;
        RegistryPort port;
        List changed;
        bool in_port;
};

static Bytes pin_of(const Device *d)
{
        return BYTES(d->spki_sha256, sizeof d->spki_sha256);
}

static void table_done(Table *t)
{
        hashmap_free(t->by_name);
        hashmap_free(t->by_certificate_name);
        hashmap_free(t->by_pin);
        free(t->entries);
        *t = (Table){ 0 };
}

static int table_init(Table *t, size_t n)
{
        *t = (Table){
                .entries = calloc(MAX(n, (size_t)1), sizeof(Entry *)),
                .by_name = hashmap_new(),
                .by_certificate_name = hashmap_new(),
                .by_pin = hashmap_new(),
        };
        if (t->entries && t->by_name && t->by_certificate_name && t->by_pin)
                return 0;
        table_done(t);
        return -ENOMEM;
}

/* The keys live in `d`, the new configuration. */
static int table_add(Table *t, const Device *d, Entry *e)
{
        int r = hashmap_put(t->by_name, bytes_from_str(d->name), e);
        if (r == 0 && d->certificate_name)
                r = hashmap_put(t->by_certificate_name, bytes_from_str(d->certificate_name), e);
        if (r == 0 && d->spki_pinned)
                r = hashmap_put(t->by_pin, pin_of(d), e);
        if (r == 0)
                t->entries[t->n++] = e;
        return r;
}

static void state_init(DeviceState *state, const Device *d, usec_t now)
{
        *state = (DeviceState){
                .device = d,
                .since = now,
                .expires = USEC_INFINITY,
                .reason = "never attested",
        };
        quota_init(&state->quota, &d->class->limits.rate);
        state->lines = RATELIMIT_INIT(USEC_PER_MIN, LINES_PER_MINUTE);
}

static Entry *entry_new(const Device *d, usec_t now)
{
        Entry *e = calloc(1, sizeof *e);
        if (!e)
                return NULL;
        list_init(&e->changed);
        state_init(&e->state, d, now);
        return e;
}

static void entry_free(Entry *e)
{
        list_remove(&e->changed);
        free(e);
}

int registry_new(const RegistryPort *port, Registry **ret)
{
        _cleanup_(registry_freep) Registry *r = calloc(1, sizeof *r);
        if (!r)
                return -ENOMEM;
        list_init(&r->changed);
        if (table_init(&r->table, 0) < 0)
                return -ENOMEM;
        r->port = *port;
        *ret = TAKE_PTR(r);
        return 0;
}

Registry *registry_free(Registry *r)
{
        if (!r)
                return NULL;
        registry_cancel(r);
        for (size_t i = 0; i < r->table.n; i++)
                entry_free(r->table.entries[i]);
        table_done(&r->table);
        free(r);
        return NULL;
}

/* Tells the port of all that changed, one after the other. */
static void tell(Registry *r)
{
        if (r->in_port)
                return;
        r->in_port = true;
        for (List *node; (node = list_first(&r->changed));) {
                Entry *e = LIST_ENTRY(node, Entry, changed);
                list_remove(node);
                if (r->port.posture_changed)
                        r->port.posture_changed(&e->state, e->old, r->port.userdata);
        }
        r->in_port = false;
}

/* To be called before the change. */
static void note_change(Registry *r, DeviceState *d)
{
        Entry *e = CONTAINER_OF(d, Entry, state);
        if (!list_empty(&e->changed))
                return;
        e->old = device_state_effective(d);
        list_append(&r->changed, &e->changed);
}

/* Cut at a whole character: the reason goes where invalid UTF-8 is refused. */
static void set_text(char dst[static REASON_MAX], const char *text)
{
        size_t len = strlen(text);
        if (len >= REASON_MAX) {
                len = REASON_MAX - 1;
                while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
                        len--;
        }
        memmove(dst, text, len);
        dst[len] = '\0';
}

static void change_posture(Registry *r, DeviceState *d, Posture p, const char *reason,
                           usec_t expires, usec_t now)
{
        note_change(r, d);
        if (p != d->posture)
                d->since = now;
        d->posture = p;
        d->expires = expires;
        set_text(d->reason, reason);
}

static bool same_word(const char *a, const char *b)
{
        return streq(strempty(a), strempty(b));
}

static bool same_certificate(const Device *a, const Device *b)
{
        return same_word(a->certificate_name, b->certificate_name) &&
               a->spki_pinned == b->spki_pinned &&
               memcmp(a->spki_sha256, b->spki_sha256, sizeof a->spki_sha256) == 0;
}

static bool same_instance(const Device *a, const Device *b)
{
        return a->has_instance_id == b->has_instance_id &&
               memcmp(a->instance_id, b->instance_id, sizeof a->instance_id) == 0;
}

static bool same_key(const Device *a, const Device *b)
{
        return !a->attestation_key == !b->attestation_key &&
               memcmp(a->attestation_key_sha256, b->attestation_key_sha256,
                      sizeof a->attestation_key_sha256) == 0;
}

const char *registry_enrolled_anew(const Device *before, const Device *now)
{
        if (!streq(before->class->name, now->class->name))
                return "enrolled anew: its class changed";
        if (before->class->attestation != now->class->attestation)
                return "enrolled anew: its class attests in another way";
        if (!same_certificate(before, now))
                return "enrolled anew: its certificate is another";
        if (!same_instance(before, now))
                return "enrolled anew: its Instance ID is another";
        if (!same_key(before, now))
                return "enrolled anew: its attestation key is another";
        if (before->n_psa_client_ids != now->n_psa_client_ids ||
            memcmp(before->psa_client_ids, now->psa_client_ids, sizeof before->psa_client_ids) != 0)
                return "enrolled anew: its PSA client ids are others";
        return NULL;
}

/* A posture was earned by one identity under one class: it is no one else's. NULL: it stays. */
static const char *loses_posture(const DeviceState *state, const Device *d)
{
        if (state->device == d || state->posture == POSTURE_UNATTESTED)
                return NULL;
        return registry_enrolled_anew(state->device, d);
}

static void take_device(Registry *r, Entry *e, const Device *d, usec_t now)
{
        const char *why = loses_posture(&e->state, d);
        e->state.device = d;
        quota_set_limits(&e->state.quota, &d->class->limits.rate);
        if (why)
                change_posture(r, &e->state, POSTURE_UNATTESTED, why, USEC_INFINITY, now);
}

void registry_foresee(const Registry *r, const Device *d, usec_t now, DeviceState *ret)
{
        const DeviceState *present = registry_get(r, d->name);
        if (!present) {
                state_init(ret, d, now);
                return;
        }
        *ret = *present;
        ret->device = d;
        const char *why = loses_posture(present, d);
        if (!why)
                return;
        ret->posture = POSTURE_UNATTESTED;
        ret->expires = USEC_INFINITY;
        ret->since = now;
        set_text(ret->reason, why);
}

static int by_name(const void *a, const void *b)
{
        const Entry *x = *(Entry *const *)a, *y = *(Entry *const *)b;
        return strcmp(x->state.device->name, y->state.device->name);
}

/* Undoes build_table(). */
static void drop_table(const Registry *r, Table *t)
{
        for (size_t i = 0; i < t->n; i++)
                if (!t->entries[i]->in_new_table)
                        entry_free(t->entries[i]);
        for (size_t i = 0; i < r->table.n; i++)
                r->table.entries[i]->in_new_table = false;
        table_done(t);
}

/* Entries that exist are marked, entries that do not are made; nothing else changes. */
static int build_table(Registry *r, const Device *devices, size_t n, usec_t now, Table *t)
{
        for (size_t i = 0; i < n; i++) {
                const Device *d = &devices[i];
                Entry *e = hashmap_get(r->table.by_name, bytes_from_str(d->name));
                Entry *fresh = e ? NULL : entry_new(d, now);
                if (!e && !fresh)
                        return -ENOMEM;
                int error = table_add(t, d, e ? e : fresh);
                if (error < 0) {
                        free(fresh);
                        return error;
                }
                if (e)
                        e->in_new_table = true;
        }
        return 0;
}

int registry_prepare(Registry *r, const Device *devices, size_t n, usec_t now)
{
        Table t;
        registry_cancel(r);
        if (table_init(&t, n) < 0)
                return -ENOMEM;
        t.devices = devices;
        int error = build_table(r, devices, n, now, &t);
        if (error < 0) {
                drop_table(r, &t);
                return error;
        }
        r->next = t;
        r->prepared = true;
        return 0;
}

void registry_cancel(Registry *r)
{
        if (!r->prepared)
                return;
        drop_table(r, &r->next);
        r->prepared = false;
}

void registry_commit(Registry *r, usec_t now, void (*removed)(DeviceState *d, void *userdata),
                     void *userdata)
{
        if (!r->prepared)
                return;
        Table old = r->table, t = r->next;
        r->table = t;
        r->next = (Table){ 0 };
        r->prepared = false;
        for (size_t i = 0; i < t.n; i++)
                take_device(r, t.entries[i], &t.devices[i], now);
        if (t.n > 0)
                qsort(t.entries, t.n, sizeof(Entry *), by_name);
        for (size_t i = 0; i < old.n; i++) {
                Entry *e = old.entries[i];
                if (!e->in_new_table) {
                        if (removed)
                                removed(&e->state, userdata);
                        entry_free(e);
                }
        }
        for (size_t i = 0; i < t.n; i++)
                t.entries[i]->in_new_table = false;
        table_done(&old);
        tell(r);
}

int registry_apply(Registry *r, const Device *devices, size_t n, usec_t now,
                   void (*removed)(DeviceState *d, void *userdata), void *userdata)
{
        int error = registry_prepare(r, devices, n, now);
        if (error == 0)
                registry_commit(r, now, removed, userdata);
        return error;
}

DeviceState *registry_get(const Registry *r, const char *name)
{
        Entry *e = hashmap_get(r->table.by_name, bytes_from_str(name));
        return e ? &e->state : NULL;
}

size_t registry_size(const Registry *r)
{
        return r->table.n;
}

DeviceState *registry_at(const Registry *r, size_t i)
{
        return &r->table.entries[i]->state;
}

const char *identify_outcome_to_string(IdentifyOutcome o)
{
        switch (o) {
        case IDENTIFY_OK:
                return "ok";
        case IDENTIFY_UNKNOWN:
                return "unknown-device";
        case IDENTIFY_AMBIGUOUS:
                return "ambiguous-names";
        case IDENTIFY_PIN_MISMATCH:
                return "pin-mismatch";
        case IDENTIFY_WRONG_PLACE:
                return "wrong-address";
        }
        return "unknown-device";
}

static IdentifyOutcome find_by_names(const Registry *r, const char *const *names, size_t n,
                                     DeviceState **ret)
{
        Entry *found = NULL;
        for (size_t i = 0; i < n; i++) {
                Entry *e = hashmap_get(r->table.by_certificate_name, bytes_from_str(names[i]));
                if (e && found && e != found)
                        return IDENTIFY_AMBIGUOUS;
                found = e ? e : found;
        }
        if (!found)
                return IDENTIFY_UNKNOWN;
        if (found->state.device->spki_pinned)
                return IDENTIFY_PIN_MISMATCH;
        *ret = &found->state;
        return IDENTIFY_OK;
}

static bool at_its_place(const Device *d, const DeviceAddress *from)
{
        for (size_t i = 0; from && i < d->n_addresses; i++)
                if (device_address_equal(&d->addresses[i], from))
                        return true;
        return d->n_addresses == 0;
}

IdentifyOutcome registry_identify(const Registry *r, const char *const *names, size_t n_names,
                                  const uint8_t spki_sha256[static 32], const DeviceAddress *from,
                                  DeviceState **ret)
{
        DeviceState *d;
        Entry *pinned = hashmap_get(r->table.by_pin, BYTES(spki_sha256, 32));
        if (pinned) {
                d = &pinned->state;
        } else {
                IdentifyOutcome o = find_by_names(r, names, n_names, &d);
                if (o != IDENTIFY_OK)
                        return o;
        }
        if (!at_its_place(d->device, from))
                return IDENTIFY_WRONG_PLACE;
        *ret = d;
        return IDENTIFY_OK;
}

void registry_set_posture(Registry *r, DeviceState *d, Posture p, const char *reason,
                          usec_t expires, usec_t now)
{
        char text[REASON_MAX];
        set_text(text, reason);
        if (p == POSTURE_UNATTESTED || p == POSTURE_CONTRAINDICATED)
                expires = USEC_INFINITY;
        if (p == d->posture && expires == d->expires && streq(text, d->reason))
                return;
        change_posture(r, d, p, text, expires, now);
        tell(r);
}

void registry_set_quarantine(Registry *r, DeviceState *d, bool on, const char *reason, usec_t now)
{
        char text[REASON_MAX];
        set_text(text, on ? strempty(reason) : "");
        if (on == d->quarantined && streq(text, d->quarantine_reason))
                return;
        note_change(r, d);
        if (on != d->quarantined)
                d->quarantined_since = on ? now : 0;
        d->quarantined = on;
        set_text(d->quarantine_reason, text);
        tell(r);
}

void registry_set_revoked(Registry *r, DeviceState *d, bool on, const char *reason, usec_t now)
{
        char text[REASON_MAX];
        set_text(text, on ? strempty(reason) : "");
        if (on == d->revoked && streq(text, d->revoked_reason))
                return;
        note_change(r, d);
        if (on != d->revoked)
                d->revoked_since = on ? now : 0;
        d->revoked = on;
        set_text(d->revoked_reason, text);
        if (on)
                change_posture(r, d, POSTURE_UNATTESTED, text, USEC_INFINITY, now);
        tell(r);
}

usec_t registry_expire(Registry *r, usec_t now)
{
        for (size_t i = 0; i < r->table.n; i++) {
                DeviceState *d = &r->table.entries[i]->state;
                if (d->expires <= now && d->expires != USEC_INFINITY)
                        change_posture(r, d, POSTURE_UNATTESTED, "its verdict expired",
                                       USEC_INFINITY, now);
        }
        tell(r);
        /* Looked for afterwards: the port may have set postures. */
        usec_t next = USEC_INFINITY;
        for (size_t i = 0; i < r->table.n; i++)
                next = MIN(next, r->table.entries[i]->state.expires);
        return next;
}

Posture device_state_effective(const DeviceState *d)
{
        return d->quarantined || d->revoked ? POSTURE_CONTRAINDICATED : d->posture;
}
