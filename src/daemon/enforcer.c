/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/enforcer.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "daemon/enforcer-internal.h"

static void records_free(Record *records, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                egress_plan_done(&records[i].installed);
                egress_plan_done(&records[i].desired);
                egress_plan_done(&records[i].closed);
        }
        free(records);
}

static void frame_done(RulesetFrame *f)
{
        free(f->zones);
        free(f->uplinks);
        free(f->doors);
        *f = (RulesetFrame){ 0 };
}

static int copy_word(char *ret, size_t size, const char *s)
{
        size_t len = s ? strlen(s) : 0;

        if (len == 0 || len >= size)
                return -EINVAL;
        memcpy(ret, s, len + 1);
        return 0;
}

static int frame_copy(const EnforcerSettings *s, RulesetFrame *ret)
{
        RulesetFrame f = {
                .zones = calloc(s->n_zones + 1, sizeof(*f.zones)),
                .n_zones = s->n_zones,
                .uplinks = calloc(s->n_uplinks + 1, sizeof(*f.uplinks)),
                .n_uplinks = s->n_uplinks,
                .masquerade = s->masquerade,
                .doors = calloc(s->n_doors + 1, sizeof(*f.doors)),
                .n_doors = s->n_doors,
        };
        int r = f.zones && f.uplinks && f.doors ? 0 : -ENOMEM;

        for (size_t i = 0; r == 0 && i < s->n_zones; i++) {
                f.zones[i].services = s->zones[i].services;
                r = copy_word(f.zones[i].interface, NFT_INTERFACE_MAX, s->zones[i].interface);
        }
        for (size_t i = 0; r == 0 && i < s->n_uplinks; i++)
                r = copy_word(f.uplinks[i], NFT_INTERFACE_MAX, s->uplinks[i]);
        for (size_t i = 0; r == 0 && i < s->n_doors; i++)
                f.doors[i] = s->doors[i];
        if (r < 0)
                frame_done(&f);
        else
                *ret = f;
        return r;
}

static int plan_state(const DeviceState *d, EgressPlan *ret)
{
        return egress_plan(d->device, device_state_effective(d), d->expires, ret);
}

