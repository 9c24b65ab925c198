/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/trusted.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/evidence.h"
#include "daemon/ingress-coap.h"
#include "daemon/ingress-mqtt.h"
#include "daemon/trusted-internal.h"

/* ---- the files ---- */

char *trusted_fetched_path(const Settings *s)
{
        char *path = NULL;
        return asprintf(&path, "%s/" TRUSTED_FETCHED, s->state_directory) < 0 ? NULL : path;
}

int trusted_load(const Settings *s, Reason *reason, Trust **ret)
{
        _cleanup_free_ char *fetched = trusted_fetched_path(s);
        if (!fetched)
                return reason_set(reason, -ENOMEM, "Out of memory");
        const TrustFiles files = { .authorities = s->devices_ca,
                                   .lists = (const char *const *)s->devices_crl.words,
                                   .n_lists = s->devices_crl.n,
                                   .fetched = fetched };
        return trust_new(&files, reason, ret);
}

/* It counts all the same: whoever is on it stays out while nobody can fetch another. */
void trusted_tick(Trusted *t)
{
        TrustFacts f;
        char when[USEC_FORMAT_MAX];
        usec_t now = now_realtime();
        trust_facts(t->now, now, &f);
        if (t->overdue || f.next_update >= now)
                return;
        t->overdue = true;
        log_message(LOG_WARNING, LOG_FIELDS({ "REASON", "list-overdue" }),
                    "%s is a revocation list that was to be replaced by %s: it counts, but who was "
                    "revoked since then gets in",
                    f.oldest, usec_format_utc(f.next_update, when));
}

static void log_facts(Trusted *t)
{
        TrustFacts f;
        trust_facts(t->now, now_realtime(), &f);
        if (f.future)
                log_warning("%s is a revocation list from later than now: is the clock wrong? It "
                            "counts",
                            f.future);
        t->overdue = false;
        trusted_tick(t);
}

/* ---- devices ---- */

static Shown *find(const Trusted *t, const DeviceState *d)
{
        return hashmap_get(t->shown, bytes_from_str(d->device->name));
}

void trusted_note(Trusted *t, DeviceState *d, const PeerCertificate *certificate)
{
        Shown *s = find(t, d);
        if (!s && (s = calloc(1, sizeof(*s)))) {
                snprintf(s->device, sizeof(s->device), "%s", d->device->name);
                if (hashmap_put(t->shown, bytes_from_str(s->device), s) < 0) {
                        free(s);
                        s = NULL;
                }
        }
        if (s)
                s->chain = certificate->chain;
        else
                log_message(LOG_ERR, LOG_FIELDS({ "DEVICE", d->device->name }),
                            "No memory to note the certificate of %s: its revocation will end its "
                            "sessions alone",
                            d->device->name);
        if (!d->revoked)
                return;
        log_message(LOG_NOTICE, LOG_FIELDS({ "DEVICE", d->device->name }),
                    "%s shows a certificate that is not revoked (serial %s)", d->device->name,
                    certificate->serial);
        registry_set_revoked(t->gateway->registry, d, false, "", loop_now(t->gateway->loop));
        trusted_save(t);
}

void trusted_forget(Trusted *t, const DeviceState *d)
{
        Shown *s = find(t, d);
        if (d->revoked) /* it may be gone from what is kept */
                trusted_save(t);
        if (!s)
                return;
        hashmap_remove(t->shown, bytes_from_str(s->device));
        free(s);
}

void trusted_end_sessions(Gateway *g, DeviceState *d)
{
        ingress_mqtt_forget(g->mqtt, d);
        if (g->coap)
                ingress_coap_forget(g->coap, d);
}

static void close_device(Trusted *t, DeviceState *d, size_t link)
{
        Gateway *g = t->gateway;
        char reason[REASON_MAX];
        if (d->revoked)
                return;
        if (link == 0)
                snprintf(reason, sizeof(reason), "its certificate (serial %s) was revoked",
                         d->certificate_serial);
        else
                snprintf(reason, sizeof(reason),
                         "an authority of its certificate (serial %s) was revoked",
                         d->certificate_serial);
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", d->device->name }, { "REASON", "certificate-revoked" },
                               { "POSTURE", posture_to_string(POSTURE_UNATTESTED) }),
                    "%s is closed: %s", d->device->name, reason);
        attest_forget(g->attest, d);
        registry_set_revoked(g->registry, d, true, reason, loop_now(g->loop));
        /* Whatever they began with: this is what it showed last. Their wills are denied by now. */
        trusted_end_sessions(g, d);
        trusted_save(t);
}

