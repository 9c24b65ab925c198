/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/gateway.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/control.h"
#include "daemon/crl-fetch.h"
#include "daemon/evidence.h"
#include "daemon/ingress-coap.h"
#include "daemon/ingress-mqtt.h"
#include "daemon/reload.h"
#include "daemon/renewal.h"
#include "daemon/report.h"
#include "daemon/startup.h"
#include "daemon/state-anchor.h"
#include "daemon/submissions.h"
#include "daemon/tpm-watch.h"
#include "daemon/trusted.h"
#include "platform/notify.h"

/* Log lines about refused peers: as many at once, and again in this time. */
#define REFUSALS_BURST    20
#define REFUSALS_INTERVAL (10 * USEC_PER_SEC)
#define STATUS_INTERVAL   (10 * USEC_PER_SEC)
/* How long the TPM may take to finish what it began, and how often that is looked at. */
#define STOP_MAX   (5 * USEC_PER_SEC)
#define STOP_PAUSE (10 * USEC_PER_MSEC)

/* ---- postures ---- */

/* Verdicts and the operator's orders are logged where they come from. */
static void log_loss(const DeviceState *d, Posture old, Posture now)
{
        if (now != POSTURE_UNATTESTED || (old != POSTURE_AFFIRMING && old != POSTURE_WARNING))
                return;
        log_message(LOG_NOTICE,
                    LOG_FIELDS({ "DEVICE", d->device->name }, { "POSTURE", posture_to_string(now) },
                               { "REASON", d->reason }),
                    "%s is %s: %s", d->device->name, posture_to_string(now), d->reason);
}

static void posture_changed(DeviceState *d, Posture old, void *userdata)
{
        Gateway *g = userdata;
        Posture now = device_state_effective(d);
        const char *args[] = { d->device->name, posture_to_string(old), posture_to_string(now) };

        /* Before it is loaded, it will be with what the devices are then. */
        int r = g->enforcer ? enforcer_apply(g->enforcer, d, NULL, NULL) : 0;
        if (r < 0)
                log_message_errno(LOG_ERR, r, LOG_FIELDS({ "DEVICE", d->device->name }),
                                  "Cannot take the posture of %s to the packet filter",
                                  d->device->name);
        if (g->mqtt)
                ingress_mqtt_device_changed(g->mqtt, d);
        log_loss(d, old, now);
        if (old != now && g->bus)
                bus_emit(g->bus, "PostureChanged", args);
        loop_timer_arm_relative(g->expiry, 0);
}

static int on_expiry(void *userdata)
{
        Gateway *g = userdata;
        return loop_timer_arm(g->expiry, registry_expire(g->registry, loop_now(g->loop)));
}

/* ---- parts ---- */

static size_t add_doors(RulesetDoor *doors, size_t n, uint8_t protocol, const Listens *l)
{
        for (size_t i = 0; i < l->n; i++) {
                const struct sockaddr_storage *a = &l->addresses[i].address;
                uint16_t port = a->ss_family == AF_INET6
                                        ? ((const struct sockaddr_in6 *)a)->sin6_port
                                        : ((const struct sockaddr_in *)a)->sin_port;
                doors[n++] = (RulesetDoor){ protocol, ntohs(port) };
        }
        return n;
}

/* By the states that the devices will have under `s`: it need not be in force yet. */
static int load_states(Gateway *g, const EnforcerSettings *settings, const Settings *s)
{
        size_t n = s->n_devices;
        _cleanup_free_ DeviceState *states = calloc(n + 1, sizeof(*states));
        _cleanup_free_ const DeviceState **pointers = calloc(n + 1, sizeof(*pointers));
        if (!states || !pointers)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                registry_foresee(g->registry, &s->devices[i], loop_now(g->loop), &states[i]);
                pointers[i] = &states[i];
        }
        return enforcer_load(g->enforcer, settings, pointers, n);
}

