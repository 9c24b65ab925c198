/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/ingress-mqtt.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/admission.h"
#include "daemon/ingress-mqtt-internal.h"
#include "domain/mqtt-connection.h"
#include "platform/boot-id.h"

#define PACKETS_TURN        25 /* of one peer, then the others */
#define HANDSHAKES_MAX      256
#define HANDSHAKES_PER_PEER 16
#define HANDSHAKE_TIMEOUT   (10 * USEC_PER_SEC)
#define TICK                USEC_PER_SEC

/* Of what the store keeps for sessions: whatever waits in them, who has a will gets in. */
#define WILLS_SHARE 8

/* A connection that was let in. */
typedef struct Peer {
        IngressMqtt *in;
        List node, woken, throttled;
        usec_t resume;      /* when it is to go on, CLOCK_BOOTTIME */
        TlsConnection *tls; /* NULL: lost */
        DeviceState *device;
        MqttConnection *connection;
        PeerChain chain; /* of its certificate */
        bool leaving;
        bool changed; /* what its device may receive */
        char address[80];
} Peer;

static void format_address(const struct sockaddr_storage *a, char *ret, size_t size)
{
        char host[64], port[8];
        socklen_t len =
                a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        if (getnameinfo((const struct sockaddr *)a, len, host, sizeof(host), port, sizeof(port),
                        NI_NUMERICHOST | NI_NUMERICSERV) != 0)
                snprintf(ret, size, "unknown");
        else
                snprintf(ret, size, a->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- the connection's port ---- */

static void connected(void *userdata)
{
        Peer *p = userdata;
        /* The gateway has said already who came: this is for who looks for one of its sessions. */
        log_message(LOG_DEBUG,
                    LOG_FIELDS({ "DEVICE", p->device->device->name }, { "PEER", p->address }),
                    "%s is the MQTT client \"%s\"", p->device->device->name,
                    mqtt_connection_client_id(p->connection));
}

static void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
        Peer *p = userdata;
        const char *name = p->device->device->name;
        p->device->messages_refused += access != MQTT_ACCESS_SUBSCRIBE;
        if (!gateway_may_log(p->in->gateway, p->device))
                return;
        _cleanup_free_ char *escaped = str_escape(topic, 128);
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", name }, { "PEER", p->address }, { "REASON", reason },
                               { "TRANSPORT", "mqtt" }),
                    "%s may not %s \"%s\": %s", name,
                    access == MQTT_ACCESS_SUBSCRIBE ? "subscribe to" : "publish to",
                    strempty(escaped), reason);
}

static void wake(void *userdata)
{
        Peer *p = userdata;
        if (list_empty(&p->woken))
                list_append(&p->in->woken, &p->woken);
        loop_defer(p->in->turn);
}

static const MqttConnectionPort connection_port = {
        .connected = connected,
        .denied = denied,
        .wake = wake,
};

/* ---- the end of a connection ---- */

static void log_end(const Peer *p)
{
        const char *text = "the peer is gone", *name = p->device->device->name;
        const char *word = "connection-lost";
        MqttReason reason = MQTT_UNSPECIFIED_ERROR;
        bool ended = mqtt_connection_has_ended(p->connection);
        if (!gateway_may_log(p->in->gateway, p->device))
                return;
        if (ended) {
                reason = mqtt_connection_end_reason(p->connection, &text);
                word = reason == MQTT_SUCCESS ? NULL : mqtt_reason_to_string(reason);
        }
        log_message(ended && reason != MQTT_SUCCESS ? LOG_WARNING : LOG_INFO,
                    LOG_FIELDS({ "DEVICE", name }, { "PEER", p->address }, { "REASON", word },
                               { "TRANSPORT", "mqtt" }),
                    "%s disconnected from MQTT%s%s", name, isempty(text) ? "" : ": ", text);
}

static void peer_free(Peer *p)
{
        list_remove(&p->node);
        log_end(p);
        mqtt_connection_free(p->connection);
        list_remove(&p->woken);
        list_remove(&p->throttled);
        if (p->tls)
                tls_connection_close(p->tls);
        p->device->mqtt_connections--;
        gateway_session_closed(p->in->gateway, p->device);
        free(p);
}

static void go_on(Peer *p)
{
        p->changed = false;
        mqtt_server_device_changed(p->in->mqtt_server, p->device->device->name,
                                   loop_now(p->in->loop));
}