int enforcer_new(Loop *loop, Enforcer **ret)
{
        _cleanup_(enforcer_freep) Enforcer *e = calloc(1, sizeof(*e));
        int r;

        if (!e)
                return -ENOMEM;
        e->loop = loop;
        e->retry_delay = ENFORCER_RETRY_MIN;
        list_init(&e->waiters);
        e->by_name = hashmap_new();
        if (!e->by_name)
                return -ENOMEM;
        r = nft_open(RULESET_TABLE, &e->nft);
        if (r == 0)
                r = conntrack_thread_new(&e->conntrack);
        if (r == 0)
                r = neighbours_new(loop, &e->neighbours);
        if (r == 0)
                r = loop_add_deferred(loop, &e->flush, LOOP_FATAL, enforcer_flush, e);
        if (r == 0)
                r = loop_add_timer(loop, &e->retry, LOOP_FATAL, enforcer_retry, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(e);
        return 0;
}

Enforcer *enforcer_free(Enforcer *e)
{
        if (!e)
                return NULL;
        LIST_FOREACH_SAFE (i, &e->waiters)
                free(LIST_ENTRY(i, Waiter, node));
        loop_source_free(e->flush);
        loop_source_free(e->retry);
        hashmap_free(e->by_name);
        records_free(e->records, e->n_records);
        frame_done(&e->frame);
        conntrack_thread_free(e->conntrack);
        neighbours_free(e->neighbours);
        nft_free(e->nft);
        free(e);
        return NULL;
}

static int record_fill(Record *c, const DeviceState *d, Hashmap *by_name)
{
        int r = copy_word(c->name, sizeof(c->name), d->device->name);

        if (r == 0)
                r = plan_state(d, &c->installed);
        if (r == 0)
                r = egress_plan(d->device, POSTURE_CONTRAINDICATED, USEC_INFINITY, &c->closed);
        if (r == 0)
                r = hashmap_put(by_name, bytes_from_str(c->name), c);
        if (r < 0)
                log_message_errno(LOG_ERR, r, LOG_FIELDS({ "DEVICE", d->device->name }),
                                  "Cannot make a filter plan for %s", d->device->name);
        return r;
}

static int check_conflicts(const DeviceState *const *states, size_t n)
{
        _cleanup_free_ const Device **devices = calloc(n + 1, sizeof(*devices));
        const Device *a, *b;

        if (!devices)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                devices[i] = states[i]->device;
        if (!egress_find_conflict(devices, n, &a, &b))
                return 0;
        if (!a || !b)
                return -ENOMEM;
        log_message(LOG_ERR, LOG_FIELDS({ "DEVICE", b->name }, { "REASON", "address-conflict" }),
                    "Devices %s and %s claim the same address.", a->name, b->name);
        return -EEXIST;
}

/* Waiters follow their device into the new records; what they waited for is in force. */
static void move_waiters(Enforcer *e, Hashmap *by_name)
{
        LIST_FOREACH (i, &e->waiters) {
                Waiter *w = LIST_ENTRY(i, Waiter, node);
                Record *c = NULL;

                if (w->record) /* else it was gone at a load before */
                        c = hashmap_get(by_name, bytes_from_str(w->record->name));
                if (!w->finished)
                        w->error = c ? 0 : -ENODEV;
                w->finished = true;
                w->record = c;
        }
        if (!list_empty(&e->waiters))
                loop_defer(e->flush);
}

static bool tightens(const Record *from, const Record *to)
{
        EgressChange change;
        bool tightens;

        if (egress_diff(&from->installed, &to->installed, &change) < 0)
                return true;
        tightens = change.tightens;
        egress_change_done(&change);
        return tightens;
}

/* Where the frame changed none is kept: a connection goes on with the translation of addresses that
 * it began with. */
static void cut_after_load(Enforcer *e, const RulesetFrame *frame, const Hashmap *by_name)
{
        bool all = !enforcer_same_frame(&e->frame, frame);

        for (size_t i = 0; i < e->n_records; i++) {
                const Record *from = &e->records[i];
                const Record *to = hashmap_get(by_name, bytes_from_str(from->name));

                if (all || !to || from->uncut || tightens(from, to))
                        enforcer_cut(e, from, all || !to ? NULL : &to->installed);
        }
}

static void hold_cuts(Enforcer *e)
{
        for (size_t i = 0; i < e->n_records; i++)
                enforcer_hold_cut(e, &e->records[i]);
}

/* The load was refused: what was to be deleted before still is. */
static void resume_cuts(Enforcer *e)
{
        for (size_t i = 0; i < e->n_records; i++) {
                if (e->records[i].uncut)
                        enforcer_cut(e, &e->records[i], &e->records[i].installed);
                e->records[i].uncut = false;
        }
}

static void neighbour_fill(Neighbour *n, const EgressElement *x)
{
        *n = (Neighbour){ .family = x->address.family };
        memcpy(n->interface, x->interface, sizeof(n->interface));
        memcpy(n->hardware, x->hardware, sizeof(n->hardware));
        memcpy(n->addr, x->address.addr, sizeof(n->addr));
}

/* The filter knows who sends; that answers go nowhere else is the neighbour table's part. */
static int list_neighbours(const Record *records, size_t n, Neighbour **ret, size_t *ret_n)
{
        Neighbour *all = calloc(n * DEVICE_ADDRESSES_MAX + 1, sizeof(*all));
        size_t n_all = 0;

        if (!all)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < records[i].installed.n_elements; j++)
                        if (records[i].installed.elements[j].kind == EGRESS_BOUND)
                                neighbour_fill(&all[n_all++], &records[i].installed.elements[j]);
        *ret = all;
        *ret_n = n_all;
        return 0;
}

