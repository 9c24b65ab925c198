/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Attestation over MQTT: a real server and its connections, fed with packets, on a real loop. The
 * gateway behind is the test's: it gives nonces as told and keeps evidence until the test says what
 * became of it. */

#include "../unit.h"

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "base/str.h"
#include "daemon/admission.h"
#include "daemon/attest.h"
#include "daemon/ingress-mqtt-internal.h"
#include "domain/mqtt-connection.h"
#include "sallyport/attestation.h"

#define WAITING_MAX 16
#define HEARD_MAX   8

struct EvidenceTicket {
        EvidenceDone done;
        void *userdata;
};

/* A message that a client got. */
typedef struct Heard {
        char topic[64], type[80], correlation[16];
        uint8_t payload[512], qos;
        size_t len;
        bool retain;
        uint32_t expiry;
} Heard;

typedef struct Client {
        MqttConnection *connection;
        MqttVersion version;
        Buf out;
        int acknowledged; /* reason of the last PUBACK, -1: none */
        Heard heard[HEARD_MAX];
        size_t n_heard;
} Client;

struct Gateway {
        Loop *loop;
        IngressMqtt in;
        Registry *registry;
        Class class;
        Zone zone;
        Device devices[2];
        MqttPending *waiting[WAITING_MAX];
        size_t n_waiting;
        int error; /* of the next challenge or evidence */
        size_t nonce_len, evidence_len;
        uint16_t format;
        EvidenceTicket tickets[WAITING_MAX];
        size_t n_tickets;
        unsigned n_logged;
};

/* ---- the gateway behind ---- */

int gateway_challenge(Gateway *g, DeviceState *d, size_t len, uint8_t ret[static NONCE_MAX],
                      uint32_t *ret_lifetime)
{
        if (g->error < 0)
                return g->error;
        if (len < NONCE_MIN || len > NONCE_MAX)
                return -ERANGE;
        g->nonce_len = len;
        memset(ret, 0x5a, len);
        *ret_lifetime = 120;
        return 0;
}

int gateway_evidence(Gateway *g, DeviceState *d, uint16_t content_format, Bytes body,
                     EvidenceDone done, void *userdata, EvidenceTicket **ret_ticket)
{
        if (g->error < 0)
                return g->error;
        assert_true(g->n_tickets < WAITING_MAX);
        EvidenceTicket *t = &g->tickets[g->n_tickets++];
        *t = (EvidenceTicket){ done, userdata };
        g->format = content_format;
        g->evidence_len = body.len;
        *ret_ticket = t;
        return 0;
}

void evidence_ticket_cancel(EvidenceTicket *t)
{
        if (t)
                t->done = NULL;
}

static void appraised(Gateway *g, size_t i, EvidenceOutcome outcome, const char *ear)
{
        const EvidenceResult r = { .outcome = outcome,
                                   .reason = "as the test wants it",
                                   .ear = bytes_from_str(ear) };
        assert_non_null(g->tickets[i].done);
        g->tickets[i].done(&r, g->tickets[i].userdata);
        g->tickets[i].done = NULL;
}

bool gateway_may_log(Gateway *g, DeviceState *d)
{
        g->n_logged++;
        return true;
}

/* ---- the server's port ---- */

static DeviceState *find_device(Gateway *g, const char *name)
{
        return registry_get(g->registry, name);
}

static PolicyOutcome decide(MqttAccess access, const char *device, const char *topic,
                            PolicyTopic *ret, void *userdata)
{
        Gateway *g = userdata;
        const DeviceState *d = find_device(g, device);
        switch (access) {
        case MQTT_ACCESS_PUBLISH:
                return policy_publish(g->registry, d, topic, ret);
        case MQTT_ACCESS_WILL:
                return policy_will(g->registry, d, topic, ret);
        case MQTT_ACCESS_SUBSCRIBE:
                break;
        }
        return policy_subscribe(g->registry, d, topic, ret);
}

static bool may_be(const char *device, Bytes id, void *userdata)
{
        return true;
}

