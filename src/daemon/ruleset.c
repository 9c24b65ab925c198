/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table's sets and what is in them. */
#include "daemon/ruleset.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/str.h"
#include "daemon/ruleset-internal.h"

#define IFACE NFT_TYPE_INTERFACE
#define ETHER NFT_TYPE_ETHER
#define IPV4  NFT_TYPE_IPV4
#define IPV6  NFT_TYPE_IPV6
#define PROTO NFT_TYPE_PROTOCOL
#define PORT  NFT_TYPE_PORT

const NftSet ruleset_sets[_SET_MAX] = {
        [SET_ZONES] = { "zones", { IFACE }, 1 },
        [SET_UPLINKS] = { "uplinks", { IFACE }, 1 },
        [SET_DHCP_ZONES] = { "dhcp_zones", { IFACE }, 1 },
        [SET_PING_ZONES] = { "ping_zones", { IFACE }, 1 },
        [SET_DOORS] = { "doors", { PROTO, PORT }, 2 },
        [SET_SERVICES] = { "services", { IFACE, PROTO, PORT }, 3 },
        [SET_BOUND4] = { "bound4", { IFACE, ETHER, IPV4 }, 3 },
        [SET_BOUND6] = { "bound6", { IFACE, ETHER, IPV6 }, 3 },
        [SET_PLACED4] = { "placed4", { IFACE, IPV4 }, 2 },
        [SET_PLACED6] = { "placed6", { IFACE, IPV6 }, 2 },
        [SET_CLAIMED4] = { "claimed4", { IPV4 }, 1, .counter = true },
        [SET_CLAIMED6] = { "claimed6", { IPV6 }, 1, .counter = true },
        [SET_CLAIMED_ETHER] = { "claimed_ether", { ETHER }, 1 },
        [SET_HOMES] = { "homes", { IFACE, ETHER }, 2 },
        [SET_UNADDRESSED] = { "unaddressed", { IFACE, ETHER }, 2 },
        [SET_QUARANTINED4] = { "quarantined4", { IPV4 }, 1, .counter = true },
        [SET_QUARANTINED6] = { "quarantined6", { IPV6 }, 1, .counter = true },
        [SET_QUARANTINED_ETHER] = { "quarantined_ether", { ETHER }, 1, .counter = true },
        [SET_OPEN4] = { "open4", { IPV4 }, 1, .timeout = true },
        [SET_OPEN6] = { "open6", { IPV6 }, 1, .timeout = true },
        [SET_ALLOWED4] = { "allowed4", { IPV4, IPV4, PROTO, PORT }, 4, .counter = true },
        [SET_ALLOWED6] = { "allowed6", { IPV6, IPV6, PROTO, PORT }, 4, .counter = true },
        [SET_ALLOWED4_RANGE] = { "allowed4_range",
                                 { IPV4, IPV4, PROTO, PORT },
                                 4,
                                 .interval = true,
                                 .counter = true },
        [SET_ALLOWED6_RANGE] = { "allowed6_range",
                                 { IPV6, IPV6, PROTO, PORT },
                                 4,
                                 .interval = true,
                                 .counter = true },
        [SET_REFUSED4] = { "refused4", { IPV4 }, 1, .counter = true },
        [SET_REFUSED6] = { "refused6", { IPV6 }, 1, .counter = true },
};

/* Where an element of a plan goes. */
static RulesetSet set_of(const EgressElement *e)
{
        bool six = e->address.family == 6;

        switch (e->kind) {
        case EGRESS_BOUND:
                return six ? SET_BOUND6 : SET_BOUND4;
        case EGRESS_PLACED:
                return six ? SET_PLACED6 : SET_PLACED4;
        case EGRESS_CLAIMED:
                return six ? SET_CLAIMED6 : SET_CLAIMED4;
        case EGRESS_CLAIMED_ETHER:
                return SET_CLAIMED_ETHER;
        case EGRESS_HOME:
                return SET_HOMES;
        case EGRESS_UNADDRESSED:
                return SET_UNADDRESSED;
        case EGRESS_REFUSED:
                return six ? SET_REFUSED6 : SET_REFUSED4;
        case EGRESS_QUARANTINED:
                return six ? SET_QUARANTINED6 : SET_QUARANTINED4;
        case EGRESS_QUARANTINED_ETHER:
                return SET_QUARANTINED_ETHER;
        case EGRESS_OPEN:
                return six ? SET_OPEN6 : SET_OPEN4;
        case EGRESS_ALLOWED:
                if (egress_rule_is_exact(&e->rule))
                        return six ? SET_ALLOWED6 : SET_ALLOWED4;
                return six ? SET_ALLOWED6_RANGE : SET_ALLOWED4_RANGE;
        case _EGRESS_KIND_MAX:
                break;
        }
        abort();
}

