/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/control.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/crl-fetch.h"
#include "daemon/ingress-coap.h"
#include "daemon/ingress-mqtt.h"
#include "daemon/mqtt-sessions.h"
#include "daemon/reload.h"
#include "daemon/renewal.h"
#include "daemon/state-anchor.h"
#include "daemon/trusted.h"
#include "daemon/why.h"

static json_t *seconds(usec_t span)
{
        return json_real((double)span / (double)USEC_PER_SEC);
}

static usec_t elapsed(usec_t since, usec_t now)
{
        return now > since ? now - since : 0;
}

static json_t *tpm_status(Gateway *g)
{
        const IdentityHealth *h = identity_health(g->identity);
        return json_pack("{s:s, s:o, s:s*}", "state", h->away ? "away" : "ok", "state_seconds",
                         seconds(elapsed(h->since, loop_now(g->loop))), "reason",
                         h->away ? h->why.text : NULL);
}

static json_t *identity_status(Gateway *g)
{
        IdentityCertificate c;
        Reason reason = { "" };
        char until[USEC_FORMAT_MAX];
        if (identity_certificate(g->identity, &c, &reason) < 0)
                return json_pack("{s:s, s:o}", "error", reason.text, "tpm", tpm_status(g));
        return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "subject", c.subject, "issuer", c.issuer,
                         "not_after", usec_format_utc(c.not_after, until), "tls_key",
                         g->tls_key == TLS_KEY_MINTED ? "minted" : "tpm", "tpm", tpm_status(g),
                         "certificate", renewal_status(g->renewal));
}

static json_t *upstream_status(Gateway *g)
{
        UplinkStats u;
        char address[300];
        if (!g->uplink)
                return json_pack("{s:b, s:s}", "connected", 0, "error", "none is configured");
        uplink_stats(g->uplink, &u);
        snprintf(address, sizeof(address), "%s:%u", g->settings->upstream.host,
                 g->settings->upstream.port);
        return json_pack("{s:s, s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "address", address,
                         "connected", u.connected, "state_seconds",
                         seconds(elapsed(u.since, now_realtime())), "in_flight",
                         (json_int_t)u.in_flight, "delivered", (json_int_t)u.delivered, "dropped",
                         (json_int_t)u.dropped, "refused", (json_int_t)u.refused, "devices_held",
                         (json_int_t)u.held, "set_aside", (json_int_t)u.set_aside, "error",
                         u.last_error);
}

static json_t *store_status(Gateway *g)
{
        StoreStats s;
        store_stats(g->store, &s);
        return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "records",
                         (json_int_t)s.records, "bytes", (json_int_t)s.bytes, "disk_bytes",
                         (json_int_t)s.disk_bytes, "appended", (json_int_t)s.appended, "refused",
                         (json_int_t)s.refused, "commit_max_usec", (json_int_t)s.commit_max,
                         "oldest_seconds",
                         s.oldest == 0 ? json_null() : seconds(elapsed(s.oldest, now_realtime())),
                         "anchor", state_anchor_status(g->anchor));
}

static json_t *devices_status(Gateway *g)
{
        json_int_t postures[_POSTURE_MAX] = { 0 }, quarantined = 0, revoked = 0, sessions = 0;
        for (size_t i = 0; i < registry_size(g->registry); i++) {
                const DeviceState *d = registry_at(g->registry, i);
                postures[d->posture]++;
                quarantined += d->quarantined;
                revoked += d->revoked;
                sessions += d->sessions;
        }
        json_t *all = json_pack("{s:I, s:I, s:I, s:I, s:I}", "total",
                                (json_int_t)registry_size(g->registry), "sessions", sessions,
                                "quarantined", quarantined, "revoked", revoked, "peers_refused",
                                (json_int_t)g->refused);
        for (int p = 0; p < _POSTURE_MAX; p++)
                json_object_set_new(all, posture_to_string((Posture)p), json_integer(postures[p]));
        return all;
}

static json_t *handshakes(uint64_t full, uint64_t resumed)
{
        return json_pack("{s:I, s:I}", "full", (json_int_t)full, "resumed", (json_int_t)resumed);
}

