/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/reload.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "daemon/crl-fetch.h"
#include "daemon/evidence.h"
#include "daemon/ingress-mqtt.h"
#include "daemon/references.h"
#include "daemon/renewal.h"
#include "daemon/startup.h"
#include "daemon/trusted.h"
#include "platform/fiber.h"
#include "platform/job.h"
#include "platform/notify.h"

/* A device that is enrolled anew. */
typedef struct Renewed {
        DeviceState *device;
        const char *why;
        bool loses; /* a verdict was in force */
} Renewed;

/* A device that has to connect anew. */
typedef struct Disconnected {
        DeviceState *device;
        bool known_otherwise; /* false: other rules hold for it */
} Disconnected;

/* Everything that a new configuration brings, while it may still be refused. */
typedef struct Change {
        Settings *settings;
        ReferenceSet *references;
        Disconnected *disconnect;
        size_t n_disconnect;
        Renewed *renewed;
        size_t n_renewed;
        bool upstream; /* is another */
} Change;

static void change_done(Change *c)
{
        settings_free(c->settings);
        reference_set_unref(c->references);
        free(c->disconnect);
        free(c->renewed);
}

static int check_restart(const Gateway *g, const Settings *fresh, Reason *reason)
{
        char keys[400];
        if (!reload_needs_restart(g->settings, fresh, keys, sizeof(keys)))
                return 0;
        return reason_set(reason, -EBUSY, "%s changed, which takes systemctl restart sallyportd",
                          keys);
}

/* While both configurations are there to compare. */
static int find_changed(const Gateway *g, Change *c)
{
        c->disconnect = calloc(registry_size(g->registry) + 1, sizeof(*c->disconnect));
        c->renewed = calloc(registry_size(g->registry) + 1, sizeof(*c->renewed));
        if (!c->disconnect || !c->renewed)
                return -ENOMEM;
        for (size_t i = 0; i < registry_size(g->registry); i++) {
                DeviceState *d = registry_at(g->registry, i);
                const Device *fresh = settings_device(c->settings, d->device->name);
                const char *why = fresh ? registry_enrolled_anew(d->device, fresh) : NULL;
                bool otherwise = fresh && reload_ends_sessions(d->device, fresh);
                if (otherwise || (fresh && reload_changes_rules(d->device, fresh)))
                        c->disconnect[c->n_disconnect++] = (Disconnected){ d, otherwise };
                if (why)
                        c->renewed[c->n_renewed++] =
                                (Renewed){ d, why, d->posture != POSTURE_UNATTESTED };
        }
        return 0;
}

/* The packet filter goes last: it is the kernel's to refuse, and after it nothing can fail. */
static int prepare(Gateway *g, Change *c, Trust *trust, Reason *reason)
{
        Settings *s = c->settings;
        int r = references_load((const char *const *)s->reference_values.words,
                                s->reference_values.n, &c->references);
        if (r < 0)
                return reason_set(reason, r, "the reference values cannot be used");
        r = find_changed(g, c);
        if (r >= 0)
                r = attest_reserve(g->attest, s->n_devices);
        if (r >= 0)
                r = registry_prepare(g->registry, s->devices, s->n_devices, loop_now(g->loop));
        if (r < 0)
                return reason_set(reason, r, "the devices cannot be taken over");
        r = trusted_prepare(g->trusted, s, trust, reason);
        if (r >= 0) {
                r = gateway_load_filter(g, s);
                if (r < 0)
                        reason_set(reason, r, "the packet filter does not take it");
        }
        if (r < 0) {
                trusted_cancel(g->trusted);
                registry_cancel(g->registry);
        }
        return r;
}

static void device_removed(DeviceState *d, void *userdata)
{
        Gateway *g = userdata;
        log_message(LOG_NOTICE, LOG_FIELDS({ "DEVICE", d->device->name }),
                    "%s is no longer configured: its sessions end", d->device->name);
        attest_forget(g->attest, d);
        trusted_end_sessions(g, d);
        trusted_forget(g->trusted, d);
}

/* The registry has taken the posture; the evidence, the result and the nonces go as well. */
static void device_renewed(Gateway *g, const Renewed *r)
{
        const char *name = r->device->device->name;
        if (r->loses)
                log_message(LOG_NOTICE,
                            LOG_FIELDS({ "DEVICE", name }, { "REASON", "enrolled-anew" }),
                            "What %s has shown counts no more, it is %s", name, r->why);
        attest_forget(g->attest, r->device);
}

/* Who is held to other rules stays who it is: what it has shown counts. */
static void disconnect(Gateway *g, const Disconnected *c)
{
        DeviceState *d = c->device;
        if (c->known_otherwise)
                trusted_forget(g->trusted, d);
        if (d->sessions > 0)
                log_message(LOG_NOTICE, LOG_FIELDS({ "DEVICE", d->device->name }),
                            c->known_otherwise
                                    ? "%s is known by something else now: its sessions end"
                                    : "Other rules hold for %s now: its MQTT sessions end",
                            d->device->name);
        if (c->known_otherwise)
                trusted_end_sessions(g, d);
        else
                ingress_mqtt_forget(g->mqtt, d);
}

static void take_policies(void *userdata)
{
        Reason reason;
        int r = identity_reload_policies(userdata, &reason);
        if (r < 0)
                log_message_errno(LOG_WARNING, r, LOG_FIELDS({ "REASON", "policies" }),
                                  "The policies are not read anew: %s", reason.text);
}