/* What it has shown was shown by somebody who is not known any more. */
static void lose(Gateway *g, DeviceState *d)
{
        static const char reason[] = "the authority of its certificate is not trusted any more";
        log_message(LOG_NOTICE,
                    LOG_FIELDS({ "DEVICE", d->device->name }, { "REASON", "authority-removed" }),
                    "What %s has shown counts no more: %s", d->device->name, reason);
        attest_forget(g->attest, d);
        registry_set_posture(g->registry, d, POSTURE_UNATTESTED, reason, USEC_INFINITY,
                             loop_now(g->loop));
}

static void review_device(Trusted *t, DeviceState *d, usec_t now)
{
        Gateway *g = t->gateway;
        size_t link = 0;
        const Shown *s = find(t, d);
        TrustOutcome o = s ? trust_check(t->now, &s->chain, now, &link) : TRUST_OK;
        switch (o) {
        case TRUST_REVOKED:
                close_device(t, d, link);
                break;
        case TRUST_NO_ANCHOR:
                lose(g, d);
                trusted_forget(t, d);
                break;
        case TRUST_EXPIRED: /* it gets no new session, and keeps the one it has */
        case TRUST_OK:
                break;
        }
}

static void review(Trusted *t)
{
        Gateway *g = t->gateway;
        usec_t now = now_realtime();
        const char *closed = NULL;
        for (size_t i = 0; i < registry_size(g->registry); i++) {
                DeviceState *d = registry_at(g->registry, i);
                Posture before = device_state_effective(d);
                review_device(t, d, now);
                if (device_state_effective(d) != before)
                        closed = d->device->name;
        }
        ingress_mqtt_review(g->mqtt, t->now, now);
        if (g->coap)
                ingress_coap_review(g->coap, t->now, now);
        if (!closed)
                return;
        int r = enforcer_commit(g->enforcer, closed); /* all that is queued */
        if (r < 0)
                log_error_errno(r,
                                "The packet filter does not take what was revoked, trying again");
}

/* ---- changes ---- */

int trusted_take(Trusted *t, Trust *trust, bool tls13, Reason *reason)
{
        int r = ingress_mqtt_prepare(t->gateway->mqtt, trust, tls13, reason);
        if (r < 0)
                return r;
        trust_unref(t->next);
        t->next = trust_ref(trust);
        return 0;
}

int trusted_prepare(Trusted *t, const Settings *s, Trust *trust, Reason *reason)
{
        return trusted_take(t, trust, s->mqtt.minimum_tls == TLS_MINIMUM_1_3, reason);
}

void trusted_commit(Trusted *t)
{
        if (!t->next)
                return;
        trust_unref(t->now);
        t->now = TAKE_PTR(t->next);
        t->generation++;
        ingress_mqtt_commit(t->gateway->mqtt);
        if (t->gateway->coap)
                ingress_coap_set_trust(t->gateway->coap, t->now);
        log_facts(t);
        review(t);
}

void trusted_cancel(Trusted *t)
{
        ingress_mqtt_cancel(t->gateway->mqtt);
        t->next = trust_unref(t->next);
}

Trust *trusted_now(const Trusted *t)
{
        return t->now;
}

int trusted_new(Gateway *g, Reason *reason, Trusted **ret)
{
        _cleanup_(trusted_freep) Trusted *t = calloc(1, sizeof(*t));
        if (!t)
                return reason_set(reason, -ENOMEM, "Out of memory");
        t->gateway = g;
        t->shown = hashmap_new();
        if (!t->shown)
                return reason_set(reason, -ENOMEM, "Out of memory");
        int r = trusted_load(g->settings, reason, &t->now);
        if (r < 0)
                return r;
        log_facts(t);
        *ret = TAKE_PTR(t);
        return 0;
}

Trusted *trusted_free(Trusted *t)
{
        if (!t)
                return NULL;
        job_cancel(t->job);
        trusted_save_last(t);
        if (t->shown)
                HASHMAP_FOREACH (i, t->shown) {
                        free(i.value);
                }
        hashmap_free(t->shown);
        trust_unref(t->now);
        trust_unref(t->next);
        free(t);
        return NULL;
}
