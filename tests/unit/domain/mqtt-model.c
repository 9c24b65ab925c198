/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

const char *const model_topics[2][MODEL_TOPICS] = {
        { "t/a", "t/b", "s" },
        { "dev1/t/a", "dev1/t/b", "dev1/s" },
};

#define OF_DEV1                                                                                    \
        {                                                                                          \
                { "t/a", 0, 1, false }, { "t/+", 0, 3, false }, { "dev1/t/b", 1, 2, false },       \
                        { "dev1/t/#", 1, 3, false }, { "$share/g/s", 0, 4, true },                 \
        }

const ModelFilter model_filters[MODEL_CLIENTS][MODEL_FILTERS] = {
        OF_DEV1,
        OF_DEV1,
        { { "dev1/t/a", 1, 1, false },
          { "dev1/t/+", 1, 3, false },
          { "dev1/t/b", 1, 2, false },
          { "dev1/t/#", 1, 3, false },
          { "$share/g/dev1/s", 1, 4, true } },
};

void model_init(Model *m)
{
        for (unsigned i = 0; i < MODEL_CLIENTS; i++) {
                ModelSession *s = &m->sessions[i];
                memset(s->last, 0xff, sizeof(s->last));
                s->will = MODEL_NONE;
                s->must_end_before = USEC_INFINITY;
                for (unsigned j = 0; j < MODEL_FILTERS; j++)
                        s->subscriptions[j].n = 1;
        }
}

void model_require(Model *m, bool ok, const char *what)
{
        if (ok || m->wrong)
                return;
        m->wrong = what;
        model_trace(m, "here: %s\n", what);
}

void model_trace(const Model *m, const char *format, ...)
{
        va_list args;
        if (!m->tracing)
                return;
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
}

/* ---- subscriptions ---- */

bool model_may_change(const ModelSession *s, unsigned filter)
{
        return s->subscriptions[filter].n + 4 < MODEL_CHANGES_MAX;
}

static ModelChange latest(const ModelSubscription *s)
{
        return s->changes[s->n - 1];
}

static void change(Model *m, ModelSubscription *s, ModelChange c)
{
        if (s->n == MODEL_CHANGES_MAX)
                abort();
        c.at = ++m->clock;
        s->changes[s->n++] = c;
}

void model_subscribing(Model *m, unsigned client, unsigned filter, uint8_t qos)
{
        ModelSubscription *s = &m->sessions[client].subscriptions[filter];
        ModelChange c = latest(s);
        c.qos_min = c.may ? MIN(c.qos_min, qos) : qos;
        c.qos_max = c.may ? MAX(c.qos_max, qos) : qos;
        c.may = true;
        s->n_asked++;
        change(m, s, c);
}

void model_subscribed(Model *m, unsigned client, unsigned filter, uint8_t qos)
{
        change(m, &m->sessions[client].subscriptions[filter],
               (ModelChange){ .may = true, .sure = true, .qos_min = qos, .qos_max = qos });
}

void model_unsubscribing(Model *m, unsigned client, unsigned filter)
{
        ModelSubscription *s = &m->sessions[client].subscriptions[filter];
        ModelChange c = latest(s);
        c.sure = false;
        change(m, s, c);
}

void model_unsubscribed(Model *m, unsigned client, unsigned filter)
{
        change(m, &m->sessions[client].subscriptions[filter], (ModelChange){ 0 });
}

/* What held from one moment to another: `may` at some time, `sure` all the time. */
static ModelChange holds(const ModelSubscription *s, uint64_t from, uint64_t until)
{
        ModelChange all = { .sure = true, .qos_min = 2 };
        for (unsigned i = 0; i < s->n; i++) {
                const ModelChange *c = &s->changes[i];
                uint64_t end = i + 1 < s->n ? s->changes[i + 1].at : UINT64_MAX;
                if (end <= from || c->at > until)
                        continue;
                all.may |= c->may;
                all.sure &= c->sure;
                if (c->sure && c->qos_min < all.qos_min)
                        all.qos_min = c->qos_min;
                if (c->may && c->qos_max > all.qos_max)
                        all.qos_max = c->qos_max;
        }
        return all;
}

/* The same of all subscriptions of a client that bring this message in this form, until it was
 * taken or `until`. */
