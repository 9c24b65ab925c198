/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/ingress-mqtt.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/admission.h"
#include "daemon/submit.h"
#include "domain/mqtt-session.h"
#include "domain/policy.h"
#include "platform/tls.h"

#define PACKETS_TURN        25 /* of one peer, then the others */
#define SESSIONS_PER_DEVICE 8
#define PEERS_PER_DEVICE    (2 * SESSIONS_PER_DEVICE) /* before CONNECT, and old ones after it */
#define HANDSHAKES_MAX      256
#define HANDSHAKES_PER_PEER 16
#define HANDSHAKE_TIMEOUT   (10 * USEC_PER_SEC)
#define TICK                USEC_PER_SEC

struct IngressMqtt {
        Gateway *gateway;
        Loop *loop;
        TlsServer *server;
        MqttRouter *router;
        MqttSessionConfig config;
        TlsServerConfig tls; /* without its trust */
        List peers, woken;
        LoopSource *turn; /* for the peers in `woken` */
        LoopSource *tick; /* deadlines of all sessions */
};

/* A connection that was let in. */
typedef struct Peer {
        IngressMqtt *in;
        List node, woken;
        TlsConnection *tls; /* NULL: lost */
        DeviceState *device;
        MqttSession *session;
        PeerChain chain; /* of its certificate */
        bool leaving;
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

/* ---- the session's port ---- */

/* Attestation has its door in CoAP: its topics are known here, but closed. */
static MqttDecision decide(MqttAccess access, const char *topic, void *userdata)
{
        Peer *p = userdata;
        const Registry *r = gateway_registry(p->in->gateway);
        MqttDecision d = { .space = MQTT_SPACE_DEVICE };
        PolicyTopic t;
        PolicyOutcome o = access == MQTT_ACCESS_PUBLISH ? policy_publish(r, p->device, topic, &t)
                                                        : policy_subscribe(r, p->device, topic, &t);
        d.allowed = o == POLICY_OWN;
        if (d.allowed)
                d.topic = topic + (t.below - t.left_out); /* as it was written */
        d.reason =
                o == POLICY_ATTESTATION ? "attestation-is-over-coap" : policy_outcome_to_string(o);
        return d;
}

static bool may_receive(MqttSpace space, void *userdata)
{
        return policy_may_receive(((Peer *)userdata)->device);
}

static MqttReason reason_of(SubmitOutcome outcome)
{
        switch (outcome) {
        case SUBMIT_STORED:
                return MQTT_SUCCESS;
        case SUBMIT_DENIED:
                return MQTT_NOT_AUTHORIZED;
        case SUBMIT_QUOTA:
        case SUBMIT_FULL:
                return MQTT_QUOTA_EXCEEDED;
        case SUBMIT_FAILED:
        case _SUBMIT_MAX:
                break;
        }
        return MQTT_UNSPECIFIED_ERROR;
}

static void on_submitted(SubmitOutcome outcome, void *userdata)
{
        mqtt_session_submitted(userdata, reason_of(outcome),
                               outcome == SUBMIT_STORED ? NULL : submit_outcome_to_string(outcome));
}

static int submit(MqttInbound *in, const MqttSubmission *m, void *userdata)
{
        Peer *p = userdata;
        _cleanup_free_ char *content_type = NULL;
        if (m->content_type.len > 0) {
                content_type = bytes_to_str(m->content_type);
                if (!content_type)
                        return -ENOMEM;
        }
        const Submission s = {
                .device = p->device,
                .topic = m->topic,
                .payload = m->payload,
                .content_type = content_type,
                .durable = m->qos > 0,
        };
        SubmitTicket *ticket = NULL;
        int r = gateway_submit(p->in->gateway, &s, in ? on_submitted : NULL, in,
                               in ? &ticket : NULL);
        if (r >= 0 && in)
                in->ticket = ticket;
        return r;
}

static void abandon(MqttInbound *in, void *userdata)
{
        submit_ticket_cancel(in->ticket);
}

static void connected(void *userdata)
{
        Peer *p = userdata;
        /* The gateway has said already who came: this is for who looks for one of its sessions. */
        log_message(LOG_DEBUG,
                    LOG_FIELDS({ "DEVICE", p->device->device->name }, { "PEER", p->address }),
                    "%s is the MQTT client \"%s\"", p->device->device->name,
                    mqtt_session_client_id(p->session));
}

static void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
        Peer *p = userdata;
        if (!gateway_may_log(p->in->gateway, p->device))
                return;
        _cleanup_free_ char *escaped = str_escape(topic, 128);
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", p->device->device->name }, { "PEER", p->address },
                               { "REASON", reason }, { "TRANSPORT", "mqtt" }),
                    "%s may not %s \"%s\": %s", p->device->device->name,
                    access == MQTT_ACCESS_PUBLISH ? "publish to" : "subscribe to",
                    strempty(escaped), reason);
}

static void wake(void *userdata)
{
        Peer *p = userdata;
        if (list_empty(&p->woken))
                list_append(&p->in->woken, &p->woken);
        loop_defer(p->in->turn);
}

