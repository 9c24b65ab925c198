/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A connection to the MQTT server: bytes in splits that the input chooses, with messages becoming
 * durable, the output draining and time passing in between. The output stays within its ceiling and
 * holds nothing but whole packets, and no PUBACK or PUBREC goes out that no durable message pays
 * for. */
#include <stdio.h>

#include "domain/mqtt-connection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WAITING_MAX 64

static Buf out;
static MqttPending *waiting[WAITING_MAX]; /* for the disk, in order */
static size_t n_waiting;
static size_t n_durable, n_refused, n_taken;

static void require(bool ok)
{
        if (!ok)
                abort();
}

static PolicyOutcome decide(MqttAccess access, const char *device, const char *topic,
                            PolicyTopic *ret, void *userdata)
{
        bool own = strncmp(topic, "d/", 2) == 0;
        if (topic[0] == '$') {
                n_refused += access == MQTT_ACCESS_PUBLISH;
                return POLICY_RESERVED;
        }
        *ret = (PolicyTopic){ .left_out = own ? 0 : 2, .below = 2 };
        snprintf(ret->absolute, sizeof(ret->absolute), "%s%s", own ? "" : "d/", topic);
        return POLICY_OWN;
}

static bool may_be(const char *device, Bytes id, void *userdata)
{
        return id.data[0] == 'd';
}

static bool may_receive(const char *device, void *userdata)
{
        return true;
}

static const ClassLimits *limits(const char *device, void *userdata)
{
        static const ClassLimits l = {
                .sessions = 2, .subscriptions = 8, .retained_bytes = 4096, .queue_bytes = 4096
        };
        return &l;
}

static usec_t charge(const char *device, size_t len, usec_t now, void *userdata)
{
        return 0;
}

static void overflow(const char *device, const char *client_id, void *userdata)
{
}

static void failed(int error, void *userdata)
{
        abort();
}

static void put(const MqttKey *key, Bytes value, void *userdata)
{
}

static void remove_value(const MqttKey *key, void *userdata)
{
}

static int commit(MqttPending *p, void *userdata)
{
        require(n_waiting < WAITING_MAX);
        waiting[n_waiting++] = p;
        return 0;
}

static MqttReason submit(MqttPending *p, const MqttSubmission *m, const char **ret_text,
                         void *userdata)
{
        require(strlen(m->topic) <= 1024);
        return commit(p, userdata) == 0 ? MQTT_SUCCESS : MQTT_UNSPECIFIED_ERROR;
}

static MqttReason attest(const MqttSubmission *m, const char **ret_text, void *userdata)
{
        abort(); /* decide() knows no such topic */
}

static void nothing(void *userdata)
{
}

static void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
}

static const MqttServerPort server_port = {
        .decide = decide,
        .may_be = may_be,
        .may_receive = may_receive,
        .limits = limits,
        .charge = charge,
        .overflow = overflow,
        .failed = failed,
        .begin = nothing,
        .put = put,
        .remove = remove_value,
        .commit = commit,
        .submit = submit,
        .attest = attest,
};

static const MqttConnectionPort port = {
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
                n_taken += f.type == MQTT_PUBACK || f.type == MQTT_PUBREC;
                buf_consume(&out, f.size);
        }
        require(n_taken <= n_durable + n_refused);
}

static void become_durable(void)
{
        if (n_waiting == 0)
                return;
        MqttPending *p = waiting[0];
        memmove(waiting, waiting + 1, --n_waiting * sizeof(*waiting));
        n_durable++;
        mqtt_server_settle(p, MQTT_SUCCESS, NULL);
}

static void event(MqttServer *server, MqttConnection *c, uint8_t what, usec_t now)
{
        switch (what & 7) {
        case 0:
        case 1:
                become_durable();
                break;
        case 2:
                read_output();
                mqtt_connection_drained(c, now);
                break;
        case 3:
                mqtt_connection_tick(c, now);
                mqtt_server_tick(server, now, now);
                break;
        default:
                break;
        }
}

/* The first byte of each step: how many bytes follow at once (six bits up), and an event. */
static void play(MqttServer *server, MqttConnection *c, Reader *r)
{
        Buf in = BUF_INIT(1 << 16);
        usec_t now = 0;
        while (reader_left(r) >= 2) {
                uint8_t len = reader_u8(r), what = reader_u8(r);
                Bytes piece = reader_bytes(r, MIN((size_t)len, reader_left(r)));
                size_t consumed;
                usec_t wait;
                if (buf_append(&in, piece) < 0)
                        break;
                mqtt_connection_input(c, buf_view(&in), 25, now, &consumed, &wait);
                require(consumed <= buf_len(&in));
                buf_consume(&in, consumed);
                now += (what >> 3) * USEC_PER_SEC;
                event(server, c, what, now);
        }
        buf_done(&in);
        read_output();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(mqtt_server_freep) MqttServer *server = NULL;
        MqttServerConfig config = MQTT_SERVER_CONFIG_DEFAULT;
        MqttConnection *c = NULL;
        Reader r = reader_new(BYTES(data, size));
        config.maximum_packet_size = 2048;
        config.receive_maximum = 4;
        out = BUF_INIT(4096);
        n_waiting = n_durable = n_refused = n_taken = 0;
        require(mqtt_server_new(&config, &server_port, NULL, &server) == 0);
        require(mqtt_connection_new(server, "d", &out, &port, NULL, 0, &c) == 0);
        play(server, c, &r);
        mqtt_connection_free(c);
        while (n_waiting > 0) /* those of a will among them */
                become_durable();
        buf_done(&out);
        return 0;
}