static void key_address(NftKey *k, const DeviceAddress *a)
{
        nft_key_address(k, a->family, a->addr);
}

static void last_address(const EgressRule *r, uint8_t ret[static 16])
{
        for (unsigned i = 0; i < 16; i++) {
                unsigned bits = r->prefix > 8 * i ? MIN(r->prefix - 8 * i, 8U) : 0;

                ret[i] = r->addr[i] | (uint8_t)(0xffU >> bits);
        }
}

static void allowance_keys(const EgressElement *e, NftElement *ret)
{
        uint8_t last[16];

        last_address(&e->rule, last);
        key_address(&ret->key, &e->address);
        nft_key_address(&ret->key, e->rule.family, e->rule.addr);
        nft_key_protocol(&ret->key, e->rule.protocol);
        nft_key_port(&ret->key, e->rule.port_first);
        key_address(&ret->last, &e->address);
        nft_key_address(&ret->last, e->rule.family, last);
        nft_key_protocol(&ret->last, e->rule.protocol);
        nft_key_port(&ret->last, e->rule.port_last);
}

static NftElement element_of(const EgressElement *e)
{
        NftElement n = { 0 };

        switch (e->kind) {
        case EGRESS_BOUND:
                nft_key_interface(&n.key, e->interface);
                nft_key_ether(&n.key, e->hardware);
                key_address(&n.key, &e->address);
                break;
        case EGRESS_PLACED:
                nft_key_interface(&n.key, e->interface);
                key_address(&n.key, &e->address);
                break;
        case EGRESS_HOME:
        case EGRESS_UNADDRESSED:
                nft_key_interface(&n.key, e->interface);
                nft_key_ether(&n.key, e->hardware);
                break;
        case EGRESS_CLAIMED_ETHER:
        case EGRESS_QUARANTINED_ETHER:
                nft_key_ether(&n.key, e->hardware);
                break;
        case EGRESS_CLAIMED:
        case EGRESS_REFUSED:
        case EGRESS_QUARANTINED:
        case EGRESS_OPEN:
                key_address(&n.key, &e->address);
                break;
        case EGRESS_ALLOWED:
                allowance_keys(e, &n);
                break;
        case _EGRESS_KIND_MAX:
                break;
        }
        return n;
}

/* Elements on their way into a batch, gathered by set. */
typedef struct Gathering {
        NftElement *elements;
        size_t n, cap;
} Gathering;

static int gather(Gathering *g, const NftElement *e)
{
        if (g->n == g->cap) {
                size_t cap = MAX(2 * g->cap, (size_t)16);
                NftElement *p = reallocarray(g->elements, cap, sizeof(*p));

                if (!p)
                        return -ENOMEM;
                g->elements = p;
                g->cap = cap;
        }
        g->elements[g->n++] = *e;
        return 0;
}

/* In milliseconds, at least one; 0 stands for "stays". */
static uint64_t timeout_of(const EgressElement *e, usec_t now)
{
        if (e->deadline == USEC_INFINITY)
                return 0;
        return MAX((e->deadline - now) / USEC_PER_MSEC, (usec_t)1);
}

static int gather_if_live(Gathering *gs, const EgressElement *e, usec_t now)
{
        NftElement n = element_of(e);

        if (e->deadline <= now)
                return 0;
        n.timeout = timeout_of(e, now);
        return gather(&gs[set_of(e)], &n);
}

typedef void (*ElementsVerb)(NftBatch *b, const NftSet *set, const NftElement *e, size_t n);

static void flush(NftBatch *b, Gathering *gs, int error, ElementsVerb verb)
{
        for (size_t i = 0; i < _SET_MAX; i++) {
                if (error == 0)
                        verb(b, &ruleset_sets[i], gs[i].elements, gs[i].n);
                free(gs[i].elements);
                gs[i] = (Gathering){ 0 };
        }
        if (error < 0)
                nft_batch_cancel(b, error);
}

static int gather_interface(Gathering *g, const char *name)
{
        NftElement e = { 0 };

        nft_key_interface(&e.key, name);
        return gather(g, &e);
}

static int gather_door(Gathering *g, const RulesetDoor *d)
{
        NftElement e = { 0 };

        nft_key_protocol(&e.key, d->protocol);
        nft_key_port(&e.key, d->port);
        return gather(g, &e);
}