static json_t *handshakes_status(Gateway *g)
{
        uint64_t full, resumed;
        CoapServerStats coap = { 0 };
        ingress_mqtt_handshakes(g->mqtt, &full, &resumed);
        if (g->coap)
                ingress_coap_stats(g->coap, &coap);
        return json_pack("{s:o, s:o}", "mqtt", handshakes(full, resumed), "coap",
                         handshakes(coap.full, coap.resumed));
}

static json_t *trust_status(Gateway *g)
{
        TrustFacts f;
        usec_t now = now_realtime();
        char next[USEC_FORMAT_MAX];
        trust_facts(trusted_now(g->trusted), now, &f);
        if (f.next_update == USEC_INFINITY)
                next[0] = '\0';
        else
                usec_format_utc(f.next_update, next);
        return json_pack("{s:I, s:I, s:I, s:s*, s:b, s:o}", "authorities",
                         (json_int_t)f.authorities, "lists", (json_int_t)f.lists, "revoked",
                         (json_int_t)f.revoked, "next_update", *next ? next : NULL, "overdue",
                         f.next_update < now, "fetch", crl_fetch_status(g->crl_fetch));
}

static json_t *filter_status(Gateway *g)
{
        RulesetCounters c;
        if (enforcer_counters(g->enforcer, &c) < 0)
                return json_pack("{s:b}", "in_force", 0);
        return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I}", "in_force", 1, "spoofed",
                         (json_int_t)c.spoofed.packets, "quarantined",
                         (json_int_t)c.quarantined.packets, "lateral",
                         (json_int_t)c.lateral.packets, "invalid", (json_int_t)c.invalid.packets,
                         "refused", (json_int_t)c.refused.packets);
}

static json_t *gap_sources(const LoopGaps *gaps)
{
        json_t *all = json_array();
        for (size_t i = 0; i < gaps->n_sources; i++) {
                const LoopGapSource *s = &gaps->sources[i];
                json_array_append_new(all, json_pack("{s:s, s:I, s:I, s:I}", "source", s->name,
                                                     "handlers", (json_int_t)s->handlers,
                                                     "max_usec", (json_int_t)s->max, "cpu_max_usec",
                                                     (json_int_t)s->cpu_max));
        }
        return all;
}

static json_t *loop_status(Gateway *g)
{
        LoopGaps gaps;
        loop_gaps(g->loop, &gaps);
        return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "handlers", (json_int_t)gaps.handlers,
                         "max_usec", (json_int_t)gaps.max, "p99_usec", (json_int_t)gaps.p99,
                         "cpu_max_usec", (json_int_t)gaps.cpu_max, "cpu_p99_usec",
                         (json_int_t)gaps.cpu_p99, "sources", gap_sources(&gaps));
}

static int method_status(const char *const *args, json_t **ret, const char **ret_message,
                         void *userdata)
{
        Gateway *g = userdata;
        *ret = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "gateway",
                         g->settings->name, "version", SALLYPORT_VERSION, "uptime_seconds",
                         seconds(elapsed(g->started, loop_now(g->loop))), "identity",
                         identity_status(g), "upstream", upstream_status(g), "store",
                         store_status(g), "devices", devices_status(g), "mqtt",
                         mqtt_sessions_status(g), "trust", trust_status(g), "handshakes",
                         handshakes_status(g), "filter", filter_status(g), "loop", loop_status(g));
        return *ret ? 0 : -ENOMEM;
}

static int method_list_devices(const char *const *args, json_t **ret, const char **ret_message,
                               void *userdata)
{
        Gateway *g = userdata;
        json_t *all = json_array();
        for (size_t i = 0; i < registry_size(g->registry); i++)
                json_array_append_new(all, summary_of_device(g, registry_at(g->registry, i)));
        *ret = all;
        return all ? 0 : -ENOMEM;
}

static DeviceState *find_device(Gateway *g, const char *name, const char **ret_message)
{
        DeviceState *d = registry_get(g->registry, name);
        if (!d)
                *ret_message = "no device of this name is configured; sallyportctl devices lists "
                               "them";
        return d;
}