static int on_turn(void *userdata)
{
        IngressMqtt *in = userdata;
        List now;
        list_init(&now);
        list_splice(&now, &in->woken);
        while (!list_empty(&now)) {
                Peer *p = LIST_ENTRY(list_first(&now), Peer, woken);
                list_remove(&p->woken);
                if (mqtt_connection_has_ended(p->connection)) {
                        peer_free(p);
                        continue;
                }
                if (p->changed)
                        go_on(p);
                tls_connection_flush(p->tls);
                tls_connection_resume(p->tls);
        }
        return 0;
}

static int on_tick(void *userdata)
{
        IngressMqtt *in = userdata;
        usec_t now = now_boottime();
        LIST_FOREACH (i, &in->peers)
                mqtt_connection_tick(LIST_ENTRY(i, Peer, node)->connection, now);
        mqtt_server_tick(in->mqtt_server, now, now_realtime());
        return loop_timer_arm_relative(in->tick, TICK);
}

/* ---- back-pressure: who has used up the device's allowance is not read from for a while ---- */

static void throttle(Peer *p, usec_t wait)
{
        IngressMqtt *in = p->in;
        p->resume = usec_add(loop_now(in->loop), wait);
        if (list_empty(&p->throttled))
                list_append(&in->throttled, &p->throttled);
        loop_timer_arm_relative(in->resume, 0);
}

static int on_resume(void *userdata)
{
        IngressMqtt *in = userdata;
        usec_t now = loop_now(in->loop), next = USEC_INFINITY;
        LIST_FOREACH_SAFE (i, &in->throttled) {
                Peer *p = LIST_ENTRY(i, Peer, throttled);
                if (p->resume > now) {
                        next = MIN(next, p->resume);
                        continue;
                }
                list_remove(&p->throttled);
                if (!mqtt_connection_has_ended(p->connection))
                        tls_connection_resume(p->tls);
        }
        return next == USEC_INFINITY ? 0 : loop_timer_arm(in->resume, next);
}

/* ---- the connection's handler ---- */

static TlsInput on_input(TlsConnection *c, void *userdata)
{
        Peer *p = userdata;
        Buf *in = tls_connection_input(c);
        size_t consumed;
        usec_t wait;
        MqttInput r = mqtt_connection_input(p->connection, buf_view(in), PACKETS_TURN,
                                            loop_now(p->in->loop), &consumed, &wait);
        buf_consume(in, consumed);
        if (buf_len(tls_connection_output(c)) > 0)
                tls_connection_flush(c);
        if (wait > 0)
                throttle(p, wait);
        switch (r) {
        case MQTT_INPUT_MORE:
                return TLS_INPUT_MORE;
        case MQTT_INPUT_AGAIN:
                return TLS_INPUT_AGAIN;
        case MQTT_INPUT_BLOCKED:
        case MQTT_INPUT_ENDED: /* on_turn() closes it */
                break;
        }
        return TLS_INPUT_STOP;
}

static void on_drained(TlsConnection *c, void *userdata)
{
        Peer *p = userdata;
        mqtt_connection_drained(p->connection, loop_now(p->in->loop));
}

static void on_closed(TlsConnection *c, void *userdata)
{
        Peer *p = userdata;
        p->tls = NULL;
        peer_free(p);
}

static const TlsHandler handler = {
        .input = on_input,
        .drained = on_drained,
        .closed = on_closed,
};

/* ---- the server's port ---- */

static int peer_new(IngressMqtt *in, TlsConnection *c, DeviceState *d, const PeerChain *chain)
{
        _cleanup_free_ Peer *p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->in = in;
        p->tls = c;
        p->device = d;
        p->chain = *chain;
        format_address(tls_connection_peer(c), p->address, sizeof(p->address));
        list_init(&p->node);
        list_init(&p->woken);
        list_init(&p->throttled);
        int r = mqtt_connection_new(in->mqtt_server, d->device->name, tls_connection_output(c),
                                    &connection_port, p, now_boottime(), &p->connection);
        if (r < 0)
                return r;
        list_append(&in->peers, &p->node);
        d->mqtt_connections++;
        gateway_session_opened(in->gateway, d);
        tls_connection_set_handler(c, &handler, p);
        TAKE_PTR(p);
        return 0;
}

/* One device cannot take the places of all. Beyond its sessions there are connections before
 * CONNECT, and old ones after it. */
static bool has_too_many(const DeviceState *d)
{
        return d->mqtt_connections >= 2 * d->device->class->limits.sessions;
}

