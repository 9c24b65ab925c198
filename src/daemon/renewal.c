/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/renewal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/renewal-internal.h"
#include "platform/crypto.h"

/* A CA whose people decide may take so long. */
#define PATIENCE USEC_PER_DAY
/* Until a candidate is tried again at an upstream that could not be reached. */
#define TRY_FIRST (5 * USEC_PER_SEC)
#define TRY_MAX   (10 * USEC_PER_MIN)
/* Ends without a word, while the connection in use goes on, that count as a refusal. */
#define DOUBTS_MAX 3

Lifetime renewal_lifetime(const Renewal *r)
{
        IdentityCertificate c;
        Reason reason;
        if (identity_certificate(r->gateway->identity, &c, &reason) < 0)
                return (Lifetime){ 0 };
        return (Lifetime){ c.not_before, c.not_after };
}

bool renewal_must_certify(const Renewal *r)
{
        return r->gateway->tls_key == TLS_KEY_MINTED;
}

static void set_state(Renewal *r, RenewalState state, const char *reason)
{
        r->state = state;
        snprintf(r->reason, sizeof(r->reason), "%.*s", (int)sizeof(r->reason) - 1, reason);
}

/* Not sooner than a tenth of what is left, should the CA give one that is due at once. */
static void rest(Renewal *r)
{
        Lifetime l = renewal_lifetime(r);
        usec_t now = now_realtime();
        usec_t left = l.not_after > now ? l.not_after - now : 0;
        r->failures = 0;
        r->jitter = crypto_jitter();
        r->ask_at = usec_add(now_boottime(), left / 10);
}

static void put_off(Renewal *r)
{
        Lifetime l = renewal_lifetime(r);
        usec_t pause = renewal_pause(&l, now_realtime(), ++r->failures, crypto_jitter());
        r->ask_at = usec_add(now_boottime(), pause);
}

static void failed(Renewal *r, const char *reason)
{
        char span[USEC_FORMAT_MAX];
        bool news = r->state != RENEWAL_FAILING || strcmp(r->reason, reason) != 0;
        put_off(r);
        set_state(r, RENEWAL_FAILING, reason);
        r->warned_at = news ? now_boottime() : r->warned_at;
        usec_format_span((r->ask_at - now_boottime()) / USEC_PER_SEC * USEC_PER_SEC, span);
        log_message(news ? LOG_WARNING : LOG_DEBUG, LOG_FIELDS({ "REASON", reason }),
                    "The identity's certificate is not renewed, trying again in %s: %s", span,
                    reason);
}

/* Whether the certificate is to be renewed, and nobody is at it. */
static bool may_ask(const Renewal *r, const Lifetime *l)
{
        const Settings *s = r->gateway->settings;
        usec_t now = now_realtime();
        return !r->candidate && !r->est && s->enrollment.server &&
               (r->wanted || (lifetime_validity(l, now) != VALIDITY_NOT_YET &&
                              now >= renewal_due(l, s->enrollment.renew_at, r->jitter)));
}

/* The next look: when something is due, and often enough for a clock that jumps. */
static int arm(Renewal *r)
{
        Lifetime l = renewal_lifetime(r);
        usec_t at = usec_add(now_boottime(), renewal_tick(&l));
        if (r->candidate && !r->trying)
                at = MIN(at, r->try_at);
        else if (may_ask(r, &l))
                at = MIN(at, MAX(r->ask_at, now_boottime() + USEC_PER_MSEC));
        return loop_timer_arm(r->timer, at);
}

/* ---- the candidate ---- */

static void forget_candidate(Renewal *r)
{
        if (r->trying)
                uplink_stop_trial(r->gateway->uplink);
        r->trying = r->told = false;
        r->doubts = r->tries = 0;
        r->credential = credential_unref(r->credential);
        r->candidate = identity_candidate_free(r->candidate);
}

static void refuse(Renewal *r, const char *why)
{
        log_message(LOG_WARNING, LOG_FIELDS({ "REASON", why }),
                    "The new certificate of the identity is not taken, the old one stays: %s", why);
        renewal_write(r, RENEWAL_REFUSE, why);
}

static void refused(Renewal *r)
{
        if (r->outcome < 0)
                log_warning("The refused certificate is not set aside: %s, ignoring", r->said.text);
        forget_candidate(r);
        put_off(r);
        set_state(r, RENEWAL_REFUSED, r->why);
        r->warned_at = now_boottime();
}

static void promoted(Renewal *r)
{
        char until[USEC_FORMAT_MAX];
        if (r->outcome < 0) {
                failed(r, r->said.text);
                r->try_at = usec_add(now_boottime(), TRY_MAX);
                return;
        }
        log_notice("The identity has a new certificate, valid until %s",
                   usec_format_utc(identity_candidate_not_after(r->candidate), until));
        gateway_certificate_changed(r->gateway, r->credential);
        forget_candidate(r);
        rest(r);
        set_state(r, RENEWAL_IDLE, "");
}