/* Nothing but attestation. */
static bool may_receive(const char *device, void *userdata)
{
        return false;
}

static const ClassLimits *limits(const char *device, void *userdata)
{
        return &((Gateway *)userdata)->class.limits;
}

static usec_t charge(const char *device, size_t len, usec_t now, void *userdata)
{
        return 0;
}

static void overflow(const char *device, const char *client_id, void *userdata)
{
}

static void will_lost(const char *device, const char *topic, const char *why, void *userdata)
{
}

static void failed(int error, void *userdata)
{
        fail();
}

static void begin(void *userdata)
{
}

static void put(const MqttKey *key, Bytes value, void *userdata)
{
}

static void remove_value(const MqttKey *key, void *userdata)
{
}

static int commit(MqttPending *p, void *userdata)
{
        Gateway *g = userdata;
        assert_true(g->n_waiting < WAITING_MAX);
        g->waiting[g->n_waiting++] = p;
        return 0;
}

static MqttReason submit(MqttPending *p, const MqttSubmission *m, const char **ret_text,
                         void *userdata)
{
        fail();
        return MQTT_UNSPECIFIED_ERROR;
}

static MqttReason attest(const MqttSubmission *m, const char **ret_text, void *userdata)
{
        Gateway *g = userdata;
        *ret_text = NULL;
        MqttReason reason = ingress_mqtt_rats(&g->in, find_device(g, m->device), m, ret_text);
        if (reason != MQTT_SUCCESS)
                assert_non_null(*ret_text);
        return reason;
}

static const MqttServerPort server_port = {
        .decide = decide,
        .may_be = may_be,
        .may_receive = may_receive,
        .limits = limits,
        .charge = charge,
        .overflow = overflow,
        .will_lost = will_lost,
        .failed = failed,
        .begin = begin,
        .put = put,
        .remove = remove_value,
        .commit = commit,
        .submit = submit,
        .attest = attest,
};

/* ---- clients ---- */

static void connected(void *userdata)
{
}

static void wake(void *userdata)
{
}

static void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
}

static const MqttConnectionPort connection_port = {
        .connected = connected,
        .denied = denied,
        .wake = wake,
};

static void take_publish(Client *c, const MqttFrame *f)
{
        MqttPublish p;
        assert_int_equal(mqtt_parse_publish(f, c->version, &p), MQTT_SUCCESS);
        assert_true(c->n_heard < HEARD_MAX && p.payload.len <= sizeof(c->heard[0].payload));
        Heard *h = &c->heard[c->n_heard++];
        *h = (Heard){ .qos = p.qos,
                      .retain = p.retain,
                      .len = p.payload.len,
                      .expiry = p.properties.message_expiry };
        memcpy(h->payload, p.payload.data, p.payload.len);
        snprintf(h->topic, sizeof(h->topic), "%.*s", (int)p.topic.len, (char *)p.topic.data);
        snprintf(h->type, sizeof(h->type), "%.*s", (int)p.properties.content_type.len,
                 (char *)p.properties.content_type.data);
        snprintf(h->correlation, sizeof(h->correlation), "%.*s",
                 (int)p.properties.correlation_data.len,
                 (char *)p.properties.correlation_data.data);
}

/* Reads what the server has written so far. */
static void drain(Client *c)
{
        MqttFrame f;
        while (mqtt_frame(buf_view(&c->out), MQTT_PACKET_MAX, &f) == MQTT_FRAMING_PACKET) {
                MqttAck a;
                if (f.type == MQTT_PUBLISH)
                        take_publish(c, &f);
                if (f.type == MQTT_PUBACK) {
                        assert_int_equal(mqtt_parse_ack(&f, c->version, &a), MQTT_SUCCESS);
                        c->acknowledged = (int)a.reason;
                }
                buf_consume(&c->out, f.size);
        }
        assert_int_equal(buf_len(&c->out), 0);
}

