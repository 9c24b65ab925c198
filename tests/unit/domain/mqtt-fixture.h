/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* An MQTT server whose disk answers when the test says so, and clients of raw packets. To be
 * included after unit.h. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../hex.h"
#include "domain/mqtt-connection.h"
#include "domain/mqtt-journal.h"

#define CONNECT3 "10 10 0004'MQTT'04 02 003c 0004'dev1' "
#define CONNECT5 "10 11 0004'MQTT'05 02 003c 00 0004'dev1' "
#define CONNACK3 "20 02 00 00 "
/* receive maximum 4, 4 aliases, 1024 bytes */
#define OFFER    "21 0004 22 0004 27 00000400 "
#define CONNACK5 "20 0e 00 00 0b " OFFER
/* a session that is kept for 100 s */
#define KEPT5            "10 16 0004'MQTT'05 00 003c 05 11 00000064 0004'dev1' "
#define CONNACK5_PRESENT "20 0e 01 00 0b " OFFER
/* another client of the device */
#define OTHER5 "10 13 0004'MQTT'05 02 003c 00 0006'dev1/o' "

#define DISK_MAX 256

/* What the server asked its port for. */
typedef struct Disk {
        MqttPending *waiting[DISK_MAX]; /* NULL: answered */
        size_t n_waiting;
        char topics[DISK_MAX][64]; /* "device:topic=payload", "rats:..." for attestation */
        size_t n_submitted, n_commits, n_put, n_removed, n_overflows, n_begun;
        MqttKey values[DISK_MAX];
        size_t n_values;

        bool slow; /* answers when the test says so, else after each packet */
        MqttReason refuse, refuse_attestation;
        bool no_barrier;
        usec_t wait;        /* the device's allowance */
        const char *closed; /* a device that may receive attestation alone */
        const char *gone;   /* a device that is no more */
        const char *denied; /* a topic or filter */
        ClassLimits limits;
} Disk;

typedef struct Client {
        MqttConnection *connection;
        Buf out;
        size_t n_denied, n_connected, n_wakes;
        usec_t wait;
} Client;

static Disk disk;
static MqttServer *server;
static MqttServerConfig config;

static inline PolicyOutcome decide_own(const char *device, const char *topic, PolicyTopic *ret)
{
        size_t n = strlen(device);
        bool named = strncmp(topic, device, n) == 0 && topic[n] == '/';
        snprintf(ret->absolute, sizeof(ret->absolute), "%s%s%s", named ? "" : device,
                 named ? "" : "/", topic);
        ret->left_out = named ? 0 : n + 1;
        ret->below = n + 1;
        return POLICY_OWN;
}

static inline PolicyOutcome decide(MqttAccess access, const char *device, const char *topic,
                                   PolicyTopic *ret, void *userdata)
{
        char rats[64];
        int n = snprintf(rats, sizeof(rats), "rats/%s/", device);
        if (disk.denied && strcmp(topic, disk.denied) == 0)
                return POLICY_RESERVED;
        if (strncmp(topic, rats, (size_t)n) != 0 && strncmp(topic, "all/", 4) != 0) {
                bool foreign = strncmp(topic, "dev", 3) == 0 &&
                               strncmp(topic, device, strlen(device)) != 0;
                return foreign || topic[0] == '$' ? POLICY_FOREIGN : decide_own(device, topic, ret);
        }
        bool granted = topic[0] == 'a';
        snprintf(ret->absolute, sizeof(ret->absolute), "%s", topic);
        ret->left_out = 0;
        ret->below = granted ? 0 : (size_t)n;
        return granted ? POLICY_GRANTED : POLICY_ATTESTATION;
}

static inline bool may_be(const char *device, Bytes id, void *userdata)
{
        size_t n = strlen(device);
        return id.len >= n && memcmp(id.data, device, n) == 0 && (id.len == n || id.data[n] == '/');
}

static inline bool may_receive(const char *device, void *userdata)
{
        return !disk.closed || strcmp(device, disk.closed) != 0;
}

static inline const ClassLimits *limits(const char *device, void *userdata)
{
        return disk.gone && strcmp(device, disk.gone) == 0 ? NULL : &disk.limits;
}

static inline usec_t charge(const char *device, size_t len, usec_t now, void *userdata)
{
        return disk.wait;
}

static inline void overflow(const char *device, const char *client_id, void *userdata)
{
        disk.n_overflows++;
}

static inline void failed(int error, void *userdata)
{
        fail_msg("failed: %d", error);
}