static void on_established(TlsConnection *c, const PeerCertificate *certificate, void *userdata)
{
        IngressMqtt *in = userdata;
        const char *reason;
        DeviceState *d =
                gateway_admit(in->gateway, certificate, tls_connection_peer(c), "mqtt", &reason);
        if (d && has_too_many(d)) {
                gateway_refused(in->gateway, tls_connection_peer(c), "mqtt", "too-many-connections",
                                "the device has too many");
                d = NULL;
        }
        int r = d ? peer_new(in, c, d, &certificate->chain) : 0;
        if (r < 0)
                log_warning_errno(r, "Cannot serve an MQTT connection");
        if (!d || r < 0)
                tls_connection_close(c);
}

static void on_refused(const struct sockaddr_storage *peer, const char *reason, const char *detail,
                       void *userdata)
{
        IngressMqtt *in = userdata;
        gateway_refused(in->gateway, peer, "mqtt", reason, detail);
}

static const TlsServerPort server_port = {
        .established = on_established,
        .refused = on_refused,
};

/* ---- the whole ---- */

static int start_server(IngressMqtt *in, const IngressMqttSettings *settings)
{
        Reason reason = { "" };
        const TlsServerConfig config = {
                .trust = settings->trust,
                .alpn = "mqtt",
                .tls12 = !settings->minimum_tls_1_3,
                .connections_max = settings->maximum_connections,
                .handshakes_max = HANDSHAKES_MAX,
                .handshakes_per_address = HANDSHAKES_PER_PEER,
                .handshake_timeout = HANDSHAKE_TIMEOUT,
                /* A whole packet, and what was read along with its end. */
                .input_max = settings->maximum_packet_size + (size_t)32 * 1024,
                /* A packet always fits into the half that deliveries leave to answers. */
                .output_max = 2 * (size_t)settings->maximum_packet_size + 64 * 1024,
        };
        in->tls = config;
        in->tls.trust = NULL;
        int r = tls_server_new(in->loop, &config, &server_port, in, &reason, &in->tls_server);
        return r < 0 ? log_error_errno(r, "%s", reason.text) : 0;
}

static int start_sources(IngressMqtt *in)
{
        int r = loop_add_deferred(in->loop, &in->turn, LOOP_FATAL, on_turn, in);
        if (r >= 0)
                r = loop_add_deferred(in->loop, &in->answer, LOOP_FATAL, ingress_mqtt_rats_answer,
                                      in);
        if (r >= 0)
                r = loop_add_timer(in->loop, &in->tick, LOOP_FATAL, on_tick, in);
        if (r >= 0)
                r = loop_add_timer(in->loop, &in->resume, LOOP_FATAL, on_resume, in);
        return r < 0 ? r : loop_timer_arm_relative(in->tick, TICK);
}

static MqttServerConfig server_config(const IngressMqttSettings *settings)
{
        uint8_t boot[BOOT_ID_SIZE];
        MqttServerConfig c = MQTT_SERVER_CONFIG_DEFAULT;
        c.maximum_packet_size = settings->maximum_packet_size;
        c.keep_alive = (uint16_t)MIN(settings->keep_alive / USEC_PER_SEC, UINT16_MAX);
        c.session_expiry = (uint32_t)MIN(settings->session_expiry / USEC_PER_SEC, UINT32_MAX);
        c.ignore_passwords = settings->ignore_passwords;
        c.earliest = settings->earliest;
        c.will_bytes = store_kept_max(settings->store) / WILLS_SHARE;
        c.kept_bytes = store_kept_max(settings->store) - c.will_bytes;
        boot_id_read(boot);
        memcpy(&c.boot, boot, sizeof(c.boot));
        return c;
}

static int start(IngressMqtt *in, const IngressMqttSettings *settings)
{
        const MqttServerConfig config = server_config(settings);
        int r = mqtt_server_new(&config, &ingress_mqtt_port, in, &in->mqtt_server);
        if (r >= 0)
                r = start_sources(in);
        if (r >= 0)
                r = ingress_mqtt_restore(in);
        return r < 0 ? r : start_server(in, settings);
}

int ingress_mqtt_new(Gateway *g, Loop *loop, const IngressMqttSettings *settings, IngressMqtt **ret)
{
        _cleanup_(ingress_mqtt_freep) IngressMqtt *in = calloc(1, sizeof(*in));
        if (!in)
                return -ENOMEM;
        in->gateway = g;
        in->loop = loop;
        in->store = settings->store;
        list_init(&in->peers);
        list_init(&in->woken);
        list_init(&in->throttled);
        list_init(&in->rats);
        int r = start(in, settings);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(in);
        return 0;
}

