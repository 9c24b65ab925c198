/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Which sessions are there, for how long, and when their wills are due. */

#include "mqtt-model.h"

static usec_t after(const Model *m, uint32_t seconds)
{
        return seconds == UINT32_MAX ? USEC_INFINITY
                                     : usec_add(m->world.realtime, seconds * USEC_PER_SEC);
}

/* ---- wills ---- */

static ModelMessage *will_of(Model *m, const ModelSession *s)
{
        return s->will == MODEL_NONE ? NULL : &m->messages[s->will];
}

/* Section 3.1.3.2.2: after its delay or with its session, whichever comes first. */
static void begin_delay(Model *m, const ModelSession *s, ModelMessage *will)
{
        if (will->may_from == USEC_INFINITY)
                will->from = ++m->clock;
        will->may_from = MIN(will->may_from, after(m, MIN(will->delay, s->shorter)));
        will->must_from = will->sure ? after(m, MIN(will->delay, s->longer)) : USEC_INFINITY;
        model_trace(m, "  will %u is due within %us to %us\n", s->will,
                    MIN(will->delay, s->shorter), MIN(will->delay, s->longer));
}

/* The client is back, or said goodbye. What is due already is on its way. */
static void withdraw(Model *m, ModelMessage *will)
{
        if (will->must_from <= m->world.realtime)
                return;
        will->must_from = USEC_INFINITY;
        if (will->may_from > m->world.realtime)
                will->may_from = USEC_INFINITY;
        will->withdrawn = ++m->clock;
}

static void end_with_session(Model *m, ModelMessage *will)
{
        if (will->may_from > m->world.realtime && will->may_from == USEC_INFINITY)
                will->from = ++m->clock;
        will->may_from = MIN(will->may_from, m->world.realtime);
        if (will->sure)
                will->must_from = MIN(will->must_from, m->world.realtime);
}

/* Another connection takes its place. */
static void replace_will(Model *m, ModelSession *s, const ModelConnect *c)
{
        ModelMessage *will = will_of(m, s);
        if (will && will->withdrawn == 0) {
                if (c->clean)
                        end_with_session(m, will);
                else
                        withdraw(m, will);
        }
        s->will = c->will;
}

/* Nothing of what was not settled has happened: one that another took the place of is back, or that
 * other is, and a delay may begin anew. */
static void revive_will(const Model *m, ModelMessage *will, bool current)
{
        if (will->withdrawn > m->settled)
                will->may_from = MIN(will->may_from, m->world.realtime);
        bool due = will->must_from <= m->world.realtime;
        if (will->withdrawn > m->settled || (!current && !due))
                will->must_from = USEC_INFINITY;
        else if (will->must_from != USEC_INFINITY)
                will->must_from = MAX(will->must_from, after(m, will->delay));
}

static void revive_wills(Model *m)
{
        for (unsigned i = 0; i < m->n_messages; i++) {
                ModelMessage *will = &m->messages[i];
                if (will->will && will->n_records == 0)
                        revive_will(m, will, m->sessions[will->publisher].will == i);
        }
}

void model_check_wills(Model *m)
{
        for (unsigned i = 0; i < m->n_messages; i++) {
                const ModelMessage *will = &m->messages[i];
                if (!will->will || will->must_from > m->world.realtime || will->n_records > 0)
                        continue;
                model_trace(m, "will %u is missing\n", i);
                model_require(m, false, "a will was not published");
        }
}

/* ---- sessions ---- */

void model_attached(Model *m, unsigned client, ModelConnect *c)
{
        ModelSession *s = &m->sessions[client];
        c->may_be = !c->clean && m->world.realtime < s->may_end;
        c->must_be = !c->clean && s->known && m->world.realtime < s->must_end;
        model_trace(m, "  client %u was taken in; session: %d to %d\n", client, c->must_be,
                    c->may_be);
        replace_will(m, s, c);
        s->must_end_before = MIN(s->must_end, s->must_end_before);
        s->shorter = c->must_be ? MIN(s->shorter, c->expiry) : c->expiry;
        s->longer = c->may_be || c->clean ? MAX(s->longer, c->expiry) : c->expiry;
        s->earlier = MAX(s->earlier, s->longer);
        s->attached = true;
}

/* Subscriptions ended with CONNECT, at the latest. */
static void forget_session(Model *m, ModelSession *s, uint64_t at)
{
        s->since = at;
        s->connected = ++m->clock;
        memset(s->copies, 0, sizeof(s->copies));
        memset(s->last, 0xff, sizeof(s->last));
        for (unsigned i = 0; i < MODEL_FILTERS; i++) {
                ModelSubscription *t = &s->subscriptions[i];
                t->n_asked = 0;
                if (t->changes[t->n - 1].may)
                        t->changes[t->n++] = (ModelChange){ .at = at };
        }
}

bool model_connected(Model *m, unsigned client, const ModelConnect *c, bool present)
{
        ModelSession *s = &m->sessions[client];
        model_trace(m, "  client %u is connected, session %s\n", client,
                    present ? "present" : "new");
        model_require(m, present || !c->must_be, "a session was lost");
        model_require(m, !present || c->may_be, "a session that should not be there");
        s->known = true;
        s->must_end_before = USEC_INFINITY;
        s->shorter = s->longer = s->earlier = c->expiry;
        if (c->will != MODEL_NONE)
                m->messages[c->will].sure = true;
        if (!present)
                forget_session(m, s, c->at);
        return present;
}

void model_detached(Model *m, unsigned client, ModelGoodbye goodbye, const uint32_t *expiry)
{
        ModelSession *s = &m->sessions[client];
        ModelMessage *will = will_of(m, s);
        s->link_ended = s->closed = ++m->clock;
        s->attached = false;
        s->earlier = MAX(s->earlier, s->longer);
        if (expiry)
                s->shorter = s->longer = *expiry;
        s->must_end = after(m, s->shorter);
        s->may_end = after(m, s->longer);
        model_trace(m, "  client %u has left, for %u to %u s\n", client, s->shorter, s->longer);
        if (will && goodbye == MODEL_GOODBYE)
                withdraw(m, will);
        else if (will)
                begin_delay(m, s, will);
}

void model_crashed(Model *m)
{
        revive_wills(m);
        for (unsigned i = 0; i < MODEL_CLIENTS; i++) {
                ModelSession *s = &m->sessions[i];
                ModelMessage *will = will_of(m, s);
                if (!s->attached && s->closed <= m->settled)
                        continue;
                s->longer = MAX(s->longer, s->earlier);
                if (s->attached)
                        s->link_ended = s->closed = ++m->clock;
                if (s->attached && will)
                        begin_delay(m, s, will);
                if (s->attached || s->must_end > after(m, s->shorter))
                        s->must_end = after(m, s->shorter);
                s->must_end = MIN(s->must_end, s->must_end_before);
                s->may_end = after(m, s->longer);
                s->attached = false;
        }
        m->crashed = ++m->clock;
}