static void commit(Gateway *g, Change *c)
{
        Settings *old = g->settings;
        g->settings = TAKE_PTR(c->settings);
        log_set_max_level(g->settings->log_level);
        attest_set_references(g->attest, TAKE_PTR(c->references));
        registry_commit(g->registry, loop_now(g->loop), device_removed, g);
        for (size_t i = 0; i < c->n_renewed; i++)
                device_renewed(g, &c->renewed[i]);
        attest_review(g->attest);
        for (size_t i = 0; i < c->n_disconnect; i++)
                disconnect(g, &c->disconnect[i]);
        ingress_mqtt_reconfigured(g->mqtt);
        trusted_commit(g->trusted);
        settings_free(old);
        if (c->upstream)
                reload_upstream(g);
        renewal_reloaded(g->renewal);
        crl_fetch_reloaded(g->crl_fetch);
        if (fiber_spawn(take_policies, g->identity) < 0)
                log_warning("No memory to read the policies anew, ignoring");
}

/* ---- one reload: what may be long is read on a thread, the rest is one step of the loop ---- */

struct Reload {
        Gateway *gateway;
        Change change;
        ReloadDone done; /* or NULL */
        void *userdata;
        bool again;    /* somebody asked meanwhile */
        Job *job;      /* reads whom to let in */
        Trust *before; /* in force when it began */
        /* Its outcome. */
        int error;
        Reason reason;
        Trust *trust;
};

static void tell(const Gateway *g, int error, const Reason *reason)
{
        if (error < 0)
                log_message(LOG_ERR, LOG_FIELDS({ "REASON", "reload-refused" }),
                            "Nothing was changed, the configuration in force stays: %s",
                            reason->text);
        else
                log_info("Reloaded: zones %zu, classes %zu, devices %zu", g->settings->n_zones,
                         g->settings->n_classes, g->settings->n_devices);
}

/* Frees it. */
static void finish(Reload *l, int error, const Reason *reason)
{
        Gateway *g = l->gateway;
        bool again = l->again;
        g->reload = NULL;
        notify_ready();
        tell(g, error, reason);
        if (l->done)
                l->done(error, reason->text, l->userdata);
        change_done(&l->change);
        trust_unref(l->before);
        trust_unref(l->trust);
        free(l);
        if (again)
                gateway_reload(g, NULL, NULL);
}

static void read_trust(void *data)
{
        Reload *l = data;
        l->error = trusted_load(l->change.settings, &l->reason, &l->trust);
}

static void on_trust(void *data, void *userdata);

/* The reload is freed where it ends, not with its job. */
static void keep(void *data)
{
}

static const JobWork work = { .run = read_trust, .free = keep, .done = on_trust };

static int start_reading(Reload *l, Reason *reason)
{
        Gateway *g = l->gateway;
        trust_unref(l->before);
        l->before = trust_ref(trusted_now(g->trusted));
        l->trust = trust_unref(l->trust);
        int r = job_start(g->loop, "reload", &work, l, NULL, &l->job);
        return r < 0 ? reason_set(reason, r, "there is no thread to read with") : 0;
}

static int take(Reload *l, Reason *reason)
{
        int r = l->error < 0 ? l->error : prepare(l->gateway, &l->change, l->trust, reason);
        if (r >= 0)
                commit(l->gateway, &l->change);
        return r;
}

static void on_trust(void *data, void *userdata)
{
        Reload *l = data;
        Reason reason = l->reason;
        l->job = NULL;
        int r;
        if (l->error < 0 || trusted_now(l->gateway->trusted) == l->before) {
                r = take(l, &reason);
        } else { /* a list was fetched in between, which was read or not */
                r = start_reading(l, &reason);
                if (r >= 0)
                        return;
        }
        finish(l, r, &reason);
}

static int begin(Reload *l, Reason *reason)
{
        Gateway *g = l->gateway;
        Change *c = &l->change;
        int r = startup_load(g->config, &c->settings);
        if (r < 0)
                return reason_set(reason, r, "the configuration has errors");
        r = check_restart(g, c->settings, reason);
        if (r >= 0)
                r = reload_check_upstream(g, c->settings, &c->upstream, reason);
        return r < 0 ? r : start_reading(l, reason);
}

void gateway_reload(Gateway *g, ReloadDone done, void *userdata)
{
        Reason reason = { "" };
        if (g->reload && !done) {
                g->reload->again = true;
                return;
        }
        Reload *l = g->reload ? NULL : calloc(1, sizeof(*l));
        if (!l) {
                int r = g->reload ? -EBUSY : -ENOMEM;
                reason_set(&reason, r,
                           g->reload ? "a reload is under way: wait for its end" : "out of memory");
                tell(g, r, &reason);
                if (done)
                        done(r, reason.text, userdata);
                return;
        }
        *l = (Reload){ .gateway = g, .done = done, .userdata = userdata };
        g->reload = l;
        notify_reloading();
        int r = begin(l, &reason);
        if (r < 0)
                finish(l, r, &reason);
}

Reload *reload_free(Reload *l)
{
        static const Reason reason = { "the daemon stops" };
        if (!l)
                return NULL;
        l->job = job_join(l->job);
        l->again = false;
        finish(l, -ECANCELED, &reason);
        return NULL;
}
