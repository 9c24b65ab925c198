/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A second connection upstream beside the one in use, with other credentials or by other rules. A
 * broker checks who comes before it ends the session of the same client identifier (MQTT 5 section
 * 3.1.4): the one in use lasts until the new one is accepted. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/uplink-internal.h"

struct UplinkTrial {
        Uplink *uplink;
        MqttClient *client;
        LoopSource *end;  /* the client cannot be freed from where it tells of its failure */
        UplinkTried done; /* NULL: a change of rules, which holds whatever comes of it */
        void *userdata;
        UplinkVerdict verdict;
        char reason[512];
};

UplinkTrial *uplink_trial_free(UplinkTrial *t)
{
        if (!t)
                return NULL;
        mqtt_client_free(t->client);
        loop_source_free(t->end);
        free(t);
        return NULL;
}

void uplink_stop_trial(Uplink *u)
{
        u->trial = uplink_trial_free(u->trial);
}

static void put_in_use(Uplink *u, MqttClient *client)
{
        u->attempts += mqtt_client_attempts(u->client);
        mqtt_client_free(u->client);
        u->client = client;
        mqtt_client_set_events(client, &uplink_events, u);
}

static void on_connected(const MqttLimits *limits, void *userdata)
{
        UplinkTrial *t = userdata;
        Uplink *u = t->uplink;
        UplinkTried done = t->done;
        void *done_userdata = t->userdata;
        put_in_use(u, TAKE_PTR(t->client));
        uplink_stop_trial(u);
        uplink_events.connected(limits, u);
        if (done)
                done(UPLINK_ACCEPTED, "", done_userdata);
}

static void on_disconnected(MqttEnd end, const char *reason, usec_t retry_in, void *userdata)
{
        UplinkTrial *t = userdata;
        t->verdict = end == MQTT_END_REFUSED ? UPLINK_REFUSED
                     : end == MQTT_END_DOUBT ? UPLINK_DOUBTED
                                             : UPLINK_UNREACHABLE;
        snprintf(t->reason, sizeof(t->reason), "%s", reason);
        loop_defer(t->end);
}

static void on_acknowledged(int mid, uint8_t reason_code, void *userdata)
{
}

static void on_message(const MqttClientMessage *message, void *userdata)
{
}

static const MqttClientEvents trial_events = {
        .connected = on_connected,
        .disconnected = on_disconnected,
        .acknowledged = on_acknowledged,
        .message = on_message,
};

/* The rules are new, and so is every connection from now on. */
static void use_all_the_same(UplinkTrial *t)
{
        Uplink *u = t->uplink;
        bool was = u->stats.connected;
        put_in_use(u, TAKE_PTR(t->client));
        if (was)
                uplink_events.disconnected(MQTT_END_LINK, t->reason, 0, u);
}

static int on_end(void *userdata)
{
        UplinkTrial *t = userdata;
        Uplink *u = t->uplink;
        u->trial = NULL;
        if (t->done)
                t->done(t->verdict, t->reason, t->userdata);
        else
                use_all_the_same(t);
        uplink_trial_free(t);
        return 0;
}

static int start(Uplink *u, const MqttClientConfig *config, Credential *credential,
                 UplinkTried done, void *userdata)
{
        UplinkTrial *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->uplink = u;
        t->done = done;
        t->userdata = userdata;
        int r = loop_add_deferred(u->loop, &t->end, LOOP_FATAL, on_end, t);
        if (r == 0)
                r = mqtt_client_new(u->loop, config, credential, &trial_events, t, &t->client);
        if (r < 0) {
                uplink_trial_free(t);
                return r;
        }
        u->trial = t;
        return 0;
}

int uplink_try_credential(Uplink *u, Credential *credential, UplinkTried done, void *userdata)
{
        if (u->trial)
                return -EBUSY;
        return start(u, mqtt_client_config(u->client), credential, done, userdata);
}

int uplink_change(Uplink *u, const MqttClientConfig *client)
{
        char *server = NULL;
        if (asprintf(&server, "%s:%u", client->host, client->port) < 0)
                return -ENOMEM;
        uplink_stop_trial(u);
        int r = start(u, client, mqtt_client_credential(u->client), NULL, NULL);
        if (r < 0) {
                free(server);
                return r;
        }
        free(u->server);
        u->server = server;
        return 0;
}