static void feed(Client *c, const Buf *packet)
{
        size_t consumed;
        usec_t wait;
        mqtt_connection_input(c->connection, buf_view(packet), 100, now_boottime(), &consumed,
                              &wait);
}

static void put_text(Buf *b, const char *s)
{
        assert_int_equal(buf_append_u16(b, (uint16_t)strlen(s)), 0);
        assert_int_equal(buf_append_str(b, s), 0);
}

static void put_packet(Buf *out, uint8_t first, const Buf *body)
{
        size_t n = buf_len(body);
        assert_int_equal(buf_append_u8(out, first), 0);
        do {
                assert_int_equal(buf_append_u8(out, (uint8_t)(n % 128 | (n > 127 ? 128 : 0))), 0);
                n /= 128;
        } while (n > 0);
        assert_int_equal(buf_append(out, buf_view(body)), 0);
}

static void send_packet(Client *c, uint8_t first, const Buf *body)
{
        _cleanup_buf_ Buf packet = BUF_INIT(64 * 1024);
        put_packet(&packet, first, body);
        feed(c, &packet);
}

static void client_open(Gateway *g, Client *c, const char *device, const char *id, MqttVersion v)
{
        _cleanup_buf_ Buf hello = BUF_INIT(256), filter = BUF_INIT(256);
        char topic[64];
        *c = (Client){ .version = v, .out = BUF_INIT(64 * 1024), .acknowledged = -1 };
        assert_int_equal(mqtt_connection_new(g->in.mqtt_server, device, &c->out, &connection_port,
                                             c, now_boottime(), &c->connection),
                         0);
        put_text(&hello, "MQTT");
        buf_append_u8(&hello, (uint8_t)v);
        buf_append(&hello, BYTES_LITERAL("\x02\0\x3c"));
        if (v == MQTT_5)
                buf_append_u8(&hello, 0);
        put_text(&hello, id);
        send_packet(c, 0x10, &hello);
        buf_append(&filter, BYTES_LITERAL("\0\x01"));
        if (v == MQTT_5)
                buf_append_u8(&filter, 0);
        snprintf(topic, sizeof(topic), "rats/%s/#", device);
        put_text(&filter, topic);
        buf_append_u8(&filter, 1);
        send_packet(c, 0x82, &filter);
        drain(c);
        assert_false(mqtt_connection_has_ended(c->connection));
}

static void client_close(Client *c)
{
        c->connection = mqtt_connection_free(c->connection);
        buf_done(&c->out);
}

typedef struct Ask {
        const char *topic;
        Bytes payload;
        const char *type, *response, *correlation;
        bool qos0;
} Ask;

static void put_property(Buf *b, uint8_t id, const char *value)
{
        if (!value)
                return;
        buf_append_u8(b, id);
        put_text(b, value);
}

/* Asks, and sees to it that nothing but the acknowledgement comes from inside the engine. */
static void publish(Client *c, const Ask *a)
{
        _cleanup_buf_ Buf body = BUF_INIT(64 * 1024), properties = BUF_INIT(127);
        size_t heard = c->n_heard;
        c->acknowledged = -1;
        put_text(&body, a->topic);
        if (!a->qos0)
                buf_append_u16(&body, 7);
        put_property(&properties, 0x03, a->type);
        put_property(&properties, 0x08, a->response);
        put_property(&properties, 0x09, a->correlation);
        if (c->version == MQTT_5)
                buf_append_u8(&body, (uint8_t)buf_len(&properties));
        buf_append(&body, buf_view(&properties));
        buf_append(&body, a->payload);
        send_packet(c, a->qos0 ? 0x30 : 0x32, &body);
        drain(c);
        assert_int_equal(c->n_heard, heard);
}

static void turn(Gateway *g)
{
        while (sd_event_run(loop_sd_event(g->loop), 0) > 0)
                ;
}

/* The one message that comes for it. */
static const Heard *answered(Gateway *g, Client *c, const Ask *a)
{
        publish(c, a);
        turn(g);
        drain(c);
        assert_int_equal(c->n_heard, 1);
        c->n_heard = 0;
        return &c->heard[0];
}

