/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Hash map from bytes to pointers, keyed hashing (SipHash-2-4 with a random key for each map),
 * so that a peer cannot choose colliding keys. Keys are borrowed: they live inside the values. */

#include "base/bytes.h"
#include "base/util.h"

typedef struct Hashmap Hashmap;

typedef struct HashmapIterator {
        size_t slot;
        Bytes key;
        void *value;
} HashmapIterator;

/* NULL without memory or without randomness. */
Hashmap *hashmap_new(void);
/* Frees the map, not the values. */
Hashmap *hashmap_free(Hashmap *m);
DEFINE_CLEANUP(Hashmap, hashmap_free)

/* 0, -EEXIST when the key is there (nothing changes), -ENOMEM, -EINVAL for a NULL value. */
int hashmap_put(Hashmap *m, Bytes key, void *value);
void *hashmap_get(const Hashmap *m, Bytes key);
/* The removed value or NULL. */
void *hashmap_remove(Hashmap *m, Bytes key);
size_t hashmap_size(const Hashmap *m);

/* Visits every entry once; removing the current entry (and no other) inside the loop is allowed. */
bool hashmap_next(const Hashmap *m, HashmapIterator *i);
#define HASHMAP_FOREACH(i, m) for (HashmapIterator i = { 0 }; hashmap_next(m, &i);)
