/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Deleting the connections that a device may not have any more. The filter judges each packet
 * without regard to them; this is for who looks at them, for their memory, and for translations of
 * addresses that began under another configuration. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "daemon/enforcer-internal.h"

static bool is_open(const EgressPlan *p, const DeviceAddress *a)
{
        for (size_t i = 0; i < p->n_elements; i++)
                if (p->elements[i].kind == EGRESS_OPEN &&
                    device_address_equal(&p->elements[i].address, a))
                        return true;
        return false;
}

static size_t collect_peers(const EgressPlan *p, const DeviceAddress *a, ConntrackPeer *ret)
{
        size_t n = 0;

        for (size_t i = 0; i < p->n_elements; i++) {
                const EgressElement *x = &p->elements[i];

                if (x->kind != EGRESS_ALLOWED || !device_address_equal(&x->address, a))
                        continue;
                ret[n] = (ConntrackPeer){ .prefix = x->rule.prefix,
                                          .protocol = x->rule.protocol,
                                          .port_first = x->rule.port_first,
                                          .port_last = x->rule.port_last };
                memcpy(ret[n++].address, x->rule.addr, sizeof(x->rule.addr));
        }
        return n;
}

static int cut_address(Enforcer *e, const DeviceAddress *a, const EgressPlan *keep)
{
        _cleanup_free_ ConntrackPeer *peers = NULL;
        size_t n = 0;

        if (keep && is_open(keep, a)) {
                peers = calloc(keep->n_elements + 1, sizeof(*peers));
                if (!peers)
                        return -ENOMEM;
                n = collect_peers(keep, a, peers);
        }
        return conntrack_thread_forget(e->conntrack, a->family, a->addr, peers, n);
}

void enforcer_cut(Enforcer *e, const Record *c, const EgressPlan *keep)
{
        for (size_t i = 0; i < c->closed.n_elements; i++) {
                const EgressElement *x = &c->closed.elements[i];
                int r;

                if (x->kind != EGRESS_CLAIMED)
                        continue;
                r = cut_address(e, &x->address, keep);
                if (r < 0)
                        log_message_errno(LOG_WARNING, r, LOG_FIELDS({ "DEVICE", c->name }),
                                          "Cannot delete the connections of %s, ignoring", c->name);
        }
}

void enforcer_hold_cut(Enforcer *e, Record *c)
{
        for (size_t i = 0; i < c->closed.n_elements; i++) {
                const EgressElement *x = &c->closed.elements[i];

                if (x->kind == EGRESS_CLAIMED &&
                    conntrack_thread_hold(e->conntrack, x->address.family, x->address.addr))
                        c->uncut = true;
        }
}