int gateway_load_filter(Gateway *g, const Settings *s)
{
        _cleanup_free_ RulesetDoor *doors =
                calloc(s->mqtt.listen.n + s->coap.listen.n + 1, sizeof(*doors));
        if (!doors)
                return -ENOMEM;
        size_t n_doors = add_doors(doors, 0, IPPROTO_TCP, &s->mqtt.listen);
        n_doors = add_doors(doors, n_doors, IPPROTO_UDP, &s->coap.listen);
        const EnforcerSettings settings = {
                .zones = s->zones,
                .n_zones = s->n_zones,
                .uplinks = s->egress_uplink.words,
                .n_uplinks = s->egress_uplink.n,
                .masquerade = s->egress_masquerade,
                .doors = doors,
                .n_doors = n_doors,
        };
        return load_states(g, &settings, s);
}

/* First of all: whatever fails afterwards, devices are kept in their place. */
static int start_filter(Gateway *g)
{
        const RegistryPort port = { .posture_changed = posture_changed, .userdata = g };
        const Settings *s = g->settings;
        int r = registry_new(&port, &g->registry);
        if (r >= 0)
                r = registry_apply(g->registry, s->devices, s->n_devices, loop_now(g->loop), NULL,
                                   NULL);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the devices");
        r = trusted_restore(s, g->registry, loop_now(g->loop), &g->revoked_generation);
        if (r < 0)
                return r;
        r = enforcer_new(g->loop, &g->enforcer);
        if (r >= 0)
                r = gateway_load_filter(g, s);
        if (r < 0)
                return log_error_errno(r, "Cannot load the packet filter; it takes CAP_NET_ADMIN "
                                          "and a kernel with nf_tables");
        return 0;
}

static int start_identity(Gateway *g)
{
        Reason reason = { "" };
        const Settings *s = g->settings;
        int r = identity_open(s->tcti, s->state_directory, &g->identity, &reason);
        if (r == -ENOENT)
                return log_error_errno(r,
                                       "This gateway has no identity yet (sallyportctl identity "
                                       "init): %s",
                                       reason.text);
        if (r == -ENODEV)
                return log_error_errno(r, "The TPM is not there (TCTI= names it): %s", reason.text);
        if (r < 0)
                return log_error_errno(r, "Cannot open the identity: %s", reason.text);
        r = identity_check(g->identity, &reason);
        if (r < 0)
                return log_message_errno(LOG_ERR, r, LOG_FIELDS({ "REASON", "identity-locked" }),
                                         "Not starting, the TPM does not let the identity sign "
                                         "(sallyportctl policy show): %s",
                                         reason.text);
        r = identity_credential(g->identity, &g->client_credential, &reason);
        if (r < 0)
                return log_error_errno(r,
                                       "The identity has no usable certificate (sallyportctl "
                                       "identity install): %s",
                                       reason.text);
        if (identity_pcrs(g->identity) != s->pcrs)
                log_warning("[TPM] PCRs= is not what the identity was made for: its quotes cover "
                            "the PCRs of sallyportctl identity show, and go on to");
        r = identity_attach(g->identity, g->loop);
        if (r >= 0)
                r = tpm_watch_new(g, &g->tpm_watch);
        return r < 0 ? log_error_errno(r, "Cannot attach the TPM to the event loop") : 0;
}

static int start_store(Gateway *g)
{
        _cleanup_free_ char *directory = NULL;
        if (asprintf(&directory, "%s/store", g->settings->state_directory) < 0)
                return -ENOMEM;
        int r = store_open(g->loop, directory, g->settings->store_maximum_size, &g->store);
        return r < 0 ? log_error_errno(r, "Cannot open the store in %s", directory) : 0;
}

MqttClientConfig gateway_upstream(const Settings *s)
{
        return (MqttClientConfig){
                .host = s->upstream.host,
                .port = s->upstream.port,
                .server_name = s->upstream.server_name,
                .ca = s->upstream.ca,
                .client_id = s->upstream.client_id,
                .keep_alive = (uint16_t)(s->upstream.keep_alive / USEC_PER_SEC),
                .window = (uint16_t)s->upstream.window,
        };
}

