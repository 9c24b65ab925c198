/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/mqtt-sessions.h"

#include "base/str.h"
#include "daemon/ingress-mqtt.h"

typedef struct Listing {
        json_t *all;
        const char *device;
        usec_t now;
} Listing;

/* Who is connected, or kept for ever, has no time that runs out. */
static json_t *expires(const MqttSessionView *v, usec_t now)
{
        if (v->ends == USEC_INFINITY)
                return json_null();
        return json_real(v->ends > now ? (double)(v->ends - now) / (double)USEC_PER_SEC : 0);
}

static void add(const MqttSessionView *v, void *userdata)
{
        const Listing *l = userdata;
        if (!isempty(l->device) && !streq(v->device, l->device))
                return;
        json_array_append_new(
                l->all, json_pack("{s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "device",
                                  v->device, "client_id", v->client_id, "connected", v->connected,
                                  "kept", v->kept, "subscriptions", (json_int_t)v->subscriptions,
                                  "queued", (json_int_t)(v->waiting + v->unacknowledged),
                                  "queued_bytes", (json_int_t)v->waiting_bytes, "unacknowledged",
                                  (json_int_t)v->unacknowledged, "dropped", (json_int_t)v->dropped,
                                  "expires_seconds", expires(v, l->now)));
}

json_t *mqtt_sessions(Gateway *g, const char *device)
{
        Listing l = { .all = json_array(), .device = device, .now = loop_now(g->loop) };
        if (l.all)
                ingress_mqtt_each(g->mqtt, add, &l);
        return l.all;
}

static void count(const MqttSessionView *v, void *userdata)
{
        size_t *connected = userdata;
        *connected += v->connected;
}

json_t *mqtt_sessions_status(Gateway *g)
{
        MqttServerStats s;
        size_t connected = 0;
        ingress_mqtt_stats(g->mqtt, &s);
        ingress_mqtt_each(g->mqtt, count, &connected);
        return json_pack("{s:I, s:I, s:I, s:I}", "sessions", (json_int_t)s.sessions, "connected",
                         (json_int_t)connected, "retained", (json_int_t)s.retained, "kept_bytes",
                         (json_int_t)s.kept_bytes);
}
