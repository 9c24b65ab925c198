/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Taking what is wanted into the kernel, and what happens when the kernel does not want it. */
#include <errno.h>

#include "base/log.h"
#include "daemon/enforcer-internal.h"

/* What the table must hold of the device when it is built anew. */
static const EgressPlan *record_plan(const Record *c)
{
        return c->held ? &c->closed : c->queued ? &c->desired : &c->installed;
}

/* The kernel has taken record_plan(c). */
static void settle(Enforcer *e, Record *c, bool tightens)
{
        EgressPlan now_installed = { 0 };

        c->loose = false;
        if (c->held) {
                if (egress_plan_copy(&c->closed, &now_installed) < 0)
                        return; /* installed stays what it was: the next change is a rebuild */
        } else {
                now_installed = c->desired;
                c->desired = (EgressPlan){ 0 };
                c->queued = false;
        }
        egress_plan_done(&c->installed);
        c->installed = now_installed;
        if (tightens || c->uncut)
                enforcer_cut(e, c, &c->installed);
        c->uncut = false;
}

/* Ours was the only change since `before`, or nobody knows. */
static void note_generation(Enforcer *e, bool before_known, uint32_t before)
{
        e->generation_known = before_known && nft_read_generation(e->nft, &e->generation) == 0 &&
                              e->generation == before + 1;
}

static int commit(Enforcer *e, NftBatch *b, bool before_known, uint32_t before)
{
        char culprit[NFT_CULPRIT_MAX];
        int r = nft_batch_commit(b, culprit);

        note_generation(e, r == 0 && before_known, before);
        if (r < 0)
                log_warning_errno(r, "The kernel refused a change of the packet filter (%s)",
                                  culprit);
        return r;
}

int enforcer_commit_change(Enforcer *e, const EgressChange *c)
{
        _cleanup_(nft_batch_freep) NftBatch *b = nft_batch_new(e->nft);

        if (b)
                ruleset_change(b, c, now_boottime());
        return commit(e, b, e->generation_known, e->generation);
}

typedef struct Pending {
        Record *record;
        EgressChange change;
} Pending;

static void pending_free(Pending *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                egress_change_done(&p[i].change);
        free(p);
}

/* A change of nothing asks the kernel nothing; yet nobody is to hear "in force" of a table that
 * somebody deleted. */
static int check_table(Enforcer *e)
{
        RulesetCounters unused;

        return ruleset_read_counters(e->nft, &unused);
}

static bool changes_nothing(const Pending *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (p[i].change.n_removed > 0 || p[i].change.n_added > 0)
                        return false;
        return true;
}

/* The changes of all records that are marked, as one transaction. */
static int commit_changes(Enforcer *e, Pending *p, size_t n)
{
        _cleanup_(nft_batch_freep) NftBatch *b = nft_batch_new(e->nft);
        usec_t now = now_boottime();
        int r;

        for (size_t i = 0; b && i < n; i++) {
                enforcer_hold_cut(e, p[i].record);
                ruleset_change(b, &p[i].change, now);
        }
        r = b && changes_nothing(p, n) ? check_table(e)
                                       : commit(e, b, e->generation_known, e->generation);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                settle(e, p[i].record, p[i].change.tightens);
        return 0;
}

static int commit_marked(Enforcer *e, bool (*marked)(const Record *c))
{
        Pending *p = calloc(e->n_records + 1, sizeof(*p));
        size_t n = 0;
        int r = p ? 0 : -ENOMEM;

        for (size_t i = 0; r == 0 && i < e->n_records; i++) {
                Record *c = &e->records[i];

                if (!marked(c))
                        continue;
                p[n].record = c;
                r = egress_diff(&c->installed, record_plan(c), &p[n].change);
                n += r == 0;
        }
        if (r == 0 && n > 0)
                r = commit_changes(e, p, n);
        if (p)
                pending_free(p, n);
        return r;
}

static int commit_one(Enforcer *e, Record *c)
{
        Pending p = { .record = c };
        int r = egress_diff(&c->installed, record_plan(c), &p.change);

        if (r < 0)
                return r;
        r = commit_changes(e, &p, 1);
        egress_change_done(&p.change);
        return r;
}

int enforcer_commit_table(Enforcer *e, const RulesetFrame *frame, const Record *records, size_t n)
{
        _cleanup_(nft_batch_freep) NftBatch *b = nft_batch_new(e->nft);
        _cleanup_free_ const EgressPlan **plans = calloc(n + 1, sizeof(*plans));
        uint32_t before = 0;
        bool known;

        if (!b || !plans)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                plans[i] = record_plan(&records[i]);
        ruleset_replace(b, frame, plans, n, now_boottime());
        known = nft_read_generation(e->nft, &before) == 0;
        return commit(e, b, known, before);
}

static bool is_pending(const Record *c)
{
        return c->queued && !c->held;
}

