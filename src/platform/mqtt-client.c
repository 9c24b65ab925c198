/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/mqtt-client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "platform/crypto.h"
#include "platform/mqtt-client-connection.h"
#include "platform/resolve.h"

#define CONNECT_TIMEOUT (30 * USEC_PER_SEC)
#define BACKOFF_MIN     (500 * USEC_PER_MSEC)
#define BACKOFF_MAX     (2 * USEC_PER_MIN)
/* A connection that held this long was a good one: the next failure begins at the beginning. */
#define STABLE_AFTER (30 * USEC_PER_SEC)

struct MqttClient {
        Loop *loop;
        MqttClientConfig config;
        Credential *credential;
        MqttClientEvents events;
        void *userdata;

        Resolve *resolve;
        struct sockaddr_storage addresses[RESOLVE_ADDRESSES];
        size_t n_addresses, next_address;
        MqttClientConnection *connection;
        LoopSource *timer; /* the next attempt, or the deadline of this one */
        bool up, attempting;
        usec_t backoff, up_since;
        uint64_t attempts;
};

/* Decorrelated jitter: each wait is random between the least and three times the last. Many
 * gateways that lost the same broker do not come back in step. */
static usec_t next_backoff(MqttClient *c)
{
        uint64_t random;
        usec_t min = c->config.backoff_min, max = c->config.backoff_max;
        usec_t upper = MIN(max, MAX(c->backoff, min) * 3);
        if (crypto_random(&random, sizeof(random)) < 0)
                random = UINT64_MAX / 2;
        c->backoff = min + (upper > min ? random % (upper - min + 1) : 0);
        return c->backoff;
}

static void lost(MqttClient *c, MqttEnd end, const char *why)
{
        char reason[512]; /* `why` may belong to what ends here */
        snprintf(reason, sizeof(reason), "%s", why);
        c->resolve = resolve_cancel(c->resolve);
        c->connection = mqtt_client_connection_free(c->connection);
        if (c->up && loop_now(c->loop) - c->up_since >= MIN(STABLE_AFTER, c->config.backoff_max))
                c->backoff = 0;
        c->up = c->attempting = false;
        usec_t wait = next_backoff(c);
        loop_timer_arm_relative(c->timer, wait);
        c->events.disconnected(end, reason, wait, c->userdata);
}

static void on_up(const MqttLimits *limits, void *userdata)
{
        MqttClient *c = userdata;
        loop_timer_disarm(c->timer);
        c->up = true;
        c->attempting = false;
        c->up_since = loop_now(c->loop);
        c->next_address = 0;
        c->events.connected(limits, c->userdata);
}

static void on_down(MqttEnd end, const char *reason, void *userdata)
{
        lost(userdata, end, reason);
}

static void on_acknowledged(int mid, uint8_t reason_code, void *userdata)
{
        MqttClient *c = userdata;
        c->events.acknowledged(mid, reason_code, c->userdata);
}

static void on_message(const MqttClientMessage *message, void *userdata)
{
        MqttClient *c = userdata;
        c->events.message(message, c->userdata);
}

static void connect_next(MqttClient *c)
{
        static const MqttClientConnectionEvents events = {
                .up = on_up,
                .down = on_down,
                .acknowledged = on_acknowledged,
                .message = on_message,
        };
        const struct sockaddr_storage *address = &c->addresses[c->next_address % c->n_addresses];
        c->next_address++;
        int r = mqtt_client_connection_new(c->loop, &c->config, c->credential, address, &events, c,
                                           &c->connection);
        if (r < 0)
                lost(c, MQTT_END_LINK, strerror(-r));
}

static void on_resolved(int error, const char *reason, const struct sockaddr_storage *addresses,
                        size_t n, void *userdata)
{
        MqttClient *c = userdata;
        char text[512];
        c->resolve = NULL;
        if (error < 0) {
                snprintf(text, sizeof(text), "cannot find the address of %s: %s", c->config.host,
                         reason);
                lost(c, MQTT_END_LINK, text);
                return;
        }
        memcpy(c->addresses, addresses, n * sizeof(*addresses));
        c->n_addresses = n;
        connect_next(c);
}

static int attempt(MqttClient *c)
{
        c->attempting = true;
        c->attempts++;
        loop_timer_arm_relative(c->timer, c->config.connect_timeout);
        int r = resolve_start(c->loop, c->config.host, c->config.port, on_resolved, c, &c->resolve);
        if (r < 0)
                lost(c, MQTT_END_LINK, strerror(-r));
        return 0;
}

static int on_timer(void *userdata)
{
        MqttClient *c = userdata;
        if (!c->attempting)
                return attempt(c);
        lost(c, MQTT_END_LINK,
             c->resolve ? "no answer from the name server in time"
                        : "no answer from the server in time");
        return 0;
}

static int copy_texts(MqttClientConfig *to, const MqttClientConfig *from)
{
        *to = *from;
        to->host = strdup(from->host);
        to->server_name = strdup(from->server_name ? from->server_name : from->host);
        to->ca = strdup(from->ca);
        to->client_id = strdup(from->client_id);
        return to->host && to->server_name && to->ca && to->client_id ? 0 : -ENOMEM;
}

int mqtt_client_new(Loop *l, const MqttClientConfig *config, Credential *credential,
                    const MqttClientEvents *events, void *userdata, MqttClient **ret)
{
        _cleanup_(mqtt_client_freep) MqttClient *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->loop = l;
        c->events = *events;
        c->userdata = userdata;
        c->credential = credential_ref(credential);
        int r = copy_texts(&c->config, config);
        if (c->config.connect_timeout == 0)
                c->config.connect_timeout = CONNECT_TIMEOUT;
        if (c->config.backoff_min == 0)
                c->config.backoff_min = BACKOFF_MIN;
        if (c->config.backoff_max == 0)
                c->config.backoff_max = BACKOFF_MAX;
        if (r == 0)
                r = loop_add_timer(l, &c->timer, LOOP_FATAL, on_timer, c);
        if (r == 0)
                r = loop_timer_arm_relative(c->timer, 0);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

MqttClient *mqtt_client_free(MqttClient *c)
{
        if (!c)
                return NULL;
        resolve_cancel(c->resolve);
        mqtt_client_connection_free(c->connection);
        loop_source_free(c->timer);
        credential_unref(c->credential);
        free((char *)c->config.host);
        free((char *)c->config.server_name);
        free((char *)c->config.ca);
        free((char *)c->config.client_id);
        free(c);
        return NULL;
}

void mqtt_client_set_events(MqttClient *c, const MqttClientEvents *events, void *userdata)
{
        c->events = *events;
        c->userdata = userdata;
}

const MqttClientConfig *mqtt_client_config(const MqttClient *c)
{
        return &c->config;
}

Credential *mqtt_client_credential(const MqttClient *c)
{
        return c->credential;
}

void mqtt_client_reconnect(MqttClient *c, const char *reason)
{
        if (c->up)
                lost(c, MQTT_END_LINK, reason);
}

uint64_t mqtt_client_attempts(const MqttClient *c)
{
        return c->attempts;
}

int mqtt_client_publish(MqttClient *c, const MqttClientPublish *publish, int *ret_mid)
{
        return c->up ? mqtt_client_connection_publish(c->connection, publish, ret_mid) : -ENOTCONN;
}

int mqtt_client_subscribe(MqttClient *c, const char *filter)
{
        return c->up ? mqtt_client_connection_subscribe(c->connection, filter) : -ENOTCONN;
}
