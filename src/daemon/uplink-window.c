/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/uplink-window.h"

#include <errno.h>
#include <string.h>

#define HOLD_MIN (5 * USEC_PER_SEC)
#define HOLD_MAX (5 * USEC_PER_MIN)

typedef struct Hold {
        usec_t until; /* USEC_INFINITY: let go, on probation */
        usec_t wait;
        uint64_t lowest;
        char device[];
} Hold;

void window_init(Window *w)
{
        *w = (Window){ 0 };
        list_init(&w->entries);
}

void window_clear(Window *w)
{
        for (List *i; (i = list_first(&w->entries));) {
                list_remove(i);
                free(LIST_ENTRY(i, InFlight, link));
        }
        w->n = 0;
        w->bytes = 0;
        w->highest = 0;
}

static void put(Window *w, InFlight *f)
{
        list_append(&w->entries, &f->link);
        w->n++;
        w->bytes += f->bytes;
        w->highest = MAX(w->highest, f->id);
}

static void take_out(Window *w, InFlight *f)
{
        list_remove(&f->link);
        w->n--;
        w->bytes -= f->bytes;
}

int window_add(Window *w, int mid, uint64_t id, size_t bytes, const char *device)
{
        size_t len = strlen(device) + 1;
        InFlight *f = calloc(1, sizeof(*f) + len);
        if (!f)
                return -ENOMEM;
        f->mid = mid;
        f->id = id;
        f->bytes = bytes;
        memcpy(f->device, device, len);
        put(w, f);
        return 0;
}

/* Brokers acknowledge in order: it is mostly the first. */
InFlight *window_take(Window *w, int mid)
{
        LIST_FOREACH (i, &w->entries) {
                InFlight *f = LIST_ENTRY(i, InFlight, link);
                if (f->mid != mid)
                        continue;
                take_out(w, f);
                return f;
        }
        return NULL;
}

static bool has(const Window *w, uint64_t id)
{
        if (id > w->highest)
                return false;
        LIST_FOREACH (i, &w->entries)
                if (LIST_ENTRY(i, InFlight, link)->id == id)
                        return true;
        return false;
}

void window_move(Window *to, Window *from)
{
        LIST_FOREACH_SAFE (i, &from->entries) {
                InFlight *f = LIST_ENTRY(i, InFlight, link);
                if (has(to, f->id))
                        continue;
                take_out(from, f);
                put(to, f);
        }
        window_clear(from);
}

void window_forget(Window *w, uint64_t id)
{
        LIST_FOREACH (i, &w->entries) {
                InFlight *f = LIST_ENTRY(i, InFlight, link);
                if (f->id != id)
                        continue;
                take_out(w, f);
                free(f);
                return;
        }
}

int holds_init(Holds *h)
{
        h->devices = hashmap_new();
        return h->devices ? 0 : -ENOMEM;
}

void holds_done(Holds *h)
{
        if (!h->devices)
                return;
        HASHMAP_FOREACH (i, h->devices)
                free(i.value);
        h->devices = hashmap_free(h->devices);
}

size_t holds_count(const Holds *h)
{
        return hashmap_size(h->devices);
}

static Hold *hold_new(Holds *h, const char *device)
{
        size_t len = strlen(device) + 1;
        Hold *hold = calloc(1, sizeof(*hold) + len);
        if (!hold)
                return NULL;
        hold->until = USEC_INFINITY;
        hold->lowest = UINT64_MAX;
        memcpy(hold->device, device, len);
        if (hashmap_put(h->devices, bytes_from_str(hold->device), hold) == 0)
                return hold;
        free(hold);
        return NULL;
}

int holds_refuse(Holds *h, const char *device, uint64_t id, usec_t now)
{
        Hold *hold = hashmap_get(h->devices, bytes_from_str(device));
        if (!hold)
                hold = hold_new(h, device);
        if (!hold)
                return -ENOMEM;
        hold->lowest = MIN(hold->lowest, id);
        /* The rest of the same window says nothing new. */
        if (hold->until != USEC_INFINITY)
                return 0;
        hold->wait = MIN(MAX(hold->wait * 2, HOLD_MIN), HOLD_MAX);
        hold->until = usec_add(now, hold->wait);
        return 0;
}

bool holds_blocks(const Holds *h, const char *device)
{
        if (hashmap_size(h->devices) == 0)
                return false;
        const Hold *hold = hashmap_get(h->devices, bytes_from_str(device));
        return hold && hold->until != USEC_INFINITY;
}

/* A record of another kind may have a lower id than the one that was refused. */
bool holds_keep(Holds *h, const char *device, uint64_t id)
{
        if (!holds_blocks(h, device))
                return false;
        Hold *hold = hashmap_get(h->devices, bytes_from_str(device));
        hold->lowest = MIN(hold->lowest, id);
        return true;
}

void holds_accept(Holds *h, const char *device)
{
        if (hashmap_size(h->devices) == 0 || holds_blocks(h, device))
                return;
        free(hashmap_remove(h->devices, bytes_from_str(device)));
}

bool holds_release(Holds *h, usec_t now, uint64_t *ret_lowest)
{
        uint64_t lowest = UINT64_MAX;
        HASHMAP_FOREACH (i, h->devices) {
                Hold *hold = i.value;
                if (hold->until > now)
                        continue;
                lowest = MIN(lowest, hold->lowest);
                hold->until = USEC_INFINITY;
                hold->lowest = UINT64_MAX;
        }
        if (lowest == UINT64_MAX)
                return false;
        *ret_lowest = lowest;
        return true;
}

usec_t holds_next(const Holds *h)
{
        usec_t next = USEC_INFINITY;
        HASHMAP_FOREACH (i, h->devices)
                next = MIN(next, ((const Hold *)i.value)->until);
        return next;
}
