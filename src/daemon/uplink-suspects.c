/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/uplink-suspects.h"

#include <string.h>

#include "base/str.h"

typedef struct Suspect {
        List link;
        uint64_t id;
        unsigned strikes; /* that count */
        bool proven;      /* another record was taken since the last strike, or there was none */
        bool in_vain;     /* the last strike did not count */
        usec_t wait, until;
        char device[];
} Suspect;

void suspects_init(Suspects *s, usec_t first_wait)
{
        *s = (Suspects){ .first_wait = first_wait };
        list_init(&s->entries);
}

static void suspect_free(Suspects *s, Suspect *e)
{
        list_remove(&e->link);
        free(e);
        s->n--;
}

void suspects_done(Suspects *s)
{
        for (List *i; s->entries.next && (i = list_first(&s->entries));)
                suspect_free(s, LIST_ENTRY(i, Suspect, link));
}

static Suspect *find(const Suspects *s, uint64_t id)
{
        LIST_FOREACH (i, &s->entries) {
                Suspect *e = LIST_ENTRY(i, Suspect, link);
                if (e->id == id)
                        return e;
        }
        return NULL;
}

bool suspects_has(const Suspects *s, uint64_t id)
{
        return find(s, id);
}

static size_t count_of_device(const Suspects *s, const char *device)
{
        size_t n = 0;
        LIST_FOREACH (i, &s->entries)
                n += streq(LIST_ENTRY(i, Suspect, link)->device, device);
        return n;
}

static Suspect *suspect_new(Suspects *s, uint64_t id, const char *device)
{
        size_t len = strlen(device) + 1;
        if (s->n >= SUSPECTS_MAX || count_of_device(s, device) >= SUSPECTS_PER_DEVICE)
                return NULL;
        Suspect *e = calloc(1, sizeof(*e) + len);
        if (!e)
                return NULL;
        e->id = id;
        e->proven = true;
        memcpy(e->device, device, len);
        list_append(&s->entries, &e->link);
        s->n++;
        return e;
}

SuspectVerdict suspects_strike(Suspects *s, uint64_t id, const char *device, bool by_broker,
                               usec_t now)
{
        Suspect *e = find(s, id);
        /* A network that fails with one record on its way is nothing unusual. */
        bool again = !e && !by_broker;
        if (!e)
                e = suspect_new(s, id, device);
        if (!e)
                return SUSPECT_NO_ROOM;
        e->in_vain = !(by_broker && e->proven);
        e->strikes += !e->in_vain;
        e->proven = false;
        if (e->strikes >= SUSPECT_STRIKES) {
                suspect_free(s, e);
                return SUSPECT_GUILTY;
        }
        if (!again)
                e->wait = MIN(MAX(e->wait * 4, s->first_wait), SUSPECT_WAIT_MAX);
        e->until = usec_add(now, e->wait);
        return again ? SUSPECT_AGAIN : SUSPECT_ASIDE;
}

static void try_soon(Suspect *e, usec_t now)
{
        e->wait = 0;
        e->until = MIN(e->until, now);
        e->in_vain = false;
}

void suspects_taken(Suspects *s, uint64_t id, usec_t now)
{
        if (s->n == 0)
                return;
        Suspect *taken = find(s, id);
        bool acquitted = taken && taken->strikes > 0;
        if (taken)
                suspect_free(s, taken);
        LIST_FOREACH (i, &s->entries) {
                Suspect *e = LIST_ENTRY(i, Suspect, link);
                e->proven = true;
                if (acquitted)
                        e->strikes = 0;
                /* Waits that grew while nothing worked say nothing of the record. */
                if (acquitted || e->in_vain)
                        try_soon(e, now);
        }
}

void suspects_forget(Suspects *s, uint64_t id)
{
        Suspect *e = find(s, id);
        if (e)
                suspect_free(s, e);
}

static const Suspect *earliest(const Suspects *s)
{
        const Suspect *first = NULL;
        LIST_FOREACH (i, &s->entries) {
                const Suspect *e = LIST_ENTRY(i, Suspect, link);
                if (!first || e->until < first->until)
                        first = e;
        }
        return first;
}

uint64_t suspects_due(const Suspects *s, usec_t now)
{
        const Suspect *e = earliest(s);
        return e && e->until <= now ? e->id : 0;
}

usec_t suspects_next(const Suspects *s)
{
        const Suspect *e = earliest(s);
        return e ? e->until : USEC_INFINITY;
}