static void refused(Gateway *g, Client *c, const Ask *a, MqttReason reason)
{
        publish(c, a);
        turn(g);
        drain(c);
        if (c->acknowledged != (int)reason)
                fail_msg("%s, %s: %d", a->topic, strempty(a->response), c->acknowledged);
        assert_int_equal(c->n_heard, 0);
        assert_false(mqtt_connection_has_ended(c->connection));
}

/* ---- the fixture ---- */

static void posture_changed(DeviceState *d, Posture old, void *userdata)
{
}

static void configure(Gateway *g)
{
        static const RegistryPort port = { .posture_changed = posture_changed };
        static char names[2][8] = { "dev1", "dev2" };
        g->class = (Class){ .name = names[0],
                            .limits = { .sessions = 8, .subscriptions = 8, .queue_bytes = 65536 } };
        for (size_t i = 0; i < 2; i++)
                g->devices[i] = (Device){ .name = names[i],
                                          .zone = &g->zone,
                                          .class = &g->class,
                                          .certificate_name = names[i] };
        assert_int_equal(registry_new(&port, &g->registry), 0);
        assert_int_equal(registry_apply(g->registry, g->devices, 2, 0, NULL, NULL), 0);
}

static int set_up(void **state)
{
        Gateway *g = calloc(1, sizeof(*g));
        const MqttServerConfig config = MQTT_SERVER_CONFIG_DEFAULT;
        assert_non_null(g);
        assert_int_equal(loop_new(&g->loop), 0);
        configure(g);
        g->in.gateway = g;
        g->in.loop = g->loop;
        list_init(&g->in.rats);
        assert_int_equal(mqtt_server_new(&config, &server_port, g, &g->in.mqtt_server), 0);
        assert_int_equal(loop_add_deferred(g->loop, &g->in.answer, LOOP_FATAL,
                                           ingress_mqtt_rats_answer, &g->in),
                         0);
        *state = g;
        return 0;
}

static int tear_down(void **state)
{
        Gateway *g = *state;
        ingress_mqtt_rats_cancel(&g->in, NULL);
        loop_source_free(g->in.answer);
        mqtt_server_free(g->in.mqtt_server);
        registry_free(g->registry);
        loop_free(g->loop);
        free(g);
        return 0;
}

/* ---- the tests ---- */

#define CHALLENGE "rats/dev1/challenge"
#define EVIDENCE  "rats/dev1/evidence"

static void gives_nonces(void **state)
{
        Gateway *g = *state;
        Client c;
        client_open(g, &c, "dev1", "dev1", MQTT_5);
        const Heard *h = answered(g, &c, &(Ask){ .topic = CHALLENGE, .correlation = "question 1" });
        assert_int_equal(c.acknowledged, MQTT_SUCCESS);
        assert_string_equal(h->topic, "rats/dev1/nonce");
        assert_string_equal(h->type, "application/est-attestation-freshness+cbor");
        assert_string_equal(h->correlation, "question 1");
        assert_int_equal(h->expiry, 120);
        assert_int_equal(h->qos, 1);
        assert_false(h->retain);
        assert_int_equal(h->len, 1 + 6 + 2 + 32 + 7 + 2);
        assert_memory_equal(h->payload, "\xa2\x65nonce\x58\x20\x5a", 10);
        answered(g, &c,
                 &(Ask){ .topic = CHALLENGE, .payload = BYTES_LITERAL("\xa1\x63len\x18\x30") });
        assert_int_equal(g->nonce_len, 48);
        answered(g, &c,
                 &(Ask){ .topic = CHALLENGE,
                         .type = "application/cbor",
                         .payload = BYTES_LITERAL("\xa1\x63len\x08") });
        assert_int_equal(g->nonce_len, 8);
        client_close(&c);
}