static ModelChange expected_until(const Model *m, unsigned client, const ModelMessage *message,
                                  unsigned form, uint64_t until)
{
        ModelChange all = { 0 };
        for (unsigned i = 0; i < MODEL_FILTERS; i++) {
                const ModelFilter *f = &model_filters[client][i];
                bool own = message->publisher == client && m->sessions[client].no_local & 1u << i;
                if (f->form != form || !(f->topics & 1u << message->topic) || own)
                        continue;
                ModelChange c = holds(&m->sessions[client].subscriptions[i], message->from, until);
                all.may |= c.may;
                if (c.may && c.qos_max > all.qos_max)
                        all.qos_max = c.qos_max;
                if (c.sure && c.qos_min > all.qos_min)
                        all.qos_min = c.qos_min;
                all.sure |= c.sure;
        }
        return all;
}

/* What was for a group goes to whoever is in it when another's session ends. */
static ModelChange expected(const Model *m, unsigned client, const ModelMessage *message,
                            unsigned form)
{
        return expected_until(m, client, message, form,
                              message->topic == 2 ? UINT64_MAX : message->until);
}

static unsigned n_asked(const Model *m, unsigned client, unsigned topic, unsigned form)
{
        unsigned n = 0;
        for (unsigned i = 0; i < MODEL_FILTERS; i++) {
                const ModelFilter *f = &model_filters[client][i];
                if (f->form == form && !f->shared && f->topics & 1u << topic)
                        n += m->sessions[client].subscriptions[i].n_asked;
        }
        return n;
}

/* ---- messages ---- */

bool model_has_room(const Model *m)
{
        return m->n_messages < MODEL_MESSAGES_MAX;
}

unsigned model_publishing(Model *m, const ModelMessage *message)
{
        ModelMessage *to = &m->messages[m->n_messages];
        *to = *message;
        to->from = ++m->clock;
        to->until = UINT64_MAX;
        to->sent = m->world.realtime;
        to->ended = USEC_INFINITY;
        to->may_from = to->must_from = USEC_INFINITY;
        return m->n_messages++;
}

void model_published(Model *m, unsigned number, ModelOutcome outcome)
{
        ModelMessage *message = &m->messages[number];
        message->until = ++m->clock;
        message->ended = m->world.realtime;
        message->outcome = outcome;
        if (outcome == MODEL_REFUSED)
                model_require(m, message->qos < 2 || message->n_exact == 0,
                              "refused what was delivered");
        model_trace(m, "  message %u ends: %d\n", number, outcome);
}

/* It counts from when the server took it. */
static bool is_over(const Model *m, const ModelMessage *message, usec_t taken)
{
        return message->lifetime > 0 &&
               m->world.realtime >= usec_add(taken, message->lifetime * USEC_PER_SEC);
}

static bool may_have_expired(const Model *m, const ModelMessage *message)
{
        return is_over(m, message, message->sent);
}

static bool has_expired(const Model *m, const ModelMessage *message)
{
        return is_over(m, message, message->ended);
}

/* Whether all copies that come to a session are of one sending: a message with QoS 2 is taken once.
 * One that the disk refused may have gone out with QoS 1 before. */
static bool is_sent_once(const Model *m, const ModelMessage *message, const ModelArrival *a)
{
        return message->qos == 2 && (a->qos == 2 || !m->failed);
}

/* [MQTT-3.3.1-1], -2. It may have been sent before when there was another connection. */
static void check_dup(Model *m, const ModelSession *s, const ModelMessage *message,
                      const ModelCopy *copy, const ModelArrival *a)
{
        if (a->dup) {
                model_require(m, a->qos > 0, "DUP with QoS 0");
                model_require(m, message->from < s->link_ended,
                              "DUP on what cannot have been sent before");
        } else if (copy->packet_id > 0 && a->qos > 0 && !a->retain) {
                bool same = a->packet_id == copy->packet_id && copy->at > m->crashed;
                model_require(m, !same && !is_sent_once(m, message, a), "sent again without DUP");
        }
}

/* [MQTT-4.4.0-1] */
static void check_packet_id(Model *m, const ModelMessage *message, const ModelCopy *copy,
                            const ModelArrival *a)
{
        if (copy->packet_id > 0 && a->qos > 0 && is_sent_once(m, message, a))
                model_require(m, a->packet_id == copy->packet_id,
                              "sent again with another packet identifier");
}

