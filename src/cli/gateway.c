/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The commands that ask the running daemon. */
#include "cli/gateway.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "cli/view.h"
#include "platform/bus.h"

/* Calls the daemon; says on standard error what went wrong. */
static int ask(const char *method, const char *const *args, unsigned n_args, json_t **ret)
{
        _cleanup_free_ char *message = NULL;
        int r = bus_call(method, args, n_args, ret, &message);
        if (r < 0)
                fprintf(stderr, "sallyportctl: %s\n", message ? message : "out of memory");
        return r;
}

/* Where to it is not stands before it already. */
static const char *why_disconnected(const json_t *u)
{
        char known[320];
        const char *why = view_string(u, "error", "not tried yet");
        snprintf(known, sizeof(known),
                 "No connection to the upstream %s: ", view_string(u, "address", "?"));
        const char *rest = startswith(why, known);
        return rest ? rest : why;
}

static void show_upstream(const json_t *u)
{
        if (!json_object_get(u, "address"))
                view_field("upstream", "%s", "none is configured: everything stays in the store");
        else if (view_true(u, "connected"))
                view_field("upstream", "%s to %s for %s; %lld in flight, %lld delivered",
                           view_toned(TONE_GOOD, "connected"), view_string(u, "address", "?"),
                           view_span(u, "state_seconds"), (long long)view_integer(u, "in_flight"),
                           (long long)view_integer(u, "delivered"));
        else
                view_field("upstream", "%s from %s for %s: %s",
                           view_toned(TONE_BAD, "disconnected"), view_string(u, "address", "?"),
                           view_span(u, "state_seconds"), why_disconnected(u));
}

/* What the broker does not take, when there was any. */
static void show_refused(const json_t *u)
{
        long long held = (long long)view_integer(u, "devices_held"),
                  aside = (long long)view_integer(u, "set_aside"),
                  dropped = (long long)view_integer(u, "dropped");
        char text[160];
        if (held + aside + dropped == 0)
                return;
        snprintf(text, sizeof(text), "devices held back %lld, records set aside %lld, dropped %lld",
                 held, aside, dropped);
        view_field("refused", "%s; last error: %s", view_toned(TONE_WARN, text),
                   view_string(u, "error", "none"));
}

static void show_store(const json_t *s)
{
        json_int_t records = view_integer(s, "records");
        if (records == 0)
                view_field("store", "empty; %s on disk", view_size(view_integer(s, "disk_bytes")));
        else
                view_field("store", "%lld waiting (%s), the oldest for %s; %s on disk",
                           (long long)records, view_size(view_integer(s, "bytes")),
                           view_span(s, "oldest_seconds"),
                           view_size(view_integer(s, "disk_bytes")));
        const json_t *anchor = json_object_get(s, "anchor");
        if (view_true(anchor, "replaced"))
                view_field("", "%s: %s", view_toned(TONE_BAD, "was replaced before the start"),
                           view_string(anchor, "found", "?"));
}

static void show_device_counts(const json_t *d)
{
        static const char *const postures[] = { "affirming", "warning", "contraindicated",
                                                "unattested" };
        printf("  %-10s %lld configured; sessions %lld", "devices",
               (long long)view_integer(d, "total"), (long long)view_integer(d, "sessions"));
        for (size_t i = 0; i < ELEMENTSOF(postures); i++) {
                json_int_t n = view_integer(d, postures[i]);
                if (n > 0)
                        printf(", %lld %s", (long long)n,
                               view_toned(view_posture_tone(postures[i]), postures[i]));
        }
        if (view_integer(d, "quarantined") > 0)
                printf(", %lld %s", (long long)view_integer(d, "quarantined"),
                       view_toned(TONE_BAD, "quarantined"));
        if (view_integer(d, "revoked") > 0)
                printf(", %lld %s", (long long)view_integer(d, "revoked"),
                       view_toned(TONE_BAD, "revoked"));
        putchar('\n');
}

static void show_mqtt(const json_t *m)
{
        view_field("MQTT", "%lld sessions, %lld connected; %lld retained messages; %s kept",
                   (long long)view_integer(m, "sessions"), (long long)view_integer(m, "connected"),
                   (long long)view_integer(m, "retained"),
                   view_size(view_integer(m, "kept_bytes")));
}

