/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-world.h"

#include <stdio.h>

#include "base/str.h"
#include "domain/mqtt-journal.h"
#include "proto/topic.h"

/* ---- policy ---- */

static PolicyOutcome allow(PolicyOutcome outcome, const char *device, const char *topic,
                           bool relative, size_t below, PolicyTopic *ret)
{
        snprintf(ret->absolute, sizeof(ret->absolute), "%s%s%s", relative ? device : "",
                 relative ? "/" : "", topic);
        ret->left_out = relative ? strlen(device) + 1 : 0;
        ret->below = below;
        return outcome;
}

static bool is_granted(const MqttWorld *w, MqttAccess access, const char *topic)
{
        const char *grant = access == MQTT_ACCESS_SUBSCRIBE ? w->subscribe : w->publish;
        return grant && topic_filter_covers(bytes_from_str(grant), bytes_from_str(topic));
}

static PolicyOutcome decide(MqttAccess access, const char *device, const char *topic,
                            PolicyTopic *ret, void *userdata)
{
        const MqttWorld *w = userdata;
        Bytes rest, name = bytes_from_str(device), t = bytes_from_str(topic);
        size_t below = strlen(device) + 1;
        if (topic_strip_level(t, BYTES_LITERAL("rats"), &rest))
                return topic_strip_level(rest, name, &rest) && rest.len > 0
                               ? allow(POLICY_ATTESTATION, device, topic, false, 5 + below, ret)
                               : POLICY_RESERVED;
        if (access == MQTT_ACCESS_PUBLISH && w->mute && streq(w->mute, device))
                return POLICY_POSTURE;
        if (topic_strip_level(t, name, &rest))
                return rest.len > 0 && rest.data[0] != '$'
                               ? allow(POLICY_OWN, device, topic, false, below, ret)
                               : POLICY_RESERVED;
        if (topic[0] == '$')
                return POLICY_RESERVED;
        if (is_granted(w, access, topic))
                return allow(POLICY_GRANTED, device, topic, false, 0, ret);
        if (startswith(topic, "dev"))
                return POLICY_FOREIGN;
        return allow(POLICY_OWN, device, topic, true, below, ret);
}

/* As if ClientIds=%d %d/+ was set; and what the server assigns. */
static bool may_be(const char *device, Bytes id, void *userdata)
{
        Bytes rest;
        return bytes_equal(id, bytes_from_str(device)) ||
               topic_strip_level(id, bytes_from_str(device), &rest);
}

static bool may_receive(const char *device, void *userdata)
{
        const MqttWorld *w = userdata;
        return !w->closed || !streq(w->closed, device);
}

static const ClassLimits *limits(const char *device, void *userdata)
{
        const MqttWorld *w = userdata;
        return w->gone && (streq(w->gone, "*") || streq(w->gone, device)) ? NULL : &w->limits;
}

static usec_t charge(const char *device, size_t len, usec_t now, void *userdata)
{
        return ((MqttWorld *)userdata)->wait;
}

static void overflow(const char *device, const char *client_id, void *userdata)
{
        ((MqttWorld *)userdata)->n_overflows++;
}

static void will_lost(const char *device, const char *topic, const char *why, void *userdata)
{
        ((MqttWorld *)userdata)->n_wills_lost++;
}

/* ---- store ---- */

static void failed(int error, void *userdata)
{
        ((MqttWorld *)userdata)->n_failed++;
}

static void begin(void *userdata)
{
        mqtt_disk_begin(&((MqttWorld *)userdata)->disk);
}

static void put(const MqttKey *key, Bytes value, void *userdata)
{
        mqtt_disk_put(&((MqttWorld *)userdata)->disk, key, value);
}

static void remove_value(const MqttKey *key, void *userdata)
{
        mqtt_disk_remove(&((MqttWorld *)userdata)->disk, key);
}

static int commit(MqttPending *p, void *userdata)
{
        return mqtt_disk_barrier(&((MqttWorld *)userdata)->disk, p);
}

static MqttReason submit(MqttPending *p, const MqttSubmission *m, const char **ret_text,
                         void *userdata)
{
        MqttWorld *w = userdata;
        char text[256];
        *ret_text = "refused";
        if (!limits(m->device, w))
                return MQTT_NOT_AUTHORIZED;
        if (w->refuse != MQTT_SUCCESS)
                return w->refuse;
        snprintf(text, sizeof(text), "%s:%.100s=%.*s", m->device, m->topic,
                 (int)MIN(m->payload.len, 100u), (const char *)m->payload.data);
        if (mqtt_disk_record(&w->disk, p, text) < 0)
                return MQTT_UNSPECIFIED_ERROR;
        snprintf(w->content_type, sizeof(w->content_type), "%.*s",
                 (int)MIN(m->content_type.len, 15u), (const char *)m->content_type.data);
        w->n_submitted++;
        return MQTT_SUCCESS;
}

