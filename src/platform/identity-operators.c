/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who may approve policies: the operator key that the identity was made for, and those to whom it
 * was handed over. There may be several ways from one to the other, and each hand-over ends with
 * the counter: what stands on it ends as well. */
#include <string.h>

#include "platform/identity-internal.h"

static bool same_point(const uint8_t a[static P256_POINT_SIZE],
                       const uint8_t b[static P256_POINT_SIZE])
{
        return memcmp(a, b, P256_POINT_SIZE) == 0;
}

bool identity_is_root_operator(const Identity *id, const uint8_t point[static P256_POINT_SIZE])
{
        return same_point(point, id->files.operator_point);
}

/* Lasts it longer, or as long and on fewer hand-overs? */
static bool better(const IdentityPolicy *than, uint64_t maximum, unsigned depth)
{
        return !than || !than->trusted || maximum > than->maximum ||
               (maximum == than->maximum && depth < than->depth);
}

IdentityPolicy *identity_handover(Identity *id,
                                  const uint8_t operator_point[static P256_POINT_SIZE])
{
        IdentityPolicy *best = NULL;
        for (size_t i = 0; i < id->n_policies; i++) {
                IdentityPolicy *h = &id->policies[i];
                if (h->policy.hands_over && h->trusted && h->depth < HANDOVERS_MAX &&
                    same_point(h->policy.successor, operator_point) &&
                    better(best, h->maximum, h->depth))
                        best = h;
        }
        return best;
}

static void start_at_root(const Identity *id, IdentityPolicy *p)
{
        p->by = NULL;
        p->depth = 0;
        p->maximum = p->policy.counter_maximum;
        p->trusted = identity_is_root_operator(id, p->policy.operator_point);
}

/* Whether that is better than what it stood on so far. It never closes a circle: who stands on `p`
 * lasts no longer than `p`, on more hand-overs. */
static bool stand_on_best(Identity *id, IdentityPolicy *p)
{
        if (identity_is_root_operator(id, p->policy.operator_point))
                return false;
        IdentityPolicy *h = identity_handover(id, p->policy.operator_point);
        uint64_t maximum = h ? MIN(p->policy.counter_maximum, h->maximum) : 0;
        if (!h || !better(p, maximum, h->depth + 1))
                return false;
        p->by = h;
        p->depth = h->depth + 1;
        p->maximum = maximum;
        p->trusted = true;
        return true;
}

void identity_find_operators(Identity *id)
{
        bool more = true;
        for (size_t i = 0; i < id->n_policies; i++)
                start_at_root(id, &id->policies[i]);
        while (more) {
                more = false;
                for (size_t i = 0; i < id->n_policies; i++)
                        more = stand_on_best(id, &id->policies[i]) || more;
        }
}

/* The last to whom was handed over; of several by one key the one that holds longest. */
const uint8_t *identity_present_operator(const Identity *id)
{
        const uint8_t *point = id->files.operator_point;
        for (unsigned depth = 0; depth < HANDOVERS_MAX; depth++) {
                const Policy *next = NULL;
                for (size_t i = 0; i < id->n_policies; i++) {
                        const Policy *p = &id->policies[i].policy;
                        if (p->hands_over && same_point(p->operator_point, point) &&
                            (!next || p->counter_maximum > next->counter_maximum))
                                next = p;
                }
                if (!next)
                        break;
                point = next->successor;
        }
        return point;
}