/* Whom the doors let in, and how they came. */
static void show_doors(const json_t *trust, const json_t *handshakes)
{
        const json_t *mqtt = json_object_get(handshakes, "mqtt"),
                     *coap = json_object_get(handshakes, "coap");
        if (view_integer(trust, "lists") > 0)
                view_field("trust", "%lld authorities; %lld revoked by %lld lists, %s %s",
                           (long long)view_integer(trust, "authorities"),
                           (long long)view_integer(trust, "revoked"),
                           (long long)view_integer(trust, "lists"),
                           view_true(trust, "overdue") ? view_toned(TONE_WARN, "overdue since")
                                                       : "the next is due",
                           view_string(trust, "next_update", "at no time"));
        const json_t *fetch = json_object_get(trust, "fetch");
        if (json_object_get(fetch, "error"))
                view_field("", "%s from %s: %s", view_toned(TONE_WARN, "no list"),
                           view_string(fetch, "url", "?"), view_string(fetch, "error", "?"));
        view_field("handshakes", "MQTT %lld full, %lld resumed; CoAP %lld full, %lld resumed",
                   (long long)view_integer(mqtt, "full"), (long long)view_integer(mqtt, "resumed"),
                   (long long)view_integer(coap, "full"), (long long)view_integer(coap, "resumed"));
}

static void show_filter(const json_t *f)
{
        if (!view_true(f, "in_force"))
                view_field("filter", "%s", view_toned(TONE_BAD, "not to be read: is it loaded?"));
        else
                view_field("filter",
                           "%s; dropped %lld refused, %lld spoofed, %lld lateral, "
                           "%lld quarantined",
                           view_toned(TONE_GOOD, "in force"), (long long)view_integer(f, "refused"),
                           (long long)view_integer(f, "spoofed"),
                           (long long)view_integer(f, "lateral"),
                           (long long)view_integer(f, "quarantined"));
}

/* Only where there is something to say. */
static void show_tpm(const json_t *t)
{
        if (streq(view_string(t, "state", "ok"), "away"))
                view_field("TPM", "%s for %s: %s", view_toned(TONE_BAD, "away"),
                           view_span(t, "state_seconds"), view_string(t, "reason", "?"));
}

/* Nothing where all is well and nobody renews. */
static void show_renewal(const json_t *c)
{
        const char *problem = view_string(c, "problem", ""), *at = view_string(c, "renew_at", "");
        bool valid = streq(view_string(c, "validity", ""), "ok");
        if (*problem)
                view_field("", "%s", view_toned(valid ? TONE_WARN : TONE_BAD, problem));
        else if (view_true(c, "candidate"))
                view_field("", "a new certificate is tried upstream");
        else if (streq(view_string(c, "renewal", ""), "asking"))
                view_field("", "is being renewed");
        else if (*at)
                view_field("", "will be renewed at %s", at);
}

static void show_status(const json_t *s)
{
        const json_t *identity = json_object_get(s, "identity"), *loop = json_object_get(s, "loop");
        printf("sallyport %s, version %s, up %s\n", view_string(s, "gateway", "?"),
               view_string(s, "version", "?"), view_span(s, "uptime_seconds"));
        view_field("identity", "%s, %s key, valid until %s", view_string(identity, "subject", "?"),
                   view_string(identity, "tls_key", "?"), view_string(identity, "not_after", "?"));
        show_tpm(json_object_get(identity, "tpm"));
        show_renewal(json_object_get(identity, "certificate"));
        show_upstream(json_object_get(s, "upstream"));
        show_refused(json_object_get(s, "upstream"));
        show_store(json_object_get(s, "store"));
        show_device_counts(json_object_get(s, "devices"));
        show_mqtt(json_object_get(s, "mqtt"));
        show_doors(json_object_get(s, "trust"), json_object_get(s, "handshakes"));
        show_filter(json_object_get(s, "filter"));
        view_field("loop", "longest handler %.1f ms, most work %.1f ms; p99 %.1f ms, %.1f ms",
                   (double)view_integer(loop, "max_usec") / 1000.0,
                   (double)view_integer(loop, "cpu_max_usec") / 1000.0,
                   (double)view_integer(loop, "p99_usec") / 1000.0,
                   (double)view_integer(loop, "cpu_p99_usec") / 1000.0);
}

int command_status(const CommandContext *context, int argc, char **argv)
{
        json_t *status = NULL;
        if (argc != 1)
                return command_usage("status");
        int r = ask("Status", NULL, 0, &status);
        if (r < 0)
                return COMMAND_FAILED;
        if (context->json)
                view_json(status);
        else
                show_status(status);
        json_decref(status);
        return COMMAND_OK;
}

static void show_devices(const json_t *devices)
{
        size_t i;
        const json_t *d;
        printf("%-20s %-16s %-10s %-12s %-22s %s\n", "DEVICE", "POSTURE", "ZONE", "CLASS", "PEER",
               "LAST SEEN");
        json_array_foreach((json_t *)devices, i, d)
        {
                const char *posture = view_string(d, "posture", "?"),
                           *closed = view_true(d, "quarantined") ? "quarantined"
                                     : view_true(d, "revoked")   ? "revoked"
                                                                 : NULL;
                char padded[32];
                snprintf(padded, sizeof(padded), "%-16s", closed ? closed : posture);
                printf("%-20s %s %-10s %-12s %-22s %s\n", view_string(d, "device", "?"),
                       view_toned(closed ? TONE_BAD : view_posture_tone(posture), padded),
                       view_string(d, "zone", "?"), view_string(d, "class", "?"),
                       view_string(d, "peer", "-"), view_ago(d, "last_seen_seconds"));
        }
}

