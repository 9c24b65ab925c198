/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/egress.h"

#include <errno.h>
#include <string.h>

static size_t address_len(uint8_t family)
{
        return family == 4 ? 4 : 16;
}

/* The order of elements; the deadline is no part of what an element is. */
static int compare_elements(const EgressElement *x, const EgressElement *y)
{
        const EgressRule *a = &x->rule, *b = &y->rule;
        int r;

        if (x->kind != y->kind)
                return x->kind < y->kind ? -1 : 1;
        if ((r = memcmp(x->interface, y->interface, sizeof(x->interface))) != 0 ||
            (r = memcmp(x->hardware, y->hardware, sizeof(x->hardware))) != 0 ||
            (r = (int)x->address.family - (int)y->address.family) != 0 ||
            (r = memcmp(x->address.addr, y->address.addr, sizeof(x->address.addr))) != 0 ||
            (r = memcmp(a->addr, b->addr, sizeof(a->addr))) != 0 ||
            (r = (int)a->prefix - (int)b->prefix) != 0 ||
            (r = (int)a->protocol - (int)b->protocol) != 0 ||
            (r = (int)a->port_first - (int)b->port_first) != 0)
                return r;
        return (int)a->port_last - (int)b->port_last;
}

static int compare_for_sort(const void *a, const void *b)
{
        return compare_elements(a, b);
}

void egress_plan_done(EgressPlan *p)
{
        free(p->elements);
        *p = (EgressPlan){ 0 };
}

int egress_plan_copy(const EgressPlan *p, EgressPlan *ret)
{
        EgressElement *elements = calloc(p->n_elements + 1, sizeof(*elements));

        if (!elements)
                return -ENOMEM;
        if (p->n_elements > 0)
                memcpy(elements, p->elements, p->n_elements * sizeof(*elements));
        *ret = (EgressPlan){ elements, p->n_elements };
        return 0;
}

/* There is room: egress_plan() counted. Fills in what the kind needs. */
static EgressElement *plan_add(EgressPlan *p, EgressKind kind, const DeviceAddress *address)
{
        EgressElement *e = &p->elements[p->n_elements++];

        *e = (EgressElement){ .kind = kind, .deadline = USEC_INFINITY };
        if (address) {
                e->address.family = address->family;
                memcpy(e->address.addr, address->addr, address_len(address->family));
        }
        return e;
}

static void plan_place(EgressElement *e, const Device *d, bool hardware)
{
        memcpy(e->interface, d->zone->interface, strlen(d->zone->interface));
        if (hardware)
                memcpy(e->hardware, d->hardware_address, sizeof(e->hardware));
}

static void plan_identity(EgressPlan *p, const Device *d)
{
        bool hardware = d->has_hardware_address;

        for (size_t i = 0; i < d->n_addresses; i++) {
                const DeviceAddress *a = &d->addresses[i];

                plan_place(plan_add(p, hardware ? EGRESS_BOUND : EGRESS_PLACED, a), d, hardware);
                plan_add(p, EGRESS_CLAIMED, a);
                plan_add(p, EGRESS_REFUSED, a);
        }
        if (!hardware)
                return;
        memcpy(plan_add(p, EGRESS_CLAIMED_ETHER, NULL)->hardware, d->hardware_address, 6);
        plan_place(plan_add(p, EGRESS_HOME, NULL), d, true);
        if (d->n_addresses == 0)
                plan_place(plan_add(p, EGRESS_UNADDRESSED, NULL), d, true);
}

static void plan_quarantine(EgressPlan *p, const Device *d)
{
        for (size_t i = 0; i < d->n_addresses; i++)
                plan_add(p, EGRESS_QUARANTINED, &d->addresses[i]);
        if (d->has_hardware_address)
                memcpy(plan_add(p, EGRESS_QUARANTINED_ETHER, NULL)->hardware, d->hardware_address,
                       6);
}

static void plan_allowances(EgressPlan *p, const Device *d, const EgressRule *rules, size_t n,
                            usec_t deadline)
{
        for (size_t i = 0; i < d->n_addresses; i++) {
                bool any = false;

                for (size_t j = 0; j < n; j++) {
                        if (rules[j].family != d->addresses[i].family)
                                continue;
                        plan_add(p, EGRESS_ALLOWED, &d->addresses[i])->rule = rules[j];
                        any = true;
                }
                if (any)
                        plan_add(p, EGRESS_OPEN, &d->addresses[i])->deadline = deadline;
        }
}

/* Two equal addresses of one device are one. */
static void plan_sort(EgressPlan *p)
{
        size_t n = 0;

        qsort(p->elements, p->n_elements, sizeof(*p->elements), compare_for_sort);
        for (size_t i = 0; i < p->n_elements; i++)
                if (n == 0 || compare_elements(&p->elements[n - 1], &p->elements[i]) != 0)
                        p->elements[n++] = p->elements[i];
        p->n_elements = n;
}

