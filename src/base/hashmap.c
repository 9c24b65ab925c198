/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/hashmap.h"

#include <errno.h>
#include <sys/random.h>

#include "base/siphash.h"

/* Open addressing with linear probing. A removed entry leaves a tombstone, so that a removal
 * moves nothing and iteration may go on; tombstones go when the table is rebuilt. */

#define SLOTS_MIN 8

typedef struct Slot {
        uint64_t hash;
        Bytes key;
        void *value; /* NULL: never used; TOMBSTONE: removed */
} Slot;

static char tombstone;
#define TOMBSTONE ((void *)&tombstone)

struct Hashmap {
        Slot *slots;
        size_t n_slots; /* a power of two, or 0 */
        size_t n_live;
        size_t n_used; /* live and tombstones */
        uint8_t hash_key[SIPHASH_KEY_SIZE];
};

Hashmap *hashmap_new(void)
{
        Hashmap *m = calloc(1, sizeof *m);
        if (!m)
                return NULL;
        /* 16 bytes come whole or not at all. Without a random key there is no map. */
        if (getrandom(m->hash_key, sizeof m->hash_key, 0) != (ssize_t)sizeof m->hash_key)
                return hashmap_free(m);
        return m;
}

Hashmap *hashmap_free(Hashmap *m)
{
        if (!m)
                return NULL;
        free(m->slots);
        free(m);
        return NULL;
}

static bool slot_live(const Slot *s)
{
        return s->value && s->value != TOMBSTONE;
}

static Slot *find(const Hashmap *m, Bytes key, uint64_t hash)
{
        if (m->n_slots == 0)
                return NULL;
        size_t mask = m->n_slots - 1;
        for (size_t i = hash & mask; m->slots[i].value; i = (i + 1) & mask) {
                Slot *s = &m->slots[i];
                if (slot_live(s) && s->hash == hash && bytes_equal(s->key, key))
                        return s;
        }
        return NULL;
}

/* There is a free slot, and `add`'s key is not there. */
static void insert(Hashmap *m, Slot add)
{
        size_t mask = m->n_slots - 1, i = add.hash & mask;
        while (slot_live(&m->slots[i]))
                i = (i + 1) & mask;
        if (!m->slots[i].value)
                m->n_used++;
        m->slots[i] = add;
        m->n_live++;
}

/* Keeps at least a quarter of the slots unused, so that every probe ends soon. */
static int make_room(Hashmap *m)
{
        if (m->n_used + 1 <= m->n_slots - m->n_slots / 4 && m->n_slots > 0)
                return 0;
        size_t n = SLOTS_MIN;
        while (n / 2 < m->n_live + 1)
                n *= 2;
        Slot *slots = calloc(n, sizeof *slots);
        if (!slots)
                return -ENOMEM;

        Hashmap old = *m;
        m->slots = slots;
        m->n_slots = n;
        m->n_live = m->n_used = 0;
        for (size_t i = 0; i < old.n_slots; i++)
                if (slot_live(&old.slots[i]))
                        insert(m, old.slots[i]);
        free(old.slots);
        return 0;
}

int hashmap_put(Hashmap *m, Bytes key, void *value)
{
        if (!value)
                return -EINVAL;
        uint64_t hash = siphash24(key, m->hash_key);
        if (find(m, key, hash))
                return -EEXIST;
        int r = make_room(m);
        if (r < 0)
                return r;
        insert(m, (Slot){ hash, key, value });
        return 0;
}

void *hashmap_get(const Hashmap *m, Bytes key)
{
        const Slot *s = find(m, key, siphash24(key, m->hash_key));
        return s ? s->value : NULL;
}

void *hashmap_remove(Hashmap *m, Bytes key)
{
        Slot *s = find(m, key, siphash24(key, m->hash_key));
        if (!s)
                return NULL;
        void *value = s->value;
        *s = (Slot){ .value = TOMBSTONE };
        m->n_live--;
        return value;
}

size_t hashmap_size(const Hashmap *m)
{
        return m->n_live;
}

bool hashmap_next(const Hashmap *m, HashmapIterator *i)
{
        while (i->slot < m->n_slots) {
                const Slot *s = &m->slots[i->slot++];
                if (!slot_live(s))
                        continue;
                i->key = s->key;
                i->value = s->value;
                return true;
        }
        return false;
}