static void check_qos(Model *m, const ModelMessage *message, const ModelChange *e,
                      const ModelArrival *a)
{
        model_require(m, e->may, "delivered to who did not subscribe");
        model_require(m, a->qos <= MIN(message->qos, e->qos_max), "too high a QoS");
        if (e->sure)
                model_require(m, a->qos >= MIN(message->qos, e->qos_min), "too low a QoS");
}

/* Section 3.3.2.3.3. What may have been sent before it expired goes on. */
static void check_expiry(Model *m, const ModelMessage *message, const ModelArrival *a)
{
        model_require(m, !a->has_expiry || message->lifetime > 0, "an expiry out of nowhere");
        model_require(m, !a->has_expiry || a->expiry <= message->lifetime, "an expiry that grows");
        if (a->fresh && !a->dup)
                model_require(m, !has_expired(m, message), "sent after it had expired");
}

/* [MQTT-4.6.0-5], -6: as they came for the first time. */
static void check_order(Model *m, ModelSession *s, unsigned number, unsigned form)
{
        const ModelMessage *message = &m->messages[number];
        int64_t *last = &s->last[message->publisher][message->topic][message->qos][form];
        if (message->will || message->topic == 2 || message->lifetime > 0)
                return;
        /* A message that the disk did not take is sent again behind others that were taken. */
        model_require(m, m->failed || *last < (int64_t)number, "a message overtook another");
        *last = MAX(*last, (int64_t)number);
}

static void on_retained(Model *m, unsigned client, ModelMessage *message, ModelCopy *copy,
                        unsigned form, const ModelArrival *a)
{
        copy->n_retained += !a->repeated && !a->dup;
        model_require(m, message->retain, "retained what was not to be retained");
        if (a->qos != 1)
                model_require(m, copy->n_retained <= n_asked(m, client, message->topic, form),
                              "a retained message that nobody asked for");
}

static void on_copy(Model *m, unsigned client, unsigned number, unsigned form,
                    const ModelArrival *a)
{
        ModelSession *s = &m->sessions[client];
        ModelMessage *message = &m->messages[number];
        ModelCopy *copy = &s->copies[number][form];
        ModelChange e = expected(m, client, message, form);
        check_qos(m, message, &e, a);
        check_packet_id(m, message, copy, a);
        if (copy->n == 0 && e.sure && (message->qos == 0 || e.qos_min > 0))
                check_order(m, s, number, form);
        copy->n += !a->repeated;
        message->n_shared += message->topic == 2 && !a->repeated;
        if (a->repeated || message->qos == 1 || a->qos != message->qos)
                return;
        model_require(m, ++copy->n_exact == 1, "delivered more than once");
        model_require(m, ++message->n_exact == 1 || message->topic != 2,
                      "delivered to two who share");
}

static bool find_form(const ModelMessage *message, Bytes topic, unsigned *ret)
{
        for (*ret = 0; *ret < 2; ++*ret)
                if (bytes_equal(topic, bytes_from_str(model_topics[*ret][message->topic])))
                        return true;
        return false;
}

void model_arrived(Model *m, unsigned client, const ModelArrival *a)
{
        unsigned form;
        model_trace(m, "  client %u gets message %d: QoS %u, id %u%s%s%s\n", client, (int)a->number,
                    a->qos, a->packet_id, a->dup ? ", dup" : "", a->retain ? ", retained" : "",
                    a->repeated ? ", again" : "");
        if (a->number == MODEL_NONE)
                return;
        model_require(m, a->number < m->n_messages, "a message that nobody sent");
        if (m->wrong)
                return;
        ModelMessage *message = &m->messages[a->number];
        model_require(m, find_form(message, a->topic, &form), "another topic");
        if (m->wrong)
                return;
        ModelCopy *copy = &m->sessions[client].copies[a->number][form];
        model_require(m, message->outcome != MODEL_REFUSED || message->qos < 2 || a->qos < 2,
                      "delivered what was refused");
        model_require(m, !message->will || message->may_from <= m->world.realtime,
                      "a will that was not due");
        check_dup(m, &m->sessions[client], message, copy, a);
        check_expiry(m, message, a);
        if (a->retain)
                on_retained(m, client, message, copy, form, a);
        else
                on_copy(m, client, a->number, form, a);
        if (a->retain || a->qos == 0)
                return;
        copy->packet_id = a->packet_id;
        copy->at = ++m->clock;
}

/* ---- the upstream ---- */

