/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-client-bench.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

static void on_connected(const MqttLimits *limits, void *userdata)
{
        Fixture *f = userdata;
        f->seen.connected++;
        f->seen.limits = *limits;
}
static void on_disconnected(MqttEnd end, const char *reason, usec_t retry_in, void *userdata)
{
        Fixture *f = userdata;
        f->seen.disconnected++;
        f->seen.end = end;
        f->seen.retry_in = retry_in;
        snprintf(f->seen.reason, sizeof(f->seen.reason), "%s", reason);
}
static void on_acknowledged(int mid, uint8_t reason_code, void *userdata)
{
        Fixture *f = userdata;
        f->seen.acknowledged++;
        f->seen.reason_code = reason_code;
}
static void on_message(const MqttClientMessage *m, void *userdata)
{
        Fixture *f = userdata;
        f->seen.messages++;
        snprintf(f->seen.topic, sizeof(f->seen.topic), "%s", m->topic);
        snprintf(f->seen.payload, sizeof(f->seen.payload), "%.*s", (int)m->payload.len,
                 (const char *)m->payload.data);
        snprintf(f->seen.type, sizeof(f->seen.type), "%s", m->content_type ? m->content_type : "");
}
static const MqttClientEvents events = {
        .connected = on_connected,
        .disconnected = on_disconnected,
        .acknowledged = on_acknowledged,
        .message = on_message,
};

static Broker shared;

int group_setup(void **state)
{
        broker_prepare(&shared);
        return 0;
}

int group_teardown(void **state)
{
        broker_done(&shared);
        return 0;
}

int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        f->broker = shared;
        assert_int_equal(loop_new(&f->loop), 0);
        f->credential = broker_credential(&f->broker, false);
        f->config = (MqttClientConfig){
                .host = "127.0.0.1",
                .port = f->broker.port,
                .server_name = "broker.test",
                .ca = f->broker.ca,
                .client_id = "gw-1",
                .keep_alive = 5,
                .window = 100,
                .backoff_min = 50 * USEC_PER_MSEC,
                .backoff_max = 200 * USEC_PER_MSEC,
        };
        *state = f;
        return 0;
}

int teardown(void **state)
{
        Fixture *f = *state;
        mqtt_client_free(f->client);
        credential_unref(f->credential);
        broker_kill(&f->broker);
        loop_free(f->loop);
        free(f);
        return 0;
}

unsigned pump(Fixture *f, const unsigned *counter, unsigned target, usec_t patience)
{
        usec_t deadline = now_boottime() + patience;
        unsigned turns = 0;
        while (*counter < target) {
                assert_true(sd_event_run(loop_sd_event(f->loop), 100 * USEC_PER_MSEC) >= 0);
                if (now_boottime() > deadline)
                        fail_msg("nothing came; last reason: %s", f->seen.reason);
                turns++;
        }
        return turns;
}

void start(Fixture *f)
{
        assert_int_equal(
                mqtt_client_new(f->loop, &f->config, f->credential, &events, f, &f->client), 0);
}