static MqttReason attest(const MqttSubmission *m, const char **ret_text, void *userdata)
{
        MqttWorld *w = userdata;
        *ret_text = "refused";
        if (w->refuse != MQTT_SUCCESS)
                return w->refuse;
        snprintf(w->attested, sizeof(w->attested), "rats:%.20s=%.*s", m->topic,
                 (int)MIN(m->payload.len, 20u), (const char *)m->payload.data);
        w->n_attested++;
        return MQTT_SUCCESS;
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

/* ---- the server's life ---- */

void mqtt_world_init(MqttWorld *w)
{
        *w = (MqttWorld){
                .config = MQTT_SERVER_CONFIG_DEFAULT,
                .limits = { .sessions = 4,
                            .subscriptions = 4,
                            .retained_bytes = 4096,
                            .queue_bytes = 16384 },
                .realtime = 1000000 * USEC_PER_SEC,
        };
        w->config.maximum_packet_size = 1024;
        w->config.receive_maximum = 4;
        w->config.topic_alias_maximum = 4;
        w->config.window = 2;
        w->config.boot = 1;
        list_init(&w->clients);
        mqtt_disk_init(&w->disk);
}

int mqtt_world_start(MqttWorld *w)
{
        int r = mqtt_server_new(&w->config, &server_port, w, &w->server);
        if (r < 0)
                return r;
        return mqtt_server_restore(w->server, mqtt_disk_read, &w->disk, w->now, w->realtime,
                                   &w->dropped);
}

void mqtt_world_crash(MqttWorld *w)
{
        w->disk.lost = true;
        LIST_FOREACH_SAFE (i, &w->clients)
                mqtt_world_close(LIST_ENTRY(i, MqttWorldClient, node));
        w->server = mqtt_server_free(w->server);
        mqtt_disk_crash(&w->disk);
}

void mqtt_world_done(MqttWorld *w)
{
        mqtt_world_crash(w);
        mqtt_disk_done(&w->disk);
}

void mqtt_world_pass(MqttWorld *w, unsigned seconds)
{
        w->now += seconds * USEC_PER_SEC;
        w->realtime += seconds * USEC_PER_SEC;
        LIST_FOREACH (i, &w->clients)
                mqtt_connection_tick(LIST_ENTRY(i, MqttWorldClient, node)->connection, w->now);
        mqtt_server_tick(w->server, w->now, w->realtime);
}

int mqtt_world_command(MqttWorld *w, const char *topic, const char *payload, uint8_t qos)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        int r = mqtt_message_new(bytes_from_str(topic), bytes_from_str(payload), qos, NULL, w->now,
                                 &m);
        if (r < 0)
                return r;
        m->attestation = startswith(topic, "rats/");
        return mqtt_server_publish(w->server, m, w->now);
}

bool mqtt_world_is_empty(MqttWorld *w)
{
        MqttServerStats stats;
        mqtt_server_stats(w->server, &stats);
        return stats.sessions == 0 && stats.retained == 0 && stats.kept_bytes == 0 &&
               w->server->will_bytes == 0 && hashmap_size(w->server->devices) == 0 &&
               list_empty(&w->server->pending) && hashmap_size(w->server->topics.roots) == 0 &&
               mqtt_disk_n_values(&w->disk, 0) == mqtt_disk_n_values(&w->disk, MQTT_KIND_AGE);
}

bool mqtt_world_forget_all(MqttWorld *w)
{
        mqtt_disk_settle_all(&w->disk);
        w->gone = "*";
        mqtt_server_review(w->server);
        mqtt_disk_settle_all(&w->disk);
        return mqtt_world_is_empty(w);
}

/* ---- connections ---- */

static void connected(void *userdata)
{
        ((MqttWorldClient *)userdata)->n_connected++;
}

static void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
        MqttWorldClient *c = userdata;
        c->n_denied++;
        c->denied = reason;
}

static void wake(void *userdata)
{
        ((MqttWorldClient *)userdata)->n_wakes++;
}

static const MqttConnectionPort connection_port = {
        .connected = connected,
        .denied = denied,
        .wake = wake,
};

int mqtt_world_connect(MqttWorld *w, const char *device, MqttWorldClient *c)
{
        *c = (MqttWorldClient){ .world = w, .out = BUF_INIT(4096) };
        int r = mqtt_connection_new(w->server, device, &c->out, &connection_port, c, w->now,
                                    &c->connection);
        if (r < 0)
                return r;
        list_append(&w->clients, &c->node);
        return 0;
}

void mqtt_world_close(MqttWorldClient *c)
{
        list_remove(&c->node);
        c->connection = mqtt_connection_free(c->connection);
        buf_done(&c->out);
}