/* Somebody flushed the table, or it is not what we believe: all of it again. */
static int rebuild(Enforcer *e)
{
        int r;

        for (size_t i = 0; i < e->n_records; i++)
                if (e->records[i].queued || e->records[i].held)
                        enforcer_hold_cut(e, &e->records[i]);
        r = enforcer_commit_table(e, &e->frame, e->records, e->n_records);
        if (r < 0)
                return r;
        for (size_t i = 0; i < e->n_records; i++)
                if (e->records[i].queued || e->records[i].held)
                        settle(e, &e->records[i], true);
        log_message(LOG_WARNING, LOG_FIELDS({ "REASON", "filter-rebuilt" }),
                    "The packet filter was not as it had been left, devices may have reached more "
                    "than they may: it is built anew");
        return 0;
}

/* Waits for the kernel: with a posture, or, where memory failed for that, with its closing. */
static bool is_held_back(const Record *c)
{
        return c->held && (c->queued || c->loose);
}

/* What comes for other devices does not put it off. */
static void arm_retry(Enforcer *e)
{
        bool any = false;

        for (size_t i = 0; i < e->n_records; i++)
                any = any || is_held_back(&e->records[i]);
        if (!any) {
                loop_timer_disarm(e->retry);
                e->retry_armed = false;
                e->retry_delay = ENFORCER_RETRY_MIN;
                return;
        }
        if (e->retry_armed)
                return;
        e->retry_armed = loop_timer_arm_relative(e->retry, e->retry_delay) == 0;
        if (!e->retry_armed)
                log_warning("Cannot arm a timer, ignoring");
        e->retry_delay = MIN(2 * e->retry_delay, ENFORCER_RETRY_MAX);
}

/* The kernel does not take the device's posture: close it. */
static void hold(Enforcer *e, Record *c, int error)
{
        int r;

        c->held = true;
        log_message_errno(
                LOG_ERR, error, LOG_FIELDS({ "DEVICE", c->name }, { "REASON", "filter-refused" }),
                "The packet filter did not take the posture of %s; it is closed", c->name);
        r = commit_one(e, c);
        c->loose = r < 0;
        if (r < 0)
                log_message_errno(LOG_CRIT, r,
                                  LOG_FIELDS({ "DEVICE", c->name }, { "REASON", "filter-refused" }),
                                  "Cannot close %s either; trying again", c->name);
}

void enforcer_hold(Enforcer *e, Record *c, int error)
{
        hold(e, c, error);
        arm_retry(e);
}

static void finish(Enforcer *e, const Record *c, int error)
{
        LIST_FOREACH (i, &e->waiters) {
                Waiter *w = LIST_ENTRY(i, Waiter, node);

                if (w->record != c || w->finished)
                        continue;
                w->finished = true;
                w->error = error;
        }
}

void enforcer_withdraw(Enforcer *e, Record *c, int error)
{
        egress_plan_done(&c->desired);
        c->queued = false;
        finish(e, c, error);
        if (loop_defer(e->flush) < 0)
                log_warning("Cannot tell who waits for the packet filter yet, ignoring");
}

/* A callback may ask for, or cancel, others: start over after each. */
static void call_waiters(Enforcer *e)
{
        for (bool again = true; again;) {
                again = false;
                LIST_FOREACH (i, &e->waiters) {
                        Waiter *w = LIST_ENTRY(i, Waiter, node);

                        if (!w->finished)
                                continue;
                        list_remove(&w->node);
                        w->done(w->error, w->userdata);
                        free(w);
                        again = true;
                        break;
                }
        }
}

static bool any_loose(const Enforcer *e)
{
        for (size_t i = 0; i < e->n_records; i++)
                if (e->records[i].loose)
                        return true;
        return false;
}

/* Together; if that fails the whole table; if that fails each alone, so that one device does not
 * close the others. Where not even closing one works there may be no table to close it in: the
 * whole of it with that one closed, or all would stay open for what one is refused. */
static void commit_pending(Enforcer *e)
{
        int r;

        for (size_t i = 0; i < e->n_records; i++)
                e->records[i].tried = is_pending(&e->records[i]);
        r = commit_marked(e, is_pending);
        if (r < 0)
                r = rebuild(e);
        for (size_t i = 0; i < e->n_records; i++) {
                Record *c = &e->records[i];
                int error = 0;

                if (!c->tried)
                        continue;
                if (r < 0 && (error = commit_one(e, c)) < 0)
                        hold(e, c, error);
                finish(e, c, error);
        }
        if (any_loose(e))
                rebuild(e);
        arm_retry(e);
}

int enforcer_flush(void *userdata)
{
        Enforcer *e = userdata;

        commit_pending(e);
        call_waiters(e);
        return 0;
}

int enforcer_commit(Enforcer *e, const char *device)
{
        const Record *c = hashmap_get(e->by_name, bytes_from_str(device));
        int r = 0;

        if (!c)
                return -ENODEV;
        if (is_pending(c))
                commit_pending(e);
        else if (!c->held && check_table(e) < 0)
                r = rebuild(e);
        return c->held ? -EIO : r;
}

int enforcer_retry(void *userdata)
{
        Enforcer *e = userdata;

        e->retry_armed = false;
        for (size_t i = 0; i < e->n_records; i++) {
                Record *c = &e->records[i];

                if (c->queued)
                        c->held = false;
                else if (c->held && c->loose)
                        c->loose = commit_one(e, c) < 0;
        }
        return enforcer_flush(e);
}