int enforcer_load(Enforcer *e, const EnforcerSettings *settings, const DeviceState *const *states,
                  size_t n)
{
        _cleanup_(hashmap_freep) Hashmap *by_name = hashmap_new();
        Record *records = calloc(n + 1, sizeof(*records));
        _cleanup_free_ Neighbour *neighbours = NULL;
        size_t n_neighbours = 0;
        RulesetFrame frame = { 0 };
        int r = by_name && records ? check_conflicts(states, n) : -ENOMEM;

        if (r == 0)
                r = frame_copy(settings, &frame);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = record_fill(&records[i], states[i], by_name);
        hold_cuts(e);
        if (r == 0)
                r = list_neighbours(records, n, &neighbours, &n_neighbours);
        if (r == 0)
                r = enforcer_commit_load(e, &frame, records, n, by_name);
        if (r < 0) {
                resume_cuts(e);
                frame_done(&frame);
                records_free(records, n);
                return r;
        }
        neighbours_set(e->neighbours, TAKE_PTR(neighbours), n_neighbours);
        cut_after_load(e, &frame, by_name);
        move_waiters(e, by_name);
        records_free(e->records, e->n_records);
        frame_done(&e->frame);
        hashmap_free(e->by_name);
        e->records = records;
        e->n_records = n;
        e->frame = frame;
        e->by_name = TAKE_PTR(by_name);
        return 0;
}

static int add_waiter(Enforcer *e, Record *c, EnforcerDone done, void *userdata)
{
        Waiter *w;

        if (!done)
                return 0;
        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        *w = (Waiter){ .record = c, .done = done, .userdata = userdata };
        list_append(&e->waiters, &w->node);
        return 0;
}

int enforcer_apply(Enforcer *e, const DeviceState *d, EnforcerDone done, void *userdata)
{
        Record *c = hashmap_get(e->by_name, bytes_from_str(d->device->name));
        EgressPlan plan = { 0 };
        int r;

        if (!c)
                return -ENODEV;
        r = plan_state(d, &plan);
        if (r < 0) {
                enforcer_withdraw(e, c, r);
        } else {
                egress_plan_done(&c->desired);
                c->desired = plan;
                c->queued = true;
                c->held = false;
                r = loop_defer(e->flush);
                if (r == 0)
                        r = add_waiter(e, c, done, userdata);
        }
        if (r < 0) /* what is in force may be looser than what was asked for */
                enforcer_hold(e, c, r);
        return r;
}

void enforcer_cancel(Enforcer *e, const void *userdata)
{
        LIST_FOREACH_SAFE (i, &e->waiters) {
                Waiter *w = LIST_ENTRY(i, Waiter, node);

                if (w->userdata != userdata)
                        continue;
                list_remove(&w->node);
                free(w);
        }
}

static bool worth_showing(EgressKind kind)
{
        return kind == EGRESS_CLAIMED || kind == EGRESS_REFUSED || kind == EGRESS_QUARANTINED ||
               kind == EGRESS_QUARANTINED_ETHER || kind == EGRESS_OPEN || kind == EGRESS_ALLOWED;
}

static int read_back(Enforcer *e, EnforcerElement *x)
{
        int r = ruleset_read(e->nft, &x->element, &x->count, &x->left);

        x->present = r == 0;
        return r == -ENOENT ? 0 : r;
}

int enforcer_query(Enforcer *e, const char *device, EnforcerElement **ret, size_t *ret_n,
                   bool *ret_held)
{
        const Record *c = hashmap_get(e->by_name, bytes_from_str(device));
        _cleanup_free_ EnforcerElement *all = NULL;
        size_t n = 0;

        if (!c)
                return -ENODEV;
        all = calloc(c->installed.n_elements + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        for (size_t i = 0; i < c->installed.n_elements && n < ENFORCER_QUERY_MAX; i++) {
                int r;

                if (!worth_showing(c->installed.elements[i].kind))
                        continue;
                all[n].element = c->installed.elements[i];
                r = read_back(e, &all[n++]);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(all);
        *ret_n = n;
        *ret_held = c->held;
        return 0;
}

int enforcer_counters(Enforcer *e, RulesetCounters *ret)
{
        return ruleset_read_counters(e->nft, ret);
}