int command_devices(const CommandContext *context, int argc, char **argv)
{
        json_t *devices = NULL;
        if (argc != 1)
                return command_usage("devices");
        int r = ask("ListDevices", NULL, 0, &devices);
        if (r < 0)
                return COMMAND_FAILED;
        if (context->json)
                view_json(devices);
        else
                show_devices(devices);
        json_decref(devices);
        return COMMAND_OK;
}

static void show_session(const json_t *s)
{
        bool connected = view_true(s, "connected");
        char state[40];
        const char *ends = json_is_number(json_object_get(s, "expires_seconds"))
                                   ? view_span(s, "expires_seconds")
                                   : "";
        if (connected)
                snprintf(state, sizeof(state), "connected%s", view_true(s, "kept") ? ", kept" : "");
        else
                snprintf(state, sizeof(state), "away%s%s", *ends ? ", ends in " : "", ends);
        printf("%-20s %-28s %13lld %8lld %11s %8lld  %s\n", view_string(s, "device", "?"),
               view_string(s, "client_id", "?"), (long long)view_integer(s, "subscriptions"),
               (long long)view_integer(s, "queued"), view_size(view_integer(s, "queued_bytes")),
               (long long)view_integer(s, "dropped"),
               view_toned(connected ? TONE_GOOD : TONE_FAINT, state));
}

static void show_sessions(const json_t *sessions)
{
        size_t i;
        const json_t *s;
        printf("%-20s %-28s %13s %8s %11s %8s  %s\n", "DEVICE", "CLIENT ID", "SUBSCRIPTIONS",
               "QUEUED", "SIZE", "DROPPED", "STATE");
        json_array_foreach((json_t *)sessions, i, s) show_session(s);
}

int command_sessions(const CommandContext *context, int argc, char **argv)
{
        json_t *sessions = NULL;
        const char *device = argc > 1 ? argv[1] : "";
        if (argc > 2)
                return command_usage("sessions [DEVICE]");
        int r = ask("ListSessions", &device, 1, &sessions);
        if (r < 0)
                return COMMAND_FAILED;
        if (context->json)
                view_json(sessions);
        else
                show_sessions(sessions);
        json_decref(sessions);
        return COMMAND_OK;
}

static void show_certificate(const json_t *c)
{
        if (!c) {
                view_field("known by", "%s", "no certificate shown since the daemon started");
                return;
        }
        view_field("known by", "certificate of \"%s\", serial %s, valid until %s",
                   view_string(c, "subject", "?"), view_string(c, "serial", "?"),
                   view_string(c, "not_after", "?"));
        view_field("", "issued by %s", view_string(c, "issuer", "?"));
        view_field("", "key sha256:%s", view_string(c, "spki_sha256", "?"));
}

static void show_rule(const char *name, const json_t *rule)
{
        _cleanup_free_ char *state = NULL;
        const char *tone = view_true(rule, "live") ? view_toned(TONE_GOOD, "open")
                                                   : view_toned(TONE_BAD, "closed");
        bool expires = json_is_number(json_object_get(rule, "expires_seconds"));
        if (asprintf(&state, "%s%s%s", tone, expires ? " for " : "",
                     expires ? view_span(rule, "expires_seconds") : "") < 0)
                return;
        view_field(name, "%s to %s: %s; %lld packets, %s", view_string(rule, "from", "?"),
                   view_string(rule, "allows", "?"), state,
                   (long long)view_integer(rule, "packets"),
                   view_size(view_integer(rule, "bytes")));
}

/* Where it may go beyond the gateway, as the kernel has it now. */
static void show_egress(const json_t *w)
{
        const json_t *rules = json_object_get(w, "rules"), *rule;
        const char *door = "the gateway's own ports";
        size_t i;
        if (!view_true(w, "filter_read"))
                view_field("egress", "%s",
                           view_toned(TONE_BAD, "unknown: the packet filter cannot be read"));
        else if (view_true(w, "held"))
                view_field("egress", "%s, %s alone: the kernel refused its posture; trying again",
                           view_toned(TONE_BAD, "held"), door);
        else if (view_true(w, "closed"))
                view_field("egress", "%s: %s alone, to attest", view_toned(TONE_BAD, "closed"),
                           door);
        else if (json_array_size(rules) == 0)
                view_field("egress", "none in this posture: %s and its zone's services", door);
        json_array_foreach((json_t *)rules, i, rule) show_rule(i == 0 ? "egress" : "", rule);
}