static const MqttSessionPort session_port = {
        .decide = decide,
        .may_receive = may_receive,
        .submit = submit,
        .abandon = abandon,
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
        bool ended = mqtt_session_has_ended(p->session);
        if (!gateway_may_log(p->in->gateway, p->device))
                return;
        if (ended) {
                reason = mqtt_session_end_reason(p->session, &text);
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
        mqtt_session_free(p->session);
        list_remove(&p->woken);
        if (p->tls)
                tls_connection_close(p->tls);
        gateway_session_closed(p->in->gateway, p->device);
        free(p);
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
                if (mqtt_session_has_ended(p->session)) {
                        peer_free(p);
                        continue;
                }
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
                mqtt_session_tick(LIST_ENTRY(i, Peer, node)->session, now);
        return loop_timer_arm_relative(in->tick, TICK);
}

/* ---- the connection's handler ---- */

static TlsInput on_input(TlsConnection *c, void *userdata)
{
        Peer *p = userdata;
        Buf *in = tls_connection_input(c);
        size_t consumed;
        MqttInput r = mqtt_session_input(p->session, buf_view(in), PACKETS_TURN,
                                         loop_now(p->in->loop), &consumed);
        buf_consume(in, consumed);
        if (buf_len(tls_connection_output(c)) > 0)
                tls_connection_flush(c);
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
        mqtt_session_drained(p->session, loop_now(p->in->loop));
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
        int r = mqtt_session_new(&in->config, &session_port, p, in->router, d->device->name,
                                 tls_connection_output(c), now_boottime(), &p->session);
        if (r < 0)
                return r;
        list_append(&in->peers, &p->node);
        gateway_session_opened(in->gateway, d);
        tls_connection_set_handler(c, &handler, p);
        TAKE_PTR(p);
        return 0;
}

/* One device cannot take the places of all. */
static bool has_too_many(const IngressMqtt *in, const DeviceState *d)
{
        unsigned n = 0;
        LIST_FOREACH (i, &in->peers)
                n += LIST_ENTRY(i, Peer, node)->device == d;
        return n >= PEERS_PER_DEVICE;
}

static void on_established(TlsConnection *c, const PeerCertificate *certificate, void *userdata)
{
        IngressMqtt *in = userdata;
        const char *reason;
        DeviceState *d =
                gateway_admit(in->gateway, certificate, tls_connection_peer(c), "mqtt", &reason);
        if (d && has_too_many(in, d)) {
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
        int r = tls_server_new(in->loop, &config, &server_port, in, &reason, &in->server);
        return r < 0 ? log_error_errno(r, "%s", reason.text) : 0;
}

static int start_sources(IngressMqtt *in)
{
        int r = loop_add_deferred(in->loop, &in->turn, LOOP_FATAL, on_turn, in);
        if (r >= 0)
                r = loop_add_timer(in->loop, &in->tick, LOOP_FATAL, on_tick, in);
        return r < 0 ? r : loop_timer_arm_relative(in->tick, TICK);
}

int ingress_mqtt_new(Gateway *g, Loop *loop, const IngressMqttSettings *settings, IngressMqtt **ret)
{
        _cleanup_(ingress_mqtt_freep) IngressMqtt *in = calloc(1, sizeof(*in));
        if (!in)
                return -ENOMEM;
        in->gateway = g;
        in->loop = loop;
        list_init(&in->peers);
        list_init(&in->woken);
        in->config = MQTT_SESSION_CONFIG_DEFAULT;
        in->config.maximum_packet_size = settings->maximum_packet_size;
        /* A message of any size that is taken can wait for its receiver. */
        in->config.delivery_bytes += settings->maximum_packet_size;
        in->config.keep_alive = (uint16_t)MIN(settings->keep_alive / USEC_PER_SEC, UINT16_MAX);
        int r = mqtt_router_new(SESSIONS_PER_DEVICE, &in->router);
        if (r >= 0)
                r = start_sources(in);
        if (r >= 0)
                r = start_server(in, settings);
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
                mqtt_session_end(LIST_ENTRY(i, Peer, node)->session, MQTT_SERVER_SHUTTING_DOWN,
                                 "the gateway stops");
        LIST_FOREACH_SAFE (i, &in->peers)
                peer_free(LIST_ENTRY(i, Peer, node));
        tls_server_free(in->server);
        mqtt_router_free(in->router);
        loop_source_free(in->turn);
        loop_source_free(in->tick);
        free(in);
        return NULL;
}

void ingress_mqtt_handshakes(const IngressMqtt *in, uint64_t *ret_full, uint64_t *ret_resumed)
{
        tls_server_handshakes(in->server, ret_full, ret_resumed);
}

int ingress_mqtt_set_credential(IngressMqtt *in, Credential *c)
{
        return tls_server_set_credential(in->server, c);
}

int ingress_mqtt_listen_any(IngressMqtt *in, const struct sockaddr_storage *address,
                            uint16_t *ret_port)
{
        socklen_t len = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                       : sizeof(struct sockaddr_in);
        return tls_server_listen(in->server, (const struct sockaddr *)address, len, ret_port);
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
        return tls_server_prepare(in->server, &config, reason);
}

void ingress_mqtt_commit(IngressMqtt *in)
{
        tls_server_commit(in->server);
}

void ingress_mqtt_cancel(IngressMqtt *in)
{
        tls_server_cancel(in->server);
}

static void send_away(Peer *p, const char *why)
{
        p->leaving = true;
        mqtt_session_end(p->session, MQTT_ADMINISTRATIVE_ACTION, why);
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
}

size_t ingress_mqtt_publish(IngressMqtt *in, const char *device, MqttMessage *m)
{
        return mqtt_router_publish(in->router, device, m, NULL, loop_now(in->loop));
}
