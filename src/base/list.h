/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Intrusive doubly linked list, embedded in its elements. The head is a node too. */

#include "base/util.h"

typedef struct List {
        struct List *prev, *next;
} List;

#define LIST_INIT(name)                                                                            \
        {                                                                                          \
                &(name), &(name)                                                                   \
        }

static inline void list_init(List *l)
{
        l->prev = l->next = l;
}
/* True for an empty head and for a node that is in no list (initialised or removed). */
static inline bool list_empty(const List *l)
{
        return l->next == l || !l->next;
}
static inline void list_insert_before(List *where, List *node)
{
        node->prev = where->prev;
        node->next = where;
        where->prev->next = node;
        where->prev = node;
}
static inline void list_append(List *head, List *node)
{
        list_insert_before(head, node);
}
static inline void list_prepend(List *head, List *node)
{
        list_insert_before(head->next, node);
}
/* Removing a node that is in no list is harmless. */
static inline void list_remove(List *node)
{
        if (!node->next)
                return;
        node->prev->next = node->next;
        node->next->prev = node->prev;
        list_init(node);
}
/* Moves all of `from` to the end of `head`. */
static inline void list_splice(List *head, List *from)
{
        if (list_empty(from))
                return;
        head->prev->next = from->next;
        from->next->prev = head->prev;
        from->prev->next = head;
        head->prev = from->prev;
        list_init(from);
}
static inline List *list_first(const List *head)
{
        return list_empty(head) ? NULL : head->next;
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)
/* `i` is the List node; do not remove nodes inside, or use the SAFE form. */
#define LIST_FOREACH(i, head) for (List *i = (head)->next; i != (head); i = i->next)
#define LIST_FOREACH_SAFE(i, head)                                                                 \
        for (List *i = (head)->next, *_n_##i = i->next; i != (head); i = _n_##i, _n_##i = i->next)