static int start_uplink(Gateway *g)
{
        const Settings *s = g->settings;
        if (!s->upstream.host) {
                log_notice("No upstream is configured: everything stays in the store");
                return 0;
        }
        const UplinkConfig config = {
                .client = gateway_upstream(s),
                .topic_prefix = s->upstream.topic_prefix,
                .gateway = s->name,
        };
        reload_upstream_digest(s, g->upstream_ca);
        int r = uplink_new(g->loop, g->store, &config, g->client_credential, &g->uplink);
        return r < 0 ? log_error_errno(r, "Cannot set up the way upstream") : 0;
}

static int start_attestation(Gateway *g)
{
        const Settings *s = g->settings;
        int r = attest_new(g, &g->attest);
        if (r >= 0)
                r = reports_new(g, &g->reports);
        if (r >= 0)
                r = submissions_new(g, &g->submissions);
        if (r < 0)
                return log_error_errno(r, "Cannot set up attestation");
        return attest_load_references(g->attest, (const char *const *)s->reference_values.words,
                                      s->reference_values.n);
}

/* ---- doors ---- */

static void take_credential(Gateway *g, Credential *c)
{
        int r = ingress_mqtt_set_credential(g->mqtt, c);
        if (r >= 0 && g->coap)
                r = ingress_coap_set_credential(g->coap, c);
        if (r < 0)
                log_error_errno(r, "Cannot take the new leaf into use, the old one stays");
}

static void on_minted(Credential *c, void *userdata)
{
        take_credential(userdata, c);
}

void gateway_certificate_changed(Gateway *g, Credential *c)
{
        credential_unref(g->client_credential);
        g->client_credential = credential_ref(c);
        if (g->minter)
                minter_renew(g->minter);
        else
                take_credential(g, c);
}

/* Which key the doors show: TLSKey=auto is minted where the identity may certify leaves. */
static int resolve_tls_key(Gateway *g, TlsKeyMode *ret)
{
        Reason reason = { "" };
        IdentityCertificate certificate;
        *ret = g->settings->tls_key;
        int r = identity_certificate(g->identity, &certificate, &reason);
        if (r < 0)
                return log_error_errno(r, "Cannot read the identity's certificate: %s",
                                       reason.text);
        if (*ret == TLS_KEY_AUTO)
                *ret = certificate.is_ca ? TLS_KEY_MINTED : TLS_KEY_TPM;
        return 0;
}

static int load_trust(Gateway *g)
{
        Reason reason = { "" };
        int r = trusted_new(g, &reason, &g->trusted);
        return r < 0 ? log_error_errno(r, "Cannot tell whom to let in: %s", reason.text) : 0;
}

/* The clock is wrong before its own certificate begins. 0: there is none. */
static usec_t earliest(const Gateway *g)
{
        Reason reason = { "" };
        IdentityCertificate c;
        return identity_certificate(g->identity, &c, &reason) < 0 ? 0 : c.not_before;
}

static int open_doors(Gateway *g, bool minted)
{
        const Settings *s = g->settings;
        const IngressMqttSettings mqtt = {
                .trust = trusted_now(g->trusted),
                .minimum_tls_1_3 = s->mqtt.minimum_tls == TLS_MINIMUM_1_3,
                .maximum_packet_size = s->mqtt.maximum_packet_size,
                .maximum_connections = s->mqtt.maximum_connections,
                .keep_alive = s->mqtt.keep_alive,
                .session_expiry = s->mqtt.session_expiry,
                .ignore_passwords = s->mqtt.passwords == PASSWORDS_IGNORE,
                .store = g->store,
                .earliest = earliest(g),
        };
        int r = ingress_mqtt_new(g, g->loop, &mqtt, &g->mqtt);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the MQTT door");
        if (s->coap.listen.n == 0)
                return 0;
        if (!minted) {
                log_notice("CoAP stays closed: it needs a minted key (TLSKey=), and the identity's "
                           "certificate is not that of a CA");
                return 0;
        }
        r = ingress_coap_new(g, g->loop, s->coap.maximum_sessions, &g->coap);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the CoAP door");
        ingress_coap_set_trust(g->coap, trusted_now(g->trusted));
        return 0;
}

