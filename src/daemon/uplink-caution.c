/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/uplink-caution.h"

#define WAIT_DEFAULT (10 * USEC_PER_SEC)

void caution_init(Caution *c, usec_t wait)
{
        *c = (Caution){ 0 };
        suspects_init(&c->suspects, wait > 0 ? wait : WAIT_DEFAULT);
        window_init(&c->doubted);
}

void caution_done(Caution *c)
{
        suspects_done(&c->suspects);
        window_clear(&c->doubted);
}

void caution_connected(Caution *c, usec_t now)
{
        c->trial_from = usec_add(now, c->suspects.first_wait);
        c->sent = 0;
        c->answered = false;
}

static CautionVerdict strike(Caution *c, const InFlight *f, bool by_broker, usec_t now)
{
        CautionVerdict verdict = CAUTION_NOTHING;
        switch (suspects_strike(&c->suspects, f->id, f->device, by_broker, now)) {
        case SUSPECT_AGAIN:
                c->trial = f->id;
                return CAUTION_NOTHING;
        case SUSPECT_ASIDE:
                verdict = CAUTION_ASIDE;
                break;
        case SUSPECT_GUILTY:
                verdict = CAUTION_DROP;
                break;
        case SUSPECT_NO_ROOM:
                verdict = CAUTION_HOLD;
                break;
        }
        c->trial = 0;
        window_forget(&c->doubted, f->id);
        return verdict;
}

CautionVerdict caution_ended(Caution *c, Window *window, MqttEnd end, usec_t now)
{
        List *first = list_first(&window->entries);
        if (window->n == 1) {
                const InFlight *f = LIST_ENTRY(first, InFlight, link);
                if (end == MQTT_END_DENIED) {
                        caution_passed(c, f->id);
                        return CAUTION_HOLD;
                }
                if (c->sent == 1)
                        return strike(c, f, end == MQTT_END_BROKER, now);
                c->trial = f->id;
        } else if (end != MQTT_END_LINK || !c->answered) {
                window_move(&c->doubted, window);
        }
        return CAUTION_NOTHING;
}

bool caution_alone(const Caution *c)
{
        return c->trial != 0 || c->doubted.n > 0;
}

uint64_t caution_trial(Caution *c, usec_t now)
{
        if (c->trial == 0 && now >= c->trial_from)
                c->trial = suspects_due(&c->suspects, now);
        return c->trial;
}

usec_t caution_next(const Caution *c)
{
        return c->trial == 0 && c->suspects.n > 0 ? MAX(suspects_next(&c->suspects), c->trial_from)
                                                  : USEC_INFINITY;
}

bool caution_keeps(const Caution *c, uint64_t id)
{
        return c->suspects.n > 0 && suspects_has(&c->suspects, id);
}

size_t caution_count(const Caution *c)
{
        return c->suspects.n;
}

void caution_sent(Caution *c)
{
        c->sent++;
}

static void settle(Caution *c, uint64_t id)
{
        if (c->trial == id)
                c->trial = 0;
        window_forget(&c->doubted, id);
}

void caution_taken(Caution *c, uint64_t id, usec_t now)
{
        c->answered = true;
        settle(c, id);
        suspects_taken(&c->suspects, id, now);
}

void caution_passed(Caution *c, uint64_t id)
{
        settle(c, id);
        suspects_forget(&c->suspects, id);
}

void caution_idle(Caution *c)
{
        window_clear(&c->doubted);
}