static inline void begin(void *userdata)
{
        disk.n_begun++;
}

static inline size_t find_value(const MqttKey *key)
{
        size_t i = 0;
        while (i < disk.n_values && (disk.values[i].kind != key->kind ||
                                     disk.values[i].a != key->a || disk.values[i].b != key->b))
                i++;
        return i;
}

static inline void put(const MqttKey *key, Bytes value, void *userdata)
{
        size_t i = find_value(key);
        disk.n_put++;
        if (i < disk.n_values)
                return;
        assert_true(disk.n_values < DISK_MAX);
        disk.values[disk.n_values++] = *key;
}

static inline void remove_value(const MqttKey *key, void *userdata)
{
        size_t i = find_value(key);
        disk.n_removed++;
        if (i < disk.n_values)
                disk.values[i] = disk.values[--disk.n_values];
}

static inline void wait_for_disk(MqttPending *p)
{
        assert_true(disk.n_waiting < DISK_MAX);
        disk.waiting[disk.n_waiting++] = p;
}

static inline int commit(MqttPending *p, void *userdata)
{
        disk.n_commits++;
        if (disk.no_barrier)
                return -ENOMEM;
        wait_for_disk(p);
        return 0;
}

static inline void note(const char *who, const MqttSubmission *m)
{
        assert_true(disk.n_submitted < DISK_MAX);
        snprintf(disk.topics[disk.n_submitted++], sizeof(disk.topics[0]), "%s:%s=%.*s", who,
                 m->topic, (int)m->payload.len, (const char *)m->payload.data);
}

static inline MqttReason submit(MqttPending *p, const MqttSubmission *m, const char **ret_text,
                                void *userdata)
{
        *ret_text = "refused";
        if (disk.refuse != MQTT_SUCCESS)
                return disk.refuse;
        note(m->device, m);
        wait_for_disk(p);
        return MQTT_SUCCESS;
}

static inline MqttReason attest(const MqttSubmission *m, const char **ret_text, void *userdata)
{
        *ret_text = "refused";
        note("rats", m);
        return disk.refuse_attestation;
}

static const MqttServerPort server_port = {
        .decide = decide,
        .may_be = may_be,
        .may_receive = may_receive,
        .limits = limits,
        .charge = charge,
        .overflow = overflow,
        .failed = failed,
        .begin = begin,
        .put = put,
        .remove = remove_value,
        .commit = commit,
        .submit = submit,
        .attest = attest,
};

static inline void connected(void *userdata)
{
        ((Client *)userdata)->n_connected++;
}

static inline void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
        assert_non_null(reason);
        ((Client *)userdata)->n_denied++;
}

static inline void wake(void *userdata)
{
        ((Client *)userdata)->n_wakes++;
}

static const MqttConnectionPort connection_port = {
        .connected = connected,
        .denied = denied,
        .wake = wake,
};

static inline void settle(size_t i, MqttReason reason, const char *text)
{
        MqttPending *p = disk.waiting[i];
        assert_non_null(p);
        disk.waiting[i] = NULL;
        mqtt_server_settle(p, reason, text);
}

static inline void durable(size_t i)
{
        settle(i, MQTT_SUCCESS, NULL);
}

/* What settling brings is settled as well. */
static inline void settle_all(MqttReason reason)
{
        for (size_t i = 0; i < disk.n_waiting; i++)
                if (disk.waiting[i])
                        settle(i, reason, NULL);
        disk.n_waiting = 0;
}

static inline void open_as(Client *c, const char *device)
{
        *c = (Client){ .out = BUF_INIT(4096) };
        assert_int_equal(mqtt_connection_new(server, device, &c->out, &connection_port, c, 0,
                                             &c->connection),
                         0);
}

static inline void client_open(Client *c)
{
        open_as(c, "dev1");
}

/* The Network Connection closes. */
static inline void client_close(Client *c)
{
        c->connection = mqtt_connection_free(c->connection);
        buf_done(&c->out);
        if (!disk.slow)
                settle_all(MQTT_SUCCESS);
}