static void wait_for_upstream(Renewal *r, const char *reason)
{
        r->doubts = 0;
        r->try_at = usec_add(now_boottime(), MIN(TRY_FIRST << MIN(r->tries, 16U), TRY_MAX));
        r->tries++;
        if (!r->told)
                log_message(LOG_NOTICE, LOG_FIELDS({ "REASON", reason }),
                            "The new certificate of the identity waits until the upstream can be "
                            "reached: %s",
                            reason);
        r->told = true;
        set_state(r, RENEWAL_TRYING, reason);
}

/* An end without a word says something only while another connection goes well. */
static void doubt(Renewal *r, const char *reason)
{
        UplinkStats s;
        uplink_stats(r->gateway->uplink, &s);
        if (!s.connected)
                wait_for_upstream(r, reason);
        else if (++r->doubts >= DOUBTS_MAX)
                refuse(r, reason);
        else
                r->try_at = usec_add(now_boottime(), TRY_FIRST);
}

static void on_tried(UplinkVerdict verdict, const char *reason, void *userdata)
{
        Renewal *r = userdata;
        r->trying = false;
        switch (verdict) {
        case UPLINK_ACCEPTED:
                renewal_write(r, RENEWAL_PROMOTE, "");
                break;
        case UPLINK_REFUSED:
                refuse(r, reason);
                break;
        case UPLINK_DOUBTED:
                doubt(r, reason);
                break;
        case UPLINK_UNREACHABLE:
                wait_for_upstream(r, reason);
                break;
        }
        arm(r);
}

/* Without a credential of it there is nothing to try. */
static bool make_credential(Renewal *r)
{
        Reason reason;
        if (r->credential ||
            identity_candidate_credential(r->candidate, &r->credential, &reason) == 0)
                return true;
        refuse(r, reason.text);
        return false;
}

static void try_candidate(Renewal *r)
{
        Gateway *g = r->gateway;
        if (identity_candidate_not_after(r->candidate) <= now_realtime()) {
                refuse(r, "it expired before the upstream could be reached");
                return;
        }
        if (!make_credential(r))
                return;
        if (!g->uplink) {
                renewal_write(r, RENEWAL_PROMOTE, "");
                return;
        }
        int e = uplink_try_credential(g->uplink, r->credential, on_tried, r);
        r->trying = e == 0;
        r->try_at = usec_add(now_boottime(), TRY_FIRST);
        if (e < 0 && e != -EBUSY)
                log_warning_errno(e, "Cannot try the new certificate, trying again");
}

/* Takes it over; it is tried when the timer looks. */
static void set_candidate(Renewal *r, IdentityCandidate *c)
{
        forget_candidate(r);
        r->candidate = c;
        r->try_at = 0;
        set_state(r, RENEWAL_TRYING, "");
}

/* ---- the EST server ---- */

/* A CA may have come to shorter lifetimes; what it repeats is not worth a trial. */
static bool is_newer(const IdentityCandidate *c, const Lifetime *present)
{
        return identity_candidate_not_after(c) > present->not_after ||
               identity_candidate_not_before(c) > present->not_before;
}

static void check_new(Renewal *r, const char *pem)
{
        const Settings *s = r->gateway->settings;
        IdentityCandidate *c;
        Reason reason;
        Lifetime l = renewal_lifetime(r);
        int e = identity_candidate_new(r->gateway->identity, bytes_from_str(pem), s->enrollment.ca,
                                       renewal_must_certify(r), &c, &reason);
        if (e == 0 && !is_newer(c, &l)) {
                identity_candidate_free(c);
                e = reason_set(&reason, -EBADMSG,
                               "It begins and ends no later than the one in force");
        }
        if (e < 0) {
                char why[sizeof(r->reason)];
                snprintf(why, sizeof(why), "the EST server's certificate is not good: %.200s",
                         reason.text);
                failed(r, why);
                return;
        }
        set_candidate(r, c);
        renewal_write(r, RENEWAL_SAVE, "");
}

static void saved(const Renewal *r)
{
        if (r->outcome < 0)
                log_warning("The new certificate would not survive a restart: %s, ignoring",
                            r->said.text);
}

static void on_answer(const EstResult *result, void *userdata)
{
        Renewal *r = userdata;
        r->est = NULL;
        if (result->pem)
                check_new(r, result->pem);
        else
                failed(r, result->reason);
        arm(r);
}

