/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Another configuration's devices into the kernel. A thousand devices as a whole table take the
 * kernel tens of milliseconds, and every packet counter begins anew: where the table is as it was
 * left, what differs is enough. */
#include <errno.h>
#include <string.h>

#include "daemon/enforcer-internal.h"

bool enforcer_same_frame(const RulesetFrame *a, const RulesetFrame *b)
{
        return a->n_zones == b->n_zones && a->n_uplinks == b->n_uplinks &&
               a->masquerade == b->masquerade &&
               memcmp(a->zones, b->zones, a->n_zones * sizeof(*a->zones)) == 0 &&
               memcmp(a->uplinks, b->uplinks, a->n_uplinks * sizeof(*a->uplinks)) == 0;
}

static bool same_doors(const RulesetFrame *a, const RulesetFrame *b)
{
        if (a->n_doors != b->n_doors)
                return false;
        for (size_t i = 0; i < a->n_doors; i++)
                if (a->doors[i].protocol != b->doors[i].protocol ||
                    a->doors[i].port != b->doors[i].port)
                        return false;
        return true;
}

/* The kernel counts every change of any table: nobody can have touched ours unseen. */
static bool is_as_it_was_left(Enforcer *e)
{
        uint32_t now;

        for (size_t i = 0; i < e->n_records; i++)
                if (e->records[i].held)
                        return false;
        return e->generation_known && nft_read_generation(e->nft, &now) == 0 &&
               now == e->generation;
}

/* The changes of all devices as one: an address that goes from one to another is removed before it
 * is added. The elements are the plans'. */
typedef struct Sum {
        EgressChange change;
        size_t cap_removed, cap_added;
} Sum;

static int append(const EgressElement ***list, size_t *n, size_t *cap,
                  const EgressElement *const *more, size_t n_more)
{
        if (*n + n_more > *cap) {
                size_t want = MAX(2 * *cap, *n + n_more);
                void *p = reallocarray(*list, want, sizeof(**list));

                if (!p)
                        return -ENOMEM;
                *list = p;
                *cap = want;
        }
        for (size_t i = 0; i < n_more; i++)
                (*list)[(*n)++] = more[i];
        return 0;
}

static int add_difference(Sum *s, const EgressPlan *from, const EgressPlan *to)
{
        _cleanup_egress_change_ EgressChange c = { 0 };
        int r = egress_diff(from, to, &c);

        if (r == 0)
                r = append(&s->change.removed, &s->change.n_removed, &s->cap_removed, c.removed,
                           c.n_removed);
        if (r == 0)
                r = append(&s->change.added, &s->change.n_added, &s->cap_added, c.added, c.n_added);
        return r;
}

static int sum_up(const Enforcer *e, const Record *records, size_t n, const Hashmap *by_name,
                  Sum *s)
{
        static const EgressPlan nothing;
        int r = 0;

        for (size_t i = 0; r == 0 && i < e->n_records; i++)
                if (!hashmap_get(by_name, bytes_from_str(e->records[i].name)))
                        r = add_difference(s, &e->records[i].installed, &nothing);
        for (size_t i = 0; r == 0 && i < n; i++) {
                const Record *from = hashmap_get(e->by_name, bytes_from_str(records[i].name));

                r = add_difference(s, from ? &from->installed : &nothing, &records[i].installed);
        }
        return r;
}

static int commit_difference(Enforcer *e, const Record *records, size_t n, const Hashmap *by_name)
{
        Sum s = { 0 };
        int r = sum_up(e, records, n, by_name, &s);

        if (r == 0 && s.change.n_removed + s.change.n_added > 0)
                r = enforcer_commit_change(e, &s.change);
        egress_change_done(&s.change);
        if (r == 0 && !is_as_it_was_left(e))
                r = -ESTALE; /* somebody was there meanwhile */
        return r;
}

int enforcer_commit_load(Enforcer *e, const RulesetFrame *frame, const Record *records, size_t n,
                         const Hashmap *by_name)
{
        if (enforcer_same_frame(&e->frame, frame) && same_doors(&e->frame, frame) &&
            is_as_it_was_left(e) && commit_difference(e, records, n, by_name) == 0)
                return 0;
        return enforcer_commit_table(e, frame, records, n);
}