static void gives_nonces_in_json(void **state)
{
        Gateway *g = *state;
        static const Ask asks[] = {
                { CHALLENGE, BYTES_LITERAL("{\"len\": 9}"), NULL },
                { CHALLENGE, BYTES_LITERAL("{\"len\": 9}"), "application/json" },
                { CHALLENGE, BYTES_LITERAL("{\"len\": 9}"), SALLYPORT_MEDIA_NONCE_JSON },
        };
        static const char json[] = "{\"nonce\":\"WlpaWlpaWlpa\",\"expiry\":120}";
        Client c;
        client_open(g, &c, "dev1", "dev1", MQTT_5);
        for (size_t i = 0; i < ELEMENTSOF(asks); i++) {
                const Heard *h = answered(g, &c, &asks[i]);
                assert_string_equal(h->type, "application/est-attestation-freshness+json");
                assert_true(bytes_equal(BYTES(h->payload, h->len), bytes_from_str(json)));
        }
        client_close(&c);
}

static void refuses_bad_requests(void **state)
{
        Gateway *g = *state;
        static const Ask asks[] = {
                { CHALLENGE, BYTES_LITERAL("\xa1\x63len\x07"), NULL },
                { CHALLENGE, BYTES_LITERAL("\xa1\x63len\x18\x41"), NULL },
                { CHALLENGE, BYTES_LITERAL("\xa1\x63len\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
                  NULL },
                { CHALLENGE, BYTES_LITERAL("garbage"), NULL },
                { CHALLENGE, BYTES_LITERAL("\xa1\x63len\x08"), "application/json" },
                { CHALLENGE, BYTES_LITERAL("{\"len\": 9}"), "application/cbor" },
                { CHALLENGE, BYTES_LITERAL("{\"len\": 9}"), "text/plain" },
        };
        Client c;
        client_open(g, &c, "dev1", "dev1", MQTT_5);
        for (size_t i = 0; i < ELEMENTSOF(asks); i++)
                refused(g, &c, &asks[i], MQTT_PAYLOAD_FORMAT_INVALID);
        g->error = -EAGAIN;
        refused(g, &c, &(Ask){ .topic = CHALLENGE }, MQTT_QUOTA_EXCEEDED);
        g->error = -EIO;
        refused(g, &c, &(Ask){ .topic = CHALLENGE }, MQTT_QUOTA_EXCEEDED);
        refused(g, &c, &(Ask){ .topic = "rats/dev1/nonce" }, MQTT_TOPIC_NAME_INVALID);
        refused(g, &c, &(Ask){ .topic = "rats/dev1/challenge/x" }, MQTT_TOPIC_NAME_INVALID);
        refused(g, &c, &(Ask){ .topic = "rats/dev2/challenge" }, MQTT_NOT_AUTHORIZED);
        assert_int_equal(g->n_logged, 2); /* the policy's own refusals are the server's to tell */
        client_close(&c);
}

static void answers_below_the_device(void **state)
{
        Gateway *g = *state;
        static const char *const outside[] = {
                "rats/dev2/nonce",     "rats/dev1",          "rats/dev1/",   "rats/dev10/nonce",
                "rats/dev1/challenge", "rats/dev1/evidence", "dev1/nonce",   "nonce",
                "dev1/rats/dev1/x",    "/rats/dev1/x",       "rats//dev1/x",
        };
        Client c;
        client_open(g, &c, "dev1", "dev1", MQTT_5);
        for (size_t i = 0; i < ELEMENTSOF(outside); i++) {
                refused(g, &c, &(Ask){ .topic = CHALLENGE, .response = outside[i] },
                        MQTT_NOT_AUTHORIZED);
                refused(g, &c, &(Ask){ .topic = EVIDENCE, .response = outside[i] },
                        MQTT_NOT_AUTHORIZED);
        }
        assert_int_equal(g->n_tickets, 0);
        const Heard *h =
                answered(g, &c, &(Ask){ .topic = CHALLENGE, .response = "rats/dev1/shell/7" });
        assert_string_equal(h->topic, "rats/dev1/shell/7");
        client_close(&c);
}

/* {-1: title, -4: code} */
static void assert_problem(const Heard *h, const char *topic, uint8_t code)
{
        assert_string_equal(h->topic, topic);
        assert_true(h->len > 4);
        assert_memory_equal(h->payload + h->len - 3, "\x23\x18", 2);
        assert_int_equal(h->payload[h->len - 1], code);
}

/* Who cannot be refused without losing the connection, or does not hear of it. */
static void answers_instead_of_refusing(void **state)
{
        Gateway *g = *state;
        for (unsigned v5 = 0; v5 < 2; v5++) {
                Client c;
                client_open(g, &c, "dev1", "dev1", v5 ? MQTT_5 : MQTT_3_1_1);
                g->error = -EAGAIN;
                const Heard *h = answered(g, &c, &(Ask){ .topic = CHALLENGE, .qos0 = v5 });
                assert_problem(h, "rats/dev1/nonce", 0x9d);
                assert_string_equal(h->type, v5 ? SALLYPORT_MEDIA_PROBLEM : "");
                g->error = -EBUSY;
                h = answered(g, &c, &(Ask){ .topic = EVIDENCE, .qos0 = v5 });
                assert_problem(h, "rats/dev1/result", 0xa3);
                g->error = 0;
                h = answered(g, &c, &(Ask){ .topic = CHALLENGE, .qos0 = v5 });
                assert_memory_equal(h->payload, "\xa2\x65nonce", 7);
                assert_false(mqtt_connection_has_ended(c.connection));
                client_close(&c);
        }
}

static void takes_evidence(void **state)
{
        Gateway *g = *state;
        static const struct {
                const char *type;
                uint16_t format;
        } t[] = {
                { NULL, 273 },
                { "application/cmw+cbor", 273 },
                { "application/eat+cwt; eat_profile=\"tag:psacertified.org,2023:psa#tfm\"", 10003 },
                { SALLYPORT_MEDIA_PSA_LEGACY, 10004 },
                { "application/eat+cwt", 263 },
                { "application/x", 0 },
        };
        Client c;
        client_open(g, &c, "dev1", "dev1", MQTT_5);
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                publish(&c, &(Ask){ .topic = EVIDENCE,
                                    .payload = BYTES_LITERAL("token"),
                                    .type = t[i].type,
                                    .correlation = "c" });
                assert_int_equal(c.acknowledged, MQTT_SUCCESS);
                assert_int_equal(g->format, t[i].format);
                assert_int_equal(g->evidence_len, 5);
                appraised(g, i, EVIDENCE_APPRAISED, "a.b.c");
                drain(&c);
                assert_int_equal(c.n_heard, 1);
                assert_string_equal(c.heard[0].topic, "rats/dev1/result");
                assert_string_equal(c.heard[0].type, SALLYPORT_MEDIA_EAR_JWT);
                assert_string_equal(c.heard[0].correlation, "c");
                assert_int_equal(c.heard[0].qos, 1);
                assert_true(bytes_equal(BYTES(c.heard[0].payload, c.heard[0].len),
                                        BYTES_LITERAL("a.b.c")));
                c.n_heard = 0;
        }
        client_close(&c);
}