static int method_list_sessions(const char *const *args, json_t **ret, const char **ret_message,
                                void *userdata)
{
        if (!isempty(args[0]) && !find_device(userdata, args[0], ret_message))
                return -ENOENT;
        *ret = mqtt_sessions(userdata, args[0]);
        return *ret ? 0 : -ENOMEM;
}

static int method_why(const char *const *args, json_t **ret, const char **ret_message,
                      void *userdata)
{
        Gateway *g = userdata;
        const DeviceState *d = find_device(g, args[0], ret_message);
        if (!d)
                return -ENOENT;
        *ret = why_device(g, d);
        return *ret ? 0 : -ENOMEM;
}

/* It stands in the journal, on terminals and in reports. */
static bool reason_valid(const char *reason)
{
        for (const char *c = reason; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        return false;
        return utf8_valid(bytes_from_str(reason)) && strlen(reason) < REASON_MAX;
}

static int set_quarantine(Gateway *g, const char *name, bool on, const char *reason,
                          const char **ret_message)
{
        DeviceState *d = find_device(g, name, ret_message);
        if (!d)
                return -ENOENT;
        if (!reason_valid(reason)) {
                *ret_message = "the reason has to be one line of text of less than 160 bytes";
                return -EINVAL;
        }
        log_message(LOG_NOTICE,
                    LOG_FIELDS({ "DEVICE", name }, { "REASON", isempty(reason) ? NULL : reason }),
                    "%s is %s by the operator%s%s", name, on ? "quarantined" : "released",
                    isempty(reason) ? "" : ": ", reason);
        registry_set_quarantine(g->registry, d, on, reason, loop_now(g->loop));
        int r = enforcer_commit(g->enforcer, name);
        if (r < 0)
                *ret_message = "the packet filter does not take it, which is tried again "
                               "(journalctl -u sallyportd has the details)";
        return r;
}

static int method_quarantine(const char *const *args, json_t **ret, const char **ret_message,
                             void *userdata)
{
        return set_quarantine(userdata, args[0], true, args[1], ret_message);
}

static int method_release(const char *const *args, json_t **ret, const char **ret_message,
                          void *userdata)
{
        return set_quarantine(userdata, args[0], false, "", ret_message);
}

static void reloaded(int error, const char *reason, void *userdata)
{
        Reason said = { "" };
        if (error < 0)
                reason_set(&said, error,
                           "nothing was changed, the configuration in force stays: %s (journalctl "
                           "-u sallyportd has the details)",
                           reason);
        bus_answer(userdata, error, said.text);
}

static void method_reload(BusCall *call, void *userdata)
{
        gateway_reload(userdata, reloaded, call);
}

static int method_renew(const char *const *args, json_t **ret, const char **ret_message,
                        void *userdata)
{
        Gateway *g = userdata;
        return renewal_begin(g->renewal, ret_message);
}

static const BusMethod methods[] = {
        { "Status", 0, "status\0", BUS_RESULT_OBJECT, method_status },
        { "ListDevices", 0, "devices\0", BUS_RESULT_OBJECTS, method_list_devices },
        { "ListSessions", 1, "device\0sessions\0", BUS_RESULT_OBJECTS, method_list_sessions },
        { "Why", 1, "device\0why\0", BUS_RESULT_OBJECT, method_why },
        { "Quarantine", 2, "device\0reason\0", BUS_RESULT_NOTHING, method_quarantine },
        { "Release", 1, "device\0", BUS_RESULT_NOTHING, method_release },
        { "Reload", 0, "", BUS_RESULT_NOTHING, NULL, method_reload },
        { "Renew", 0, "", BUS_RESULT_NOTHING, method_renew },
        { NULL },
};

static const BusSignal signals[] = {
        { "PostureChanged", 3, "device\0old\0new\0" },
        { NULL },
};

int control_serve(Gateway *g, BusSettled settled, Bus **ret)
{
        return bus_serve(g->loop, methods, signals, settled, g, ret);
}