static int start_credential(Gateway *g, TlsKeyMode mode)
{
        Reason reason = { "" };
        const Settings *s = g->settings;
        if (mode == TLS_KEY_TPM) {
                take_credential(g, g->client_credential);
                return 0;
        }
        const MinterParams params = {
                .identity = g->identity,
                .loop = g->loop,
                .names = (const char *const *)s->names.words,
                .n_names = s->names.n,
                .lifetime = s->leaf_lifetime,
                .handler = on_minted,
                .userdata = g,
        };
        int r = minter_new(&params, &g->minter, &reason);
        return r < 0 ? log_error_errno(r, "Cannot mint a leaf for devices: %s", reason.text) : 0;
}

static int cannot_listen(int error, const char *protocol, const struct sockaddr_storage *a)
{
        char host[INET6_ADDRSTRLEN] = "", port[8] = "";
        getnameinfo((const struct sockaddr *)a, sizeof(*a), host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
        return log_error_errno(error, "Cannot listen for %s on %s port %s", protocol, host, port);
}

static int listen_all(Gateway *g)
{
        const Settings *s = g->settings;
        for (size_t i = 0; i < s->mqtt.listen.n; i++) {
                const struct sockaddr_storage *a = &s->mqtt.listen.addresses[i].address;
                int r = ingress_mqtt_listen(g->mqtt, a);
                if (r < 0)
                        return cannot_listen(r, "MQTT", a);
        }
        for (size_t i = 0; g->coap && i < s->coap.listen.n; i++) {
                const struct sockaddr_storage *a = &s->coap.listen.addresses[i].address;
                int r = ingress_coap_listen(g->coap, a);
                if (r < 0)
                        return cannot_listen(r, "CoAP", a);
        }
        return 0;
}

static int start_doors(Gateway *g)
{
        TlsKeyMode mode;
        int r = load_trust(g);
        if (r >= 0)
                r = resolve_tls_key(g, &mode);
        if (r < 0)
                return r;
        g->tls_key = mode;
        r = open_doors(g, mode == TLS_KEY_MINTED);
        if (r >= 0)
                r = start_credential(g, mode);
        return r < 0 ? r : listen_all(g);
}

/* ---- the whole ---- */

static int on_status(void *userdata)
{
        Gateway *g = userdata;
        StoreStats store;
        UplinkStats uplink = { 0 };
        size_t sessions = 0;
        char certificate[RENEWAL_TEXT_MAX];
        trusted_tick(g->trusted);
        store_stats(g->store, &store);
        if (g->uplink)
                uplink_stats(g->uplink, &uplink);
        for (size_t i = 0; i < registry_size(g->registry); i++)
                sessions += registry_at(g->registry, i)->sessions;
        renewal_problem(g->renewal, certificate);
        notify_status("%sdevices %zu, sessions %zu; %s; messages waiting %llu%s%s",
                      identity_health(g->identity)->away ? "the TPM is away; " : "",
                      registry_size(g->registry), sessions,
                      !g->uplink         ? "no upstream"
                      : uplink.connected ? "upstream connected"
                                         : "upstream disconnected",
                      (unsigned long long)store.records, *certificate ? "; " : "", certificate);
        return loop_timer_arm_relative(g->status, STATUS_INTERVAL);
}

/* A fiber in the middle of a command would be left there by the end of the loop. When the TPM has
 * had its time every command fails, and the fibers come to their ends. */
static int on_stop(void *userdata)
{
        Gateway *g = userdata;
        bool late = now_boottime() >= g->stop_until;
        bool busy = identity_busy(g->identity) || state_anchor_busy(g->anchor) ||
                    renewal_busy(g->renewal);
        if (busy && late && !g->tpm_abandoned) {
                log_warning("The TPM did not answer in time, the end does not wait for it");
                identity_abandon(g->identity);
                g->tpm_abandoned = true;
                g->stop_until = usec_add(now_boottime(), STOP_MAX);
                late = false;
        }
        if (busy && !late)
                return loop_timer_arm_relative(g->stop, STOP_PAUSE);
        loop_exit(g->loop, 0);
        return 0;
}

/* Not earlier: whoever waited for `systemctl start` can ask us at once. */
static void on_settled(void *userdata)
{
        notify_ready();
}

static int start(Gateway *g)
{
        int r = loop_add_timer(g->loop, &g->expiry, LOOP_FATAL, on_expiry, g);
        if (r >= 0)
                r = loop_add_timer(g->loop, &g->stop, LOOP_FATAL, on_stop, g);
        if (r >= 0)
                r = loop_add_timer(g->loop, &g->status, LOOP_FATAL, on_status, g);
        if (r < 0)
                return log_error_errno(r, "Cannot set up timers");
        if ((r = start_filter(g)) < 0 || (r = start_identity(g)) < 0 || (r = start_store(g)) < 0 ||
            (r = start_uplink(g)) < 0 || (r = start_attestation(g)) < 0 || (r = start_doors(g)) < 0)
                return r;
        r = state_anchor_new(g, &g->anchor);
        if (r < 0)
                return log_error_errno(r, "Cannot watch over the state on the disk");
        r = renewal_new(g, &g->renewal);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the renewal of the certificate");
        r = crl_fetch_new(g, &g->crl_fetch);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the fetching of revocation lists");
        r = control_serve(g, on_settled, &g->bus);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the control interface");
        loop_timer_arm_relative(g->status, 0);
        log_info("sallyport %s is up: gateway %s, devices %zu, %s key", SALLYPORT_VERSION,
                 g->settings->name, registry_size(g->registry),
                 g->tls_key == TLS_KEY_MINTED ? "minted" : "TPM");
        return 0;
}

int gateway_new(Loop *loop, const char *config, Settings *settings, Gateway **ret)
{
        Gateway *g = calloc(1, sizeof(*g));
        if (!g) {
                settings_free(settings);
                return -ENOMEM;
        }
        *g = (Gateway){
                .loop = loop,
                .config = config,
                .settings = settings,
                .started = now_boottime(),
                .refusals = RATELIMIT_INIT(REFUSALS_INTERVAL, REFUSALS_BURST),
        };
        int r = start(g);
        if (r < 0) {
                gateway_free(g);
                return r;
        }
        *ret = g;
        return 0;
}

void gateway_stop(Gateway *g)
{
        renewal_stop(g->renewal); /* it begins nothing new with the TPM */
        if (g->stop_until == 0) {
                g->stop_until = usec_add(now_boottime(), STOP_MAX);
                state_anchor_note(g->anchor);
        }
        if (loop_timer_arm_relative(g->stop, 0) < 0)
                loop_exit(g->loop, 0);
}

/* A fiber that will never run again may still be inside of it, in a transport that blocks: then it
 * is left to the end of the process. */
static void let_go_of_identity(Gateway *g)
{
        if (g->identity && identity_busy(g->identity)) {
                log_warning("The TPM is still in use, leaving it as it is");
                return;
        }
        credential_unref(g->client_credential);
        identity_free(g->identity);
}

/* From the doors inwards; the packet filter's table stays. */
Gateway *gateway_free(Gateway *g)
{
        if (!g)
                return NULL;
        reload_free(g->reload);
        bus_free(g->bus);
        ingress_mqtt_free(g->mqtt);
        ingress_coap_free(g->coap);
        minter_free(g->minter);
        tpm_watch_free(g->tpm_watch);
        if (!renewal_busy(g->renewal)) /* else its stack stands on it, for good */
                renewal_free(g->renewal);
        uplink_free(g->uplink);
        if (!state_anchor_busy(g->anchor)) /* else its stack stands on it, for good */
                state_anchor_free(g->anchor);
        store_free(g->store);
        attest_free(g->attest);
        reports_free(g->reports);
        submissions_free(g->submissions);
        let_go_of_identity(g);
        crl_fetch_free(g->crl_fetch);
        trusted_free(g->trusted);
        enforcer_free(g->enforcer);
        registry_free(g->registry);
        loop_source_free(g->expiry);
        loop_source_free(g->status);
        loop_source_free(g->stop);
        settings_free(g->settings);
        free(g);
        return NULL;
}
