/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/store-held.h"

#include "base/hashmap.h"

struct StoreHeld {
        List ops;
        Hashmap *by_key;
        size_t cost;
};

StoreHeld *store_held_new(void)
{
        _cleanup_(store_held_freep) StoreHeld *h = calloc(1, sizeof(*h));
        if (!h)
                return NULL;
        list_init(&h->ops);
        h->by_key = hashmap_new();
        return h->by_key ? TAKE_PTR(h) : NULL;
}

StoreHeld *store_held_free(StoreHeld *h)
{
        if (!h)
                return NULL;
        for (List *i; (i = list_first(&h->ops));) {
                list_remove(i);
                store_op_free(LIST_ENTRY(i, StoreOp, link));
        }
        hashmap_free(h->by_key);
        free(h);
        return NULL;
}

void store_held_add(StoreHeld *h, StoreOp *op, List *replaced)
{
        StoreOp *old = hashmap_remove(h->by_key, store_op_key(op));
        if (old) {
                h->cost -= store_op_cost(old);
                list_remove(&old->link);
                list_append(replaced, &old->link);
        }
        list_append(&h->ops, &op->link);
        h->cost += store_op_cost(op);
        /* Without memory it is not found again: a newer one is written after it. */
        (void)hashmap_put(h->by_key, store_op_key(op), op);
}

void store_held_take(StoreHeld *h, List *ret)
{
        LIST_FOREACH (i, &h->ops)
                hashmap_remove(h->by_key, store_op_key(LIST_ENTRY(i, StoreOp, link)));
        list_splice(ret, &h->ops);
        h->cost = 0;
}

List *store_held_ops(StoreHeld *h)
{
        return &h->ops;
}

size_t store_held_cost(const StoreHeld *h)
{
        return h->cost;
}
