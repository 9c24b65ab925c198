/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The session engine: bytes in splits that the input chooses, with messages becoming durable, the
 * output draining and time passing in between. The output stays within its ceiling and holds
 * nothing but whole packets, and no PUBACK goes out that no durable message pays for. */
#include "domain/mqtt-session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WAITING_MAX 64

static Buf out;
static MqttInbound *waiting[WAITING_MAX];
static size_t n_waiting;
static size_t n_durable, n_refused, n_pubacks;

static void require(bool ok)
{
        if (!ok)
                abort();
}

static MqttDecision decide(MqttAccess access, const char *topic, void *userdata)
{
        MqttDecision d = { .allowed = topic[0] != '$', .reason = "reserved", .topic = topic };
        n_refused += !d.allowed && access == MQTT_ACCESS_PUBLISH;
        if (strncmp(topic, "d/", 2) == 0)
                d.topic += 2;
        return d;
}

static bool may_receive(MqttSpace space, void *userdata)
{
        return true;
}

static int submit(MqttInbound *in, const MqttSubmission *m, void *userdata)
{
        require(strlen(m->topic) <= 1024);
        if (!in)
                return 0;
        require(n_waiting < WAITING_MAX);
        waiting[n_waiting++] = in;
        return 0;
}

static void forget(size_t i)
{
        waiting[i] = waiting[--n_waiting];
}

static void abandon(MqttInbound *in, void *userdata)
{
        for (size_t i = 0; i < n_waiting; i++)
                if (waiting[i] == in) {
                        forget(i);
                        return;
                }
        abort();
}

static void nothing(void *userdata)
{
}

static void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
}

static const MqttSessionPort port = {
        .decide = decide,
        .may_receive = may_receive,
        .submit = submit,
        .abandon = abandon,
        .connected = nothing,
        .denied = denied,
        .wake = nothing,
};

static void read_output(void)
{
        MqttFrame f;
        require(buf_len(&out) <= out.max);
        while (buf_len(&out) > 0) {
                require(mqtt_frame(buf_view(&out), SIZE_MAX, &f) == MQTT_FRAMING_PACKET);
                n_pubacks += f.type == MQTT_PUBACK;
                buf_consume(&out, f.size);
        }
        require(n_pubacks <= n_durable + n_refused);
}

static void become_durable(size_t which)
{
        if (n_waiting == 0)
                return;
        MqttInbound *in = waiting[which % n_waiting];
        forget(which % n_waiting);
        n_durable++;
        mqtt_session_submitted(in, MQTT_SUCCESS, NULL);
}

static void event(MqttSession *s, uint8_t what, usec_t now)
{
        switch (what & 7) {
        case 0:
        case 1:
                become_durable(what >> 3);
                break;
        case 2:
                read_output();
                mqtt_session_drained(s, now);
                break;
        case 3:
                mqtt_session_tick(s, now);
                break;
        default:
                break;
        }
}

/* The first byte of each step: how many bytes follow at once (six bits up), and an event. */
static void play(MqttSession *s, Reader *r)
{
        Buf in = BUF_INIT(1 << 16);
        usec_t now = 0;
        while (reader_left(r) >= 2) {
                uint8_t len = reader_u8(r), what = reader_u8(r);
                Bytes piece = reader_bytes(r, MIN((size_t)len, reader_left(r)));
                size_t consumed;
                if (buf_append(&in, piece) < 0)
                        break;
                mqtt_session_input(s, buf_view(&in), 25, now, &consumed);
                require(consumed <= buf_len(&in));
                buf_consume(&in, consumed);
                now += (what >> 3) * USEC_PER_SEC;
                event(s, what, now);
        }
        buf_done(&in);
        read_output();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(mqtt_router_freep) MqttRouter *router = NULL;
        MqttSessionConfig config = MQTT_SESSION_CONFIG_DEFAULT;
        MqttSession *s = NULL;
        Reader r = reader_new(BYTES(data, size));
        config.maximum_packet_size = 2048;
        config.receive_maximum = 4;
        config.delivery_bytes = 4096;
        out = BUF_INIT(4096);
        n_waiting = n_durable = n_refused = n_pubacks = 0;
        require(mqtt_router_new(2, &router) == 0);
        require(mqtt_session_new(&config, &port, NULL, router, "d", &out, 0, &s) == 0);
        play(s, &r);
        mqtt_session_free(s);
        require(n_waiting == 0);
        buf_done(&out);
        return 0;
}