static void ask(Renewal *r)
{
        Gateway *g = r->gateway;
        const Settings *s = g->settings;
        Reason reason;
        const EstParams p = {
                .loop = g->loop,
                .identity = g->identity,
                .server = s->enrollment.server,
                .label = s->enrollment.label,
                .ca = s->enrollment.ca,
                .credential = g->client_credential,
                .renewal = true,
                .patience = PATIENCE,
        };
        r->wanted = false;
        if (est_start(&p, on_answer, r, &r->est, &reason) < 0) {
                failed(r, reason.text);
                return;
        }
        if (r->failures == 0)
                log_info("Renewing the identity's certificate at %s", s->enrollment.server);
        if (r->state == RENEWAL_IDLE)
                set_state(r, RENEWAL_ASKING, "");
}

static int on_tick(void *userdata)
{
        Renewal *r = userdata;
        Lifetime l = renewal_lifetime(r);
        if (r->task != RENEWAL_NOTHING)
                return 0; /* it looks at its end */
        if (r->candidate && !r->trying && now_boottime() >= r->try_at)
                try_candidate(r);
        else if (may_ask(r, &l) && now_boottime() >= r->ask_at)
                ask(r);
        renewal_warn(r);
        return arm(r);
}

/* ---- from outside ---- */

void renewal_stop_trial(Renewal *r)
{
        if (r->trying)
                uplink_stop_trial(r->gateway->uplink);
        r->trying = false;
        r->try_at = usec_add(now_boottime(), TRY_FIRST);
}

bool renewal_busy(const Renewal *r)
{
        return r && r->task != RENEWAL_NOTHING;
}

void renewal_stop(Renewal *r)
{
        renewal_stop_trial(r);
        r->est = est_cancel(r->est);
        r->stopped = true;
        loop_timer_disarm(r->timer);
}

int renewal_begin(Renewal *r, const char **ret_message)
{
        if (!r->gateway->settings->enrollment.server) {
                *ret_message = "no EST server is configured: see Server= of [Enrollment]";
                return -ENOTSUP;
        }
        if (r->stopped || r->task != RENEWAL_NOTHING || r->candidate || r->est) {
                *ret_message = "a new certificate is under way already; sallyportctl status tells "
                               "how it goes";
                return -EBUSY;
        }
        r->wanted = true;
        r->ask_at = 0;
        return loop_timer_arm_relative(r->timer, 0);
}

static void adopted(Renewal *r)
{
        if (r->outcome > 0) {
                log_info("A certificate was installed for the identity, trying it");
                r->est = est_cancel(r->est);
                set_candidate(r, TAKE_PTR(r->found));
        } else if (r->outcome < 0) {
                log_message(LOG_WARNING, LOG_FIELDS({ "REASON", r->said.text }),
                            "The certificate that was installed is not taken, the one in force "
                            "stays: %s",
                            r->said.text);
                if (r->outcome == -EBADMSG)
                        set_state(r, RENEWAL_REFUSED, r->said.text);
        }
        r->ask_at = r->failures > 0 ? 0 : r->ask_at;
        r->failures = 0;
}

void renewal_reloaded(Renewal *r)
{
        if (r->stopped)
                return;
        r->reloaded = r->task != RENEWAL_NOTHING;
        if (!r->reloaded)
                renewal_write(r, RENEWAL_ADOPT, "");
}

/* ---- tasks ---- */

void renewal_written(Renewal *r, RenewalTask task)
{
        switch (task) {
        case RENEWAL_SAVE:
                saved(r);
                break;
        case RENEWAL_PROMOTE:
                promoted(r);
                break;
        case RENEWAL_REFUSE:
                refused(r);
                break;
        case RENEWAL_ADOPT:
                adopted(r);
                break;
        case RENEWAL_NOTHING:
                break;
        }
        if (r->stopped)
                return;
        if (r->reloaded)
                renewal_reloaded(r);
        loop_timer_arm_relative(r->timer, 0);
}

static void take_up(Renewal *r)
{
        IdentityCandidate *c;
        Reason reason;
        int e = identity_candidate_load(r->gateway->identity, renewal_must_certify(r), &c, &reason);
        if (e == 0)
                set_candidate(r, c);
        else if (e != -ENOENT)
                log_warning("A new certificate waits since before the start, but cannot be used: "
                            "%s, ignoring",
                            reason.text);
}

int renewal_new(Gateway *g, Renewal **ret)
{
        Renewal *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->gateway = g;
        r->jitter = crypto_jitter();
        int e = loop_add_timer(g->loop, &r->timer, LOOP_FATAL, on_tick, r);
        if (e == 0)
                e = renewal_write_init(r);
        if (e == 0)
                e = loop_timer_arm_relative(r->timer, 0);
        if (e < 0) {
                renewal_free(r);
                return e;
        }
        take_up(r);
        *ret = r;
        return 0;
}

Renewal *renewal_free(Renewal *r)
{
        if (!r)
                return NULL;
        est_cancel(r->est);
        identity_candidate_free(r->found);
        forget_candidate(r);
        loop_source_free(r->timer);
        loop_source_free(r->turn);
        free(r);
        return NULL;
}