static int gather_service(Gathering *g, const char *interface, uint8_t protocol, uint16_t port)
{
        NftElement e = { 0 };

        nft_key_interface(&e.key, interface);
        nft_key_protocol(&e.key, protocol);
        nft_key_port(&e.key, port);
        return gather(g, &e);
}

static int gather_zone(Gathering *gs, const RulesetZone *z)
{
        int r = gather_interface(&gs[SET_ZONES], z->interface);

        if (r == 0 && z->services & ZONE_SERVICE_DHCP)
                r = gather_interface(&gs[SET_DHCP_ZONES], z->interface);
        if (r == 0 && z->services & ZONE_SERVICE_PING)
                r = gather_interface(&gs[SET_PING_ZONES], z->interface);
        if (r == 0 && z->services & ZONE_SERVICE_DNS)
                r = gather_service(&gs[SET_SERVICES], z->interface, IPPROTO_UDP, 53);
        if (r == 0 && z->services & ZONE_SERVICE_DNS)
                r = gather_service(&gs[SET_SERVICES], z->interface, IPPROTO_TCP, 53);
        if (r == 0 && z->services & ZONE_SERVICE_NTP)
                r = gather_service(&gs[SET_SERVICES], z->interface, IPPROTO_UDP, 123);
        return r;
}

static const char *const counters[] = { "spoofed", "quarantined", "lateral", "invalid", "refused" };

void ruleset_replace(NftBatch *b, const RulesetFrame *f, const EgressPlan *const *plans,
                     size_t n_plans, usec_t now)
{
        Gathering gs[_SET_MAX] = { 0 };
        int r = 0;

        /* Whatever is there goes, in the same transaction; it must exist to be deleted. */
        nft_add_table(b);
        nft_delete_table(b);
        nft_add_table(b);
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                nft_add_counter(b, counters[i]);
        for (size_t i = 0; i < _SET_MAX; i++)
                nft_add_set(b, &ruleset_sets[i]);
        for (size_t i = 0; r == 0 && i < f->n_zones; i++)
                r = gather_zone(gs, &f->zones[i]);
        for (size_t i = 0; r == 0 && i < f->n_uplinks; i++)
                r = gather_interface(&gs[SET_UPLINKS], f->uplinks[i]);
        for (size_t i = 0; r == 0 && i < f->n_doors; i++)
                r = gather_door(&gs[SET_DOORS], &f->doors[i]);
        for (size_t i = 0; i < n_plans; i++)
                for (size_t j = 0; r == 0 && j < plans[i]->n_elements; j++)
                        r = gather_if_live(gs, &plans[i]->elements[j], now);
        flush(b, gs, r, nft_add_elements);
        ruleset_rules(b, f->masquerade);
}

/* The kernel refuses to delete an element that has just expired, and takes an addition for no
 * change where one is: so what may expire is added, then deleted. */
void ruleset_change(NftBatch *b, const EgressChange *c, usec_t now)
{
        Gathering gs[_SET_MAX] = { 0 };
        int r = 0;

        for (size_t i = 0; r == 0 && i < c->n_removed; i++) {
                NftElement e = element_of(c->removed[i]);

                if (c->removed[i]->kind == EGRESS_OPEN)
                        r = gather(&gs[set_of(c->removed[i])], &e);
        }
        flush(b, gs, r, nft_add_elements);
        for (size_t i = 0; r == 0 && i < c->n_removed; i++) {
                NftElement e = element_of(c->removed[i]);

                r = gather(&gs[set_of(c->removed[i])], &e);
        }
        flush(b, gs, r, nft_delete_elements);
        for (size_t i = 0; r == 0 && i < c->n_added; i++)
                r = gather_if_live(gs, c->added[i], now);
        flush(b, gs, r, nft_add_elements);
}

int ruleset_read(Nft *n, const EgressElement *element, NftCount *ret, usec_t *ret_left)
{
        NftElement e = element_of(element);

        return nft_read_element(n, &ruleset_sets[set_of(element)], &e, ret, ret_left);
}

int ruleset_read_counters(Nft *n, RulesetCounters *ret)
{
        RulesetCounters c;
        NftCount *into[] = { &c.spoofed, &c.quarantined, &c.lateral, &c.invalid, &c.refused };

        for (size_t i = 0; i < ELEMENTSOF(counters); i++) {
                int r = nft_read_counter(n, counters[i], into[i]);

                if (r < 0)
                        return r;
        }
        *ret = c;
        return 0;
}