static void tells_what_was_wrong(void **state)
{
        Gateway *g = *state;
        static const struct {
                EvidenceOutcome outcome;
                uint8_t code;
        } t[] = {
                { EVIDENCE_APPRAISED, 0xa0 }, /* and not signed */
                { EVIDENCE_MALFORMED, 0x80 }, { EVIDENCE_FORBIDDEN, 0x83 },
                { EVIDENCE_NOT_FRESH, 0x89 }, { EVIDENCE_UNSUPPORTED, 0x8f },
                { EVIDENCE_FAILED, 0xa0 },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                Client c;
                client_open(g, &c, "dev1", "dev1", i % 2 ? MQTT_5 : MQTT_3_1_1);
                publish(&c, &(Ask){ .topic = EVIDENCE });
                appraised(g, i, t[i].outcome, "");
                drain(&c);
                assert_int_equal(c.n_heard, 1);
                assert_problem(&c.heard[0], "rats/dev1/result", t[i].code);
                assert_non_null(
                        memmem(c.heard[0].payload, c.heard[0].len, "as the test wants it", 20));
                client_close(&c);
        }
}

static void bounds_evidence(void **state)
{
        Gateway *g = *state;
        static const uint8_t large[EVIDENCE_MAX + 1];
        Client c;
        client_open(g, &c, "dev1", "dev1", MQTT_5);
        refused(g, &c, &(Ask){ .topic = EVIDENCE, .payload = BYTES(large, sizeof(large)) },
                MQTT_QUOTA_EXCEEDED);
        g->error = -EBUSY;
        refused(g, &c, &(Ask){ .topic = EVIDENCE }, MQTT_QUOTA_EXCEEDED);
        g->error = 0;
        publish(&c, &(Ask){ .topic = EVIDENCE, .payload = BYTES(large, EVIDENCE_MAX) });
        assert_int_equal(c.acknowledged, MQTT_SUCCESS);
        assert_int_equal(g->evidence_len, EVIDENCE_MAX);
        client_close(&c);
}