IngressMqtt *ingress_mqtt_free(IngressMqtt *in)
{
        if (!in)
                return NULL;
        LIST_FOREACH (i, &in->peers)
                mqtt_connection_end(LIST_ENTRY(i, Peer, node)->connection,
                                    MQTT_SERVER_SHUTTING_DOWN, "the gateway stops");
        LIST_FOREACH_SAFE (i, &in->peers)
                peer_free(LIST_ENTRY(i, Peer, node));
        ingress_mqtt_rats_cancel(in, NULL);
        tls_server_free(in->tls_server);
        mqtt_server_free(in->mqtt_server);
        loop_source_free(in->turn);
        loop_source_free(in->answer);
        loop_source_free(in->tick);
        loop_source_free(in->resume);
        free(in);
        return NULL;
}

void ingress_mqtt_each(const IngressMqtt *in, MqttSessionEach each, void *userdata)
{
        mqtt_server_each(in->mqtt_server, each, userdata);
}

void ingress_mqtt_stats(const IngressMqtt *in, MqttServerStats *ret)
{
        mqtt_server_stats(in->mqtt_server, ret);
}

void ingress_mqtt_handshakes(const IngressMqtt *in, uint64_t *ret_full, uint64_t *ret_resumed)
{
        tls_server_handshakes(in->tls_server, ret_full, ret_resumed);
}

int ingress_mqtt_set_credential(IngressMqtt *in, Credential *c)
{
        return tls_server_set_credential(in->tls_server, c);
}

int ingress_mqtt_listen_any(IngressMqtt *in, const struct sockaddr_storage *address,
                            uint16_t *ret_port)
{
        socklen_t len = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                       : sizeof(struct sockaddr_in);
        return tls_server_listen(in->tls_server, (const struct sockaddr *)address, len, ret_port);
}

int ingress_mqtt_listen(IngressMqtt *in, const struct sockaddr_storage *address)
{
        return ingress_mqtt_listen_any(in, address, NULL);
}

int ingress_mqtt_prepare(IngressMqtt *in, Trust *trust, bool minimum_tls_1_3, Reason *reason)
{
        TlsServerConfig config = in->tls;
        config.trust = trust;
        config.tls12 = !minimum_tls_1_3;
        return tls_server_prepare(in->tls_server, &config, reason);
}

void ingress_mqtt_commit(IngressMqtt *in)
{
        tls_server_commit(in->tls_server);
}

void ingress_mqtt_cancel(IngressMqtt *in)
{
        tls_server_cancel(in->tls_server);
}

static void send_away(Peer *p, const char *why)
{
        p->leaving = true;
        mqtt_connection_end(p->connection, MQTT_ADMINISTRATIVE_ACTION, why);
}

/* All that are to go end before the first is freed: its will is for none of them. */
static void free_leaving(IngressMqtt *in)
{
        LIST_FOREACH_SAFE (i, &in->peers)
                if (LIST_ENTRY(i, Peer, node)->leaving)
                        peer_free(LIST_ENTRY(i, Peer, node));
}

void ingress_mqtt_review(IngressMqtt *in, const Trust *trust, usec_t now)
{
        LIST_FOREACH (i, &in->peers) {
                Peer *p = LIST_ENTRY(i, Peer, node);
                TrustOutcome o = trust_check(trust, &p->chain, now, NULL);
                if (o == TRUST_REVOKED)
                        send_away(p, "its certificate was revoked");
                else if (o == TRUST_NO_ANCHOR)
                        send_away(p, "the authority of its certificate is not trusted any more");
        }
        free_leaving(in);
}

void ingress_mqtt_forget(IngressMqtt *in, DeviceState *d)
{
        LIST_FOREACH (i, &in->peers)
                if (LIST_ENTRY(i, Peer, node)->device == d)
                        send_away(LIST_ENTRY(i, Peer, node),
                                  "the configuration of the device has changed");
        free_leaving(in);
        ingress_mqtt_rats_cancel(in, d);
}

void ingress_mqtt_reconfigured(IngressMqtt *in)
{
        mqtt_server_review(in->mqtt_server);
}

void ingress_mqtt_device_changed(IngressMqtt *in, const DeviceState *d)
{
        /* The engine may be at the evidence that caused it: not from inside. */
        LIST_FOREACH (i, &in->peers) {
                Peer *p = LIST_ENTRY(i, Peer, node);
                if (p->device != d)
                        continue;
                p->changed = true;
                wake(p);
        }
}

int ingress_mqtt_publish(IngressMqtt *in, MqttMessage *m)
{
        return mqtt_server_publish(in->mqtt_server, m, loop_now(in->loop));
}
