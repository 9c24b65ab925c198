/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-limits.h"

#include "domain/mqtt-connection-internal.h"
#include "domain/mqtt-journal.h"
#include "require.h"

static uint64_t cost(const MqttQueued *e)
{
        return sizeof(*e) + e->n_ids * sizeof(e->ids[0]) + mqtt_message_cost(e->message);
}

static void check_queue(const List *queue, size_t n, uint64_t *bytes, uint64_t *kept)
{
        LIST_FOREACH (i, queue) {
                const MqttQueued *e = LIST_ENTRY(i, MqttQueued, node);
                *bytes += cost(e);
                require((e->qos > 0) == (e->packet_id > 0));
                require((e->order > 0) <= (e->message->n_kept > 0));
                if (e->order > 0) /* each pays its part of the message */
                        *kept += mqtt_journal_queued_cost(e);
                n--;
        }
        require(n == 0);
}

static void check_session(const MqttSession *s, const ClassLimits *limits, uint64_t *kept)
{
        const MqttDelivery *d = &s->delivery;
        uint64_t bytes = 0;
        check_queue(&d->sent, d->n_sent, &bytes, kept);
        check_queue(&d->waiting, d->n_waiting, &bytes, kept);
        require(bytes == d->bytes);
        require(s->subscriptions.n <= limits->subscriptions);
        require(s->received.n <= MQTT_PACKET_IDS_MAX);
        require(!d->outlet || d->n_sent <= d->outlet->window);
        require(s->kept || s->expiry == 0);
}

static size_t n_waiting_wills(const MqttServerDevice *d)
{
        size_t n = 0;
        LIST_FOREACH (i, &d->wills)
                n += !LIST_ENTRY(i, MqttWill, node)->submitted;
        return n;
}

/* One message of any size may wait for each session, whatever waits for the others. */
static void check_device(const MqttServerDevice *d, const ClassLimits *limits, uint64_t *kept)
{
        uint64_t bytes = 0, first = 0;
        size_t n = 0;
        LIST_FOREACH (i, &d->sessions) {
                const MqttSession *s = LIST_ENTRY(i, MqttSession, node);
                const List *queue =
                        list_empty(&s->delivery.sent) ? &s->delivery.waiting : &s->delivery.sent;
                check_session(s, limits, kept);
                if (!list_empty(queue))
                        first += cost(LIST_ENTRY(queue->next, MqttQueued, node));
                bytes += s->delivery.bytes;
                n++;
        }
        require(n == d->n_sessions && n <= limits->sessions);
        require(bytes == d->queued_bytes && bytes <= limits->queue_bytes + first);
        require(d->retained_bytes <= limits->retained_bytes);
        require(n_waiting_wills(d) <= limits->sessions);
        require(n > 0 || d->n_retained > 0 || !list_empty(&d->wills));
}

static uint64_t retained_bytes(const MqttServer *s)
{
        uint64_t bytes = 0;
        LIST_FOREACH (i, &s->all_retained)
                bytes += LIST_ENTRY(i, MqttRetained, all)->counted;
        return bytes;
}

static void check_view(const MqttSessionView *v, void *userdata)
{
        uint64_t *bytes = userdata;
        require(v->connected || v->kept || v->ends != USEC_INFINITY);
        *bytes -= v->waiting_bytes;
}

void limits_check(const MqttServer *s, const ClassLimits *limits)
{
        uint64_t kept = 0, retained = 0, queued = 0;
        HASHMAP_FOREACH (i, s->devices) {
                const MqttServerDevice *d = i.value;
                check_device(d, limits, &kept);
                retained += d->retained_bytes;
                queued += d->queued_bytes;
        }
        mqtt_server_each(s, check_view, &queued);
        require(queued == 0);
        require(retained == retained_bytes(s));
        require(kept + retained <= s->kept_bytes);
        require(s->kept_bytes <= s->config.kept_bytes);
}

void limits_check_empty(const MqttServer *s)
{
        MqttServerStats stats;
        mqtt_server_stats(s, &stats);
        require(stats.sessions == 0 && stats.retained == 0 && stats.kept_bytes == 0);
        require(hashmap_size(s->devices) == 0 && hashmap_size(s->topics.roots) == 0);
        require(list_empty(&s->pending) && list_empty(&s->unflushed));
        require(list_empty(&s->topics.wild.entries) && list_empty(&s->topics.wild.shares));
}