/* All sessions of the device hear the answer, no other device does. */
static void answers_the_device_alone(void **state)
{
        Gateway *g = *state;
        Client asks, listens, other;
        client_open(g, &asks, "dev1", "dev1", MQTT_3_1_1);
        client_open(g, &listens, "dev1", "dev1/shell", MQTT_5);
        client_open(g, &other, "dev2", "dev2", MQTT_5);
        answered(g, &asks, &(Ask){ .topic = CHALLENGE });
        drain(&listens);
        drain(&other);
        assert_int_equal(listens.n_heard, 1);
        assert_int_equal(other.n_heard, 0);
        /* Who asked may be gone when the verdict comes. */
        publish(&asks, &(Ask){ .topic = EVIDENCE });
        client_close(&asks);
        appraised(g, 0, EVIDENCE_APPRAISED, "a.b.c");
        drain(&listens);
        assert_int_equal(listens.n_heard, 2);
        client_close(&listens);
        client_close(&other);
}

static void forgets(void **state)
{
        Gateway *g = *state;
        Client one, two;
        client_open(g, &one, "dev1", "dev1", MQTT_5);
        client_open(g, &two, "dev2", "dev2", MQTT_5);
        publish(&one, &(Ask){ .topic = EVIDENCE });
        publish(&one, &(Ask){ .topic = CHALLENGE });
        publish(&two, &(Ask){ .topic = "rats/dev2/evidence" });
        ingress_mqtt_rats_cancel(&g->in, find_device(g, "dev1"));
        assert_null(g->tickets[0].done);
        turn(g);
        drain(&one);
        assert_int_equal(one.n_heard, 0);
        appraised(g, 1, EVIDENCE_APPRAISED, "a.b.c");
        drain(&two);
        assert_int_equal(two.n_heard, 1);
        publish(&two, &(Ask){ .topic = "rats/dev2/evidence" });
        ingress_mqtt_rats_cancel(&g->in, NULL);
        assert_null(g->tickets[2].done);
        assert_true(list_empty(&g->in.rats));
        client_close(&one);
        client_close(&two);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(gives_nonces, set_up, tear_down),
                cmocka_unit_test_setup_teardown(gives_nonces_in_json, set_up, tear_down),
                cmocka_unit_test_setup_teardown(refuses_bad_requests, set_up, tear_down),
                cmocka_unit_test_setup_teardown(answers_below_the_device, set_up, tear_down),
                cmocka_unit_test_setup_teardown(answers_instead_of_refusing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(takes_evidence, set_up, tear_down),
                cmocka_unit_test_setup_teardown(tells_what_was_wrong, set_up, tear_down),
                cmocka_unit_test_setup_teardown(bounds_evidence, set_up, tear_down),
                cmocka_unit_test_setup_teardown(answers_the_device_alone, set_up, tear_down),
                cmocka_unit_test_setup_teardown(forgets, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
