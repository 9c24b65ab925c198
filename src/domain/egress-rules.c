/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Allowances that overlap, made into ones that do not. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "domain/egress.h"

static unsigned address_bits(uint8_t family)
{
        return family == 4 ? 32 : 128;
}

static size_t address_len(uint8_t family)
{
        return family == 4 ? 4 : 16;
}

bool egress_rule_is_exact(const EgressRule *r)
{
        return r->prefix == address_bits(r->family) && r->port_first == r->port_last;
}

static bool rule_valid(const EgressRule *r)
{
        return (r->family == 4 || r->family == 6) && r->prefix <= address_bits(r->family) &&
               (r->protocol == IPPROTO_TCP || r->protocol == IPPROTO_UDP) &&
               r->port_first <= r->port_last;
}

/* Without the bits of the host part, nor what stands after an IPv4 address. */
static EgressRule rule_normal(const EgressRule *r)
{
        EgressRule n = { 0 };

        n.family = r->family;
        n.prefix = r->prefix;
        n.protocol = r->protocol;
        n.port_first = r->port_first;
        n.port_last = r->port_last;
        for (unsigned i = 0; i < address_len(r->family); i++) {
                unsigned bits = r->prefix > 8 * i ? MIN(r->prefix - 8 * i, 8U) : 0;

                n.addr[i] = r->addr[i] & (uint8_t)(0xff00U >> bits);
        }
        return n;
}

static bool covers(const EgressRule *wide, const EgressRule *narrow)
{
        unsigned whole = wide->prefix / 8, rest = wide->prefix % 8;

        if (wide->family != narrow->family || wide->protocol != narrow->protocol ||
            wide->prefix > narrow->prefix)
                return false;
        if (memcmp(wide->addr, narrow->addr, whole) != 0)
                return false;
        return rest == 0 ||
               ((wide->addr[whole] ^ narrow->addr[whole]) & (uint8_t)(0xff00U >> rest)) == 0;
}

typedef struct RuleList {
        EgressRule *rules;
        size_t n, cap;
} RuleList;

static int rule_list_add(RuleList *l, const EgressRule *r)
{
        if (l->n == l->cap) {
                size_t cap = MAX(2 * l->cap, (size_t)8);
                EgressRule *p = reallocarray(l->rules, cap, sizeof(*p));

                if (!p)
                        return -ENOMEM;
                l->rules = p;
                l->cap = cap;
        }
        l->rules[l->n++] = *r;
        return 0;
}

/* Adds what of `r` the list does not allow yet. Prefixes are nested or disjoint, and wide ones
 * come first: only ports are left to be cut. The list's first `n` rules are looked at from `i` on.
 */
static int rule_list_add_rest(RuleList *l, size_t i, EgressRule r)
{
        for (; i < l->n; i++) {
                const EgressRule a = l->rules[i];
                EgressRule upper = r;
                int error;

                if (!covers(&a, &r) || r.port_last < a.port_first || r.port_first > a.port_last)
                        continue;
                if (r.port_last > a.port_last) {
                        upper.port_first = (uint16_t)(a.port_last + 1);
                        error = rule_list_add_rest(l, i + 1, upper);
                        if (error < 0)
                                return error;
                }
                if (r.port_first >= a.port_first)
                        return 0;
                r.port_last = (uint16_t)(a.port_first - 1);
        }
        return rule_list_add(l, &r);
}

static int compare_prefixes(const void *a, const void *b)
{
        const EgressRule *x = a, *y = b;

        return (int)x->prefix - (int)y->prefix;
}

int egress_rules_disjoint(const EgressRule *rules, size_t n, EgressRule **ret, size_t *ret_n)
{
        _cleanup_free_ EgressRule *sorted = calloc(MAX(n, (size_t)1), sizeof(*sorted));
        RuleList l = { 0 };
        int r = 0;

        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                if (!rule_valid(&rules[i]))
                        return -EINVAL;
                sorted[i] = rule_normal(&rules[i]);
        }
        qsort(sorted, n, sizeof(*sorted), compare_prefixes);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = rule_list_add_rest(&l, 0, sorted[i]);
        if (r < 0) {
                free(l.rules);
                return r;
        }
        *ret = l.rules;
        *ret_n = l.n;
        return 0;
}
