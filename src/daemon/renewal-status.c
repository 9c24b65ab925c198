/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the certificate is like, for the operator: Status, the line of systemctl status, the
 * journal. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/renewal-internal.h"

static const char *const validities[] = {
        [VALIDITY_OK] = "ok",
        [VALIDITY_NOT_YET] = "not-yet-valid",
        [VALIDITY_EXPIRED] = "expired",
};

static const char *const states[_RENEWAL_STATE_MAX] = {
        [RENEWAL_IDLE] = "idle",       [RENEWAL_ASKING] = "asking",   [RENEWAL_TRYING] = "trying",
        [RENEWAL_FAILING] = "failing", [RENEWAL_REFUSED] = "refused",
};

static Validity validity_of(const Renewal *r, const Lifetime *l)
{
        return lifetime_validity(l, now_realtime());
}

/* CLOCK_BOOTTIME of what comes next; 0: nothing does. */
static usec_t next_try(const Renewal *r)
{
        if (r->candidate)
                return r->trying ? 0 : r->try_at;
        if (r->est)
                return est_waits_until(r->est);
        const Settings *s = r->gateway->settings;
        Lifetime l = renewal_lifetime(r);
        bool due = now_realtime() >= renewal_due(&l, s->enrollment.renew_at, r->jitter);
        return s->enrollment.server && due ? r->ask_at : 0;
}

/* In units that mean something to people: days, or what there is of one. */
static const char *coarse(usec_t t, char ret[static USEC_FORMAT_MAX])
{
        usec_t unit = t >= USEC_PER_DAY    ? USEC_PER_DAY
                      : t >= USEC_PER_HOUR ? USEC_PER_MIN
                                           : USEC_PER_SEC;
        if (t < unit)
                return "a moment";
        return usec_format_span(t / unit * unit, ret);
}

static size_t add_validity(const Renewal *r, char *ret, size_t size)
{
        char span[USEC_FORMAT_MAX], at[USEC_FORMAT_MAX];
        Lifetime l = renewal_lifetime(r);
        usec_t now = now_realtime();
        switch (lifetime_validity(&l, now)) {
        case VALIDITY_OK:
                break;
        case VALIDITY_EXPIRED:
                return (size_t)snprintf(ret, size, "certificate expired %s ago",
                                        coarse(now - l.not_after, span));
        case VALIDITY_NOT_YET:
                return (size_t)snprintf(ret, size,
                                        "certificate not valid before %s (is the clock right?)",
                                        usec_format_utc(l.not_before, at));
        }
        return 0;
}

void renewal_problem(const Renewal *r, char ret[static RENEWAL_TEXT_MAX])
{
        char span[USEC_FORMAT_MAX], again[USEC_FORMAT_MAX + 16] = "";
        usec_t next = next_try(r), now = now_boottime();
        const char *what = r->state == RENEWAL_REFUSED   ? "new certificate refused"
                           : r->state == RENEWAL_FAILING ? "renewal failing"
                           : r->told                     ? "new certificate waits"
                                                         : NULL;
        ret[0] = '\0';
        size_t len = add_validity(r, ret, RENEWAL_TEXT_MAX);
        if (next > now)
                snprintf(again, sizeof(again), ", next try in %s", coarse(next - now, span));
        if (what)
                snprintf(ret + len, RENEWAL_TEXT_MAX - len, "%s%s: %s%s", len > 0 ? "; " : "", what,
                         r->reason, again);
}

void renewal_warn(Renewal *r)
{
        static const char *const reasons[] = {
                [VALIDITY_OK] = "renewal",
                [VALIDITY_NOT_YET] = "not-yet-valid",
                [VALIDITY_EXPIRED] = "expired",
        };
        char text[RENEWAL_TEXT_MAX];
        Lifetime l = renewal_lifetime(r);
        Validity v = validity_of(r, &l);
        usec_t now = now_boottime();
        bool changed = v != r->warned_of;
        if (!changed && r->warned_at != 0 && now < usec_add(r->warned_at, USEC_PER_DAY))
                return;
        renewal_problem(r, text);
        if (changed && v == VALIDITY_OK)
                log_notice("The identity's certificate is valid again");
        if (v == VALIDITY_OK && r->state != RENEWAL_FAILING && r->state != RENEWAL_REFUSED) {
                r->warned_of = v;
                return;
        }
        log_message(LOG_WARNING, LOG_FIELDS({ "REASON", reasons[v] }),
                    "The identity needs attention, devices are served on: %s", text);
        r->warned_of = v;
        r->warned_at = now;
}

static json_t *seconds_until(usec_t at)
{
        usec_t now = now_boottime();
        return at == 0 ? json_null()
                       : json_real((double)(at > now ? at - now : 0) / (double)USEC_PER_SEC);
}

json_t *renewal_status(const Renewal *r)
{
        char from[USEC_FORMAT_MAX], until[USEC_FORMAT_MAX], due[USEC_FORMAT_MAX];
        char problem[RENEWAL_TEXT_MAX];
        const Settings *s = r->gateway->settings;
        Lifetime l = renewal_lifetime(r);
        bool on = s->enrollment.server;
        renewal_problem(r, problem);
        usec_format_utc(renewal_due(&l, s->enrollment.renew_at, r->jitter), due);
        return json_pack(
                "{s:s, s:s, s:s, s:s, s:I, s:s?, s:s, s:o, s:b, s:s}", "validity",
                validities[validity_of(r, &l)], "renewal",
                on || r->candidate || r->state == RENEWAL_REFUSED ? states[r->state] : "off",
                "not_before", usec_format_utc(l.not_before, from), "not_after",
                usec_format_utc(l.not_after, until), "days_left",
                (json_int_t)usec_days_left(l.not_after, now_realtime()), "renew_at",
                on ? due : NULL, "reason", r->reason, "next_try_seconds",
                seconds_until(next_try(r)), "candidate", r->candidate != NULL, "problem", problem);
}