static void show_drops(const json_t *w)
{
        static const struct {
                const char *key, *why;
        } causes[] = {
                { "refused", "no rule allows them" },
                { "quarantined", "it is closed" },
                { "spoofed", "somebody else used its address" },
        };
        const char *name = "dropped";
        for (size_t i = 0; i < ELEMENTSOF(causes); i++) {
                const json_t *d = json_object_get(json_object_get(w, "dropped"), causes[i].key);
                json_int_t packets = view_integer(d, "packets");
                if (packets == 0)
                        continue;
                view_field(name, "%lld packet%s, %s: %s", (long long)packets,
                           packets == 1 ? "" : "s", view_size(view_integer(d, "bytes")),
                           causes[i].why);
                name = "";
        }
        if (*name && json_object_get(w, "dropped"))
                view_field(name, "%s", "nothing");
}

static void show_seen(const json_t *w)
{
        if (isempty(json_string_value(json_object_get(w, "peer"))))
                view_field("seen", "%s", "never since the daemon started");
        else
                view_field("seen", "%s over %s, %s; sessions %lld", view_string(w, "peer", "?"),
                           view_string(w, "transport", "?"), view_ago(w, "last_seen_seconds"),
                           (long long)view_integer(w, "sessions"));
}

static void show_headline(const json_t *w)
{
        const char *posture = view_string(w, "posture", "?");
        printf("%s is %s%s%s for %s\n", view_string(w, "device", "?"),
               view_true(w, "quarantined") ? view_toned(TONE_BAD, "quarantined, and ") : "",
               view_true(w, "revoked") ? view_toned(TONE_BAD, "revoked, and ") : "",
               view_toned(view_posture_tone(posture), posture), view_span(w, "posture_seconds"));
}

static void show_why(const json_t *w)
{
        show_headline(w);
        view_field("because", "%s", view_string(w, "reason", "it has not been attested"));
        if (view_true(w, "quarantined"))
                view_field("quarantine", "by the operator: %s",
                           view_string(w, "quarantine_reason", "no reason given"));
        if (json_is_number(json_object_get(w, "expires_seconds")))
                view_field("until", "in %s, then unattested", view_span(w, "expires_seconds"));
        show_certificate(json_object_get(w, "certificate"));
        view_field("belongs to", "zone %s on %s, class %s, attestation %s",
                   view_string(w, "zone", "?"), view_string(w, "interface", "?"),
                   view_string(w, "class", "?"), view_string(w, "attestation", "?"));
        show_seen(w);
        view_field("telemetry", "%s; %lld messages taken, %lld refused",
                   view_true(w, "telemetry") ? view_toned(TONE_GOOD, "taken")
                                             : view_toned(TONE_BAD, "refused as it is"),
                   (long long)view_integer(w, "messages_in"),
                   (long long)view_integer(w, "messages_refused"));
        show_egress(w);
        show_drops(w);
        view_field("configured", "in %s", view_string(w, "origin", "?"));
}

int command_why(const CommandContext *context, int argc, char **argv)
{
        json_t *why = NULL;
        const char *device = argv[1];
        if (argc != 2)
                return command_usage("why DEVICE");
        int r = ask("Why", &device, 1, &why);
        if (r < 0)
                return COMMAND_FAILED;
        if (context->json)
                view_json(why);
        else
                show_why(why);
        json_decref(why);
        return COMMAND_OK;
}

int command_quarantine(const CommandContext *context, int argc, char **argv)
{
        if (argc < 2 || argc > 3)
                return command_usage("quarantine DEVICE [REASON]");
        const char *args[] = { argv[1], argc > 2 ? argv[2] : "no reason given" };
        return ask("Quarantine", args, 2, NULL) < 0 ? COMMAND_FAILED : COMMAND_OK;
}

int command_release(const CommandContext *context, int argc, char **argv)
{
        const char *device = argv[1];
        if (argc != 2)
                return command_usage("release DEVICE");
        return ask("Release", &device, 1, NULL) < 0 ? COMMAND_FAILED : COMMAND_OK;
}

int command_reload(const CommandContext *context, int argc, char **argv)
{
        if (argc != 1)
                return command_usage("reload");
        return ask("Reload", NULL, 0, NULL) < 0 ? COMMAND_FAILED : COMMAND_OK;
}

int command_renew(const CommandContext *context, int argc, char **argv)
{
        if (argc != 1)
                return command_usage("renew");
        if (ask("Renew", NULL, 0, NULL) < 0)
                return COMMAND_FAILED;
        puts("A new certificate is asked for; sallyportctl status tells how it goes.");
        return COMMAND_OK;
}