/* Packet by packet, each answered by the disk before the next, unless that is slow. */
static inline MqttInput feed_at(Client *c, const char *hex, usec_t now)
{
        uint8_t in[2048];
        size_t consumed, n = unhex(hex, in, sizeof(in));
        MqttInput r;
        size_t at = 0;
        do {
                r = mqtt_connection_input(c->connection, BYTES(in + at, n - at), 1, now, &consumed,
                                          &c->wait);
                at += consumed;
                if (!disk.slow)
                        settle_all(MQTT_SUCCESS);
        } while (r == MQTT_INPUT_AGAIN || (r == MQTT_INPUT_BLOCKED && consumed > 0 && !disk.slow));
        if (r == MQTT_INPUT_MORE)
                assert_int_equal(at, n);
        return r;
}

static inline MqttInput feed(Client *c, const char *hex)
{
        return feed_at(c, hex, 0);
}

static inline void assert_out(Client *c, const char *hex)
{
        uint8_t expected[1024];
        size_t n = unhex(hex, expected, sizeof(expected));
        Bytes out = buf_view(&c->out);
        if (!bytes_equal(out, BYTES(expected, n))) {
                for (size_t i = 0; i < out.len; i++)
                        print_error("%02x ", out.data[i]);
                fail_msg("instead of %s", hex);
        }
        buf_clear(&c->out);
}

static inline void connect_as(Client *c, const char *device, const char *connect,
                              const char *connack)
{
        open_as(c, device);
        assert_int_equal(feed(c, connect), MQTT_INPUT_MORE);
        assert_out(c, connack);
        assert_int_equal(c->n_connected, 1);
}

static inline void open_connected(Client *c, const char *connect, const char *connack)
{
        connect_as(c, "dev1", connect, connack);
}

static inline void assert_ended(const Client *c, MqttReason reason)
{
        const char *text;
        assert_true(mqtt_connection_has_ended(c->connection));
        assert_int_equal(mqtt_connection_end_reason(c->connection, &text), reason);
}

static inline MqttServerStats stats(void)
{
        MqttServerStats s;
        mqtt_server_stats(server, &s);
        return s;
}

static inline void view_if(const MqttSessionView *view, void *userdata)
{
        MqttSessionView *ret = userdata;
        if (strcmp(view->client_id, ret->client_id) == 0)
                *ret = *view;
}

static inline MqttSessionView view(const char *client_id)
{
        MqttSessionView v = { .client_id = client_id };
        mqtt_server_each(server, view_if, &v);
        assert_non_null(v.device);
        return v;
}

static inline void assert_nothing_kept(void)
{
        assert_int_equal(stats().sessions, 0);
        assert_int_equal(stats().retained, 0);
        assert_int_equal(stats().kept_bytes, 0);
        assert_int_equal(disk.n_values, 0);
        assert_int_equal(hashmap_size(server->devices), 0);
        assert_true(list_empty(&server->pending));
}

/* The client says goodbye. */
static inline void leave(Client *c)
{
        feed(c, "e0 00");
        client_close(c);
}

/* The same, and its session ends. */
static inline void leave_for_good(Client *c)
{
        feed(c, "e0 07 00 05 11 00000000");
        client_close(c);
}

/* From the server itself: a command, or an answer of attestation. How many sessions took it. */
static inline int publish_at(const char *topic, const char *payload, uint8_t qos, usec_t now)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        assert_int_equal(
                mqtt_message_new(bytes_from_str(topic), bytes_from_str(payload), qos, NULL, 0, &m),
                0);
        m->attestation = strncmp(topic, "rats/", 5) == 0;
        int r = mqtt_server_publish(server, m, now);
        if (!disk.slow)
                settle_all(MQTT_SUCCESS);
        return r;
}

static inline int publish(const char *topic, const char *payload, uint8_t qos)
{
        return publish_at(topic, payload, qos, 0);
}

static inline void tick(usec_t now)
{
        mqtt_server_tick(server, now, now);
        if (!disk.slow)
                settle_all(MQTT_SUCCESS);
}

static inline int setup(void **state)
{
        config = MQTT_SERVER_CONFIG_DEFAULT;
        config.maximum_packet_size = 1024;
        config.receive_maximum = 4;
        config.topic_alias_maximum = 4;
        config.window = 2;
        disk = (Disk){ .limits = { .sessions = 2,
                                   .subscriptions = 4,
                                   .retained_bytes = 2048,
                                   .queue_bytes = 2048 } };
        return mqtt_server_new(&config, &server_port, NULL, &server);
}

static inline int teardown(void **state)
{
        server = mqtt_server_free(server);
        return 0;
}

/* With another configuration than setup() has made. */
static inline void restart(void)
{
        mqtt_server_free(server);
        assert_int_equal(mqtt_server_new(&config, &server_port, NULL, &server), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