static void on_record(Model *m, unsigned number)
{
        ModelMessage *message = &m->messages[number];
        message->n_records++;
        model_trace(m, "  message %u is on its way upstream\n", number);
        model_require(m, message->qos == 1 || message->n_records == 1, "upstream more than once");
        if (!message->will)
                return;
        model_require(m, message->may_from <= m->world.realtime, "a will that was not due");
        model_require(m, message->n_records == 1, "a will more than once");
        model_published(m, number, MODEL_TAKEN);
}

void model_look_at_records(Model *m)
{
        const char *text;
        while ((text = mqtt_disk_get_record(&m->world.disk, m->n_records))) {
                const char *number = strrchr(text, '=') + 1;
                if (*number != '\0')
                        on_record(m, (unsigned)strtoul(number, NULL, 10));
                m->n_records++;
        }
}

/* ---- in the end ---- */

static void check_copy(Model *m, unsigned client, unsigned number, unsigned form)
{
        const ModelMessage *message = &m->messages[number];
        const ModelSession *s = &m->sessions[client];
        const ModelCopy *copy = &s->copies[number][form];
        ModelChange e = expected(m, client, message, form);
        if (message->topic == 2 || !e.sure || MIN(e.qos_min, message->qos) == 0 ||
            message->from <= s->since || may_have_expired(m, message))
                return;
        model_require(m, copy->n > 0, "a message was lost");
}

/* Whoever it went to must still be there. */
static void check_shared(Model *m, unsigned number)
{
        const ModelMessage *message = &m->messages[number];
        bool any = false;
        for (unsigned i = 0; i < MODEL_CLIENTS; i++) {
                const ModelSession *s = &m->sessions[i];
                ModelChange e =
                        expected_until(m, i, message, model_filters[i][4].form, message->until);
                if (message->from <= s->connected || (e.may && !e.sure) ||
                    (e.sure && e.qos_min == 0))
                        return;
                any |= e.sure;
        }
        if (message->topic == 2 && any && message->qos > 0 && !may_have_expired(m, message))
                model_require(m, message->n_shared > 0, "the shared subscription lost a message");
}

void model_check_messages(Model *m)
{
        for (unsigned i = 0; i < m->n_messages; i++) {
                const ModelMessage *message = &m->messages[i];
                if (message->outcome == MODEL_REFUSED && message->qos == 2)
                        model_require(m, message->n_records == 0, "upstream what was refused");
                if (message->outcome != MODEL_TAKEN || message->clear)
                        continue;
                model_trace(m, "look at message %u\n", i);
                model_require(m, message->n_records > 0, "the upstream does not get it");
                for (unsigned j = 0; j < MODEL_CLIENTS; j++) {
                        check_copy(m, j, i, 0);
                        check_copy(m, j, i, 1);
                }
                check_shared(m, i);
        }
}

/* ---- retained ---- */

static bool retains(const Model *m, const ModelMessage *message, unsigned topic)
{
        bool published = !message->will || message->may_from <= m->world.realtime;
        return message->retain && message->topic == topic && published;
}

/* By another that certainly came later. One with QoS 1 may be sent again behind one with QoS 2 that
 * was taken already. */
static bool is_superseded(const Model *m, unsigned topic, unsigned number)
{
        const ModelMessage *old = &m->messages[number];
        for (unsigned i = 0; i < m->n_messages; i++) {
                const ModelMessage *message = &m->messages[i];
                bool in_order = message->publisher == old->publisher && i > number && !m->failed &&
                                !old->will && !message->will &&
                                (old->qos != 1 || message->qos == 1);
                if (retains(m, message, topic) && message->outcome == MODEL_TAKEN &&
                    (message->from > old->until || in_order))
                        return true;
        }
        return false;
}

static bool may_be_nothing(const Model *m, unsigned topic)
{
        bool any = false;
        for (unsigned i = 0; i < m->n_messages; i++) {
                const ModelMessage *message = &m->messages[i];
                if (!retains(m, message, topic) || is_superseded(m, topic, i))
                        continue;
                if (message->clear || may_have_expired(m, message))
                        return true;
                any |= message->outcome == MODEL_TAKEN;
        }
        return !any;
}

bool model_may_be_retained(const Model *m, unsigned topic, unsigned number)
{
        if (number == MODEL_NONE)
                return may_be_nothing(m, topic);
        return retains(m, &m->messages[number], topic) && !is_superseded(m, topic, number) &&
               !has_expired(m, &m->messages[number]);
}