int egress_plan(const Device *d, Posture posture, usec_t deadline, EgressPlan *ret)
{
        _cleanup_egress_plan_ EgressPlan p = { 0 };
        _cleanup_free_ EgressRule *rules = NULL;
        bool closed = posture == POSTURE_CONTRAINDICATED;
        size_t n = 0;
        int r;

        if (!d->zone || !d->zone->interface || strlen(d->zone->interface) >= EGRESS_INTERFACE_MAX)
                return -EINVAL;
        if (!closed && d->class) {
                r = egress_rules_disjoint(d->class->egress[posture].rules,
                                          d->class->egress[posture].n_rules, &rules, &n);
                if (r < 0)
                        return r;
        }
        /* Three elements of identity and one of posture an address, four a hardware address. */
        p.elements = calloc(d->n_addresses * (4 + n) + 4, sizeof(*p.elements));
        if (!p.elements)
                return -ENOMEM;
        plan_identity(&p, d);
        if (closed)
                plan_quarantine(&p, d);
        else
                plan_allowances(&p, d, rules, n, deadline);
        plan_sort(&p);
        *ret = p;
        p = (EgressPlan){ 0 };
        return 0;
}

void egress_change_done(EgressChange *c)
{
        free(c->removed);
        free(c->added);
        *c = (EgressChange){ 0 };
}

static void change_remove(EgressChange *c, const EgressElement *e)
{
        c->removed[c->n_removed++] = e;
        c->tightens = c->tightens || e->kind == EGRESS_OPEN || e->kind == EGRESS_ALLOWED;
}

static void change_add(EgressChange *c, const EgressElement *e)
{
        c->added[c->n_added++] = e;
        c->tightens =
                c->tightens || e->kind == EGRESS_QUARANTINED || e->kind == EGRESS_QUARANTINED_ETHER;
}

/* The same element in both plans: only its time may differ. */
static void change_renew(EgressChange *c, const EgressElement *from, const EgressElement *to)
{
        if (from->deadline == to->deadline)
                return;
        c->removed[c->n_removed++] = from;
        c->added[c->n_added++] = to;
}

int egress_diff(const EgressPlan *from, const EgressPlan *to, EgressChange *ret)
{
        EgressChange c = {
                .removed = calloc(from->n_elements + 1, sizeof(*c.removed)),
                .added = calloc(to->n_elements + 1, sizeof(*c.added)),
        };
        size_t i = 0, j = 0;

        if (!c.removed || !c.added) {
                egress_change_done(&c);
                return -ENOMEM;
        }
        while (i < from->n_elements || j < to->n_elements) {
                const EgressElement *a = &from->elements[i], *b = &to->elements[j];
                int order = i == from->n_elements ? 1
                            : j == to->n_elements ? -1
                                                  : compare_elements(a, b);

                if (order < 0)
                        change_remove(&c, a);
                else if (order > 0)
                        change_add(&c, b);
                else
                        change_renew(&c, a, b);
                i += order <= 0;
                j += order >= 0;
        }
        *ret = c;
        return 0;
}

typedef struct Claim {
        DeviceAddress what; /* family 0: a hardware address */
        const Device *device;
} Claim;

static int compare_claims(const void *a, const void *b)
{
        const Claim *x = a, *y = b;

        if (x->what.family != y->what.family)
                return (int)x->what.family - (int)y->what.family;
        return memcmp(x->what.addr, y->what.addr, sizeof(x->what.addr));
}

static size_t collect_claims(Claim *claims, const Device *d)
{
        size_t n = 0;

        for (size_t i = 0; i < d->n_addresses; i++, n++) {
                claims[n] = (Claim){ .what.family = d->addresses[i].family, .device = d };
                memcpy(claims[n].what.addr, d->addresses[i].addr,
                       address_len(d->addresses[i].family));
        }
        if (d->has_hardware_address) {
                claims[n] = (Claim){ .device = d };
                memcpy(claims[n++].what.addr, d->hardware_address, sizeof(d->hardware_address));
        }
        return n;
}

bool egress_find_conflict(const Device *const *devices, size_t n, const Device **ret_a,
                          const Device **ret_b)
{
        _cleanup_free_ Claim *claims = calloc(n + 1, (DEVICE_ADDRESSES_MAX + 1) * sizeof(*claims));
        size_t n_claims = 0;

        if (!claims) {
                *ret_a = *ret_b = NULL;
                return true;
        }
        for (size_t i = 0; i < n; i++)
                n_claims += collect_claims(claims + n_claims, devices[i]);
        qsort(claims, n_claims, sizeof(*claims), compare_claims);
        for (size_t i = 1; i < n_claims; i++) {
                if (claims[i].device == claims[i - 1].device ||
                    compare_claims(&claims[i], &claims[i - 1]) != 0)
                        continue;
                *ret_a = claims[i - 1].device;
                *ret_b = claims[i].device;
                return true;
        }
        return false;
}
