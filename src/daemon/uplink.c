/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/uplink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/uplink-internal.h"
#include "daemon/uplink-message.h"

/* Sent in one turn of the loop. */
#define TURN_RECORDS 100
/* Payload that is on its way at once, though one record always is: libmosquitto keeps it, too. */
#define WINDOW_BYTES ((size_t)4 << 20)
#define RETRY_READ   USEC_PER_SEC
/* Without any acknowledgement while records are on their way: long enough for the largest record
 * over the slowest link. */
#define PATIENCE (5 * USEC_PER_MIN)

/* In the order of precedence. */
static const uint8_t kinds[UPLINK_KINDS] = { STORE_REPORT, STORE_AUDIT, STORE_TELEMETRY };

static void note_error(Uplink *u, const char *text)
{
        snprintf(u->stats.last_error, sizeof(u->stats.last_error), "%s", text);
        u->stats.last_error_at = now_realtime();
}

static void delete_delivered(Uplink *u)
{
        int r = store_delete(u->store, u->delivered, u->n_delivered);
        if (r < 0)
                log_warning_errno(r, "Records will be sent again, ignoring");
        u->n_delivered = 0;
}

static void forget(Uplink *u, uint64_t id)
{
        u->delivered[u->n_delivered++] = id;
        if (u->n_delivered == u->window_size)
                delete_delivered(u);
        loop_defer(u->turn);
}

static void drop(Uplink *u, uint64_t id, const char *device, const char *why)
{
        char text[160];
        const char *name = isempty(device) ? "the gateway itself" : device;
        u->stats.dropped++;
        snprintf(text, sizeof(text), "Dropped a record of %s: %s.", name, why);
        note_error(u, text);
        if (ratelimit_take(&u->complaints, now_boottime()))
                log_message(LOG_ERR,
                            LOG_FIELDS({ "DEVICE", isempty(device) ? NULL : device },
                                       { "REASON", why }),
                            "The upstream can never take record %llu of %s, dropped: %s",
                            (unsigned long long)id, name, why);
        caution_passed(&u->caution, id);
        forget(u, id);
}

static void arm_timer(Uplink *u)
{
        usec_t next = MIN(holds_next(&u->holds), u->retry_at);
        if (u->stats.connected)
                next = MIN(next, caution_next(&u->caution));
        if (u->window.n > 0)
                next = MIN(next, usec_add(u->progress_at, u->patience));
        if (next != USEC_INFINITY)
                loop_timer_arm(u->timer, next);
}

static void retry_later(Uplink *u)
{
        u->retry_at = usec_add(loop_now(u->loop), RETRY_READ);
        arm_timer(u);
}

static void hold(Uplink *u, const InFlight *f, const char *why)
{
        char text[160];
        const char *name = isempty(f->device) ? "the gateway itself" : f->device;
        u->stats.refused++;
        caution_passed(&u->caution, f->id);
        snprintf(text, sizeof(text), "The broker refuses records of %s: %s.", name, why);
        note_error(u, text);
        if (!holds_blocks(&u->holds, f->device) && ratelimit_take(&u->complaints, now_boottime()))
                log_message(LOG_WARNING,
                            LOG_FIELDS({ "DEVICE", isempty(f->device) ? NULL : f->device },
                                       { "REASON", why }),
                            "The upstream refuses records of %s for now, they are kept: %s", name,
                            why);
        if (holds_refuse(&u->holds, f->device, f->id, loop_now(u->loop)) < 0)
                log_error("No memory to hold records back: they wait for the next connection");
        arm_timer(u);
}

/* MQTT 5 section 3.4.2.1: what will be as wrong the next time. */
static bool refused_for_good(uint8_t reason_code)
{
        return reason_code == 0x90 /* topic name invalid */ ||
               reason_code == 0x95 /* packet too large */ ||
               reason_code == 0x99 /* payload format invalid */;
}

static void on_acknowledged(int mid, uint8_t reason_code, void *userdata)
{
        Uplink *u = userdata;
        _cleanup_free_ InFlight *f = window_take(&u->window, mid);
        if (!f)
                return;
        u->progress_at = loop_now(u->loop);
        if (reason_code < 0x80) {
                u->stats.delivered++;
                holds_accept(&u->holds, f->device);
                caution_taken(&u->caution, f->id, u->progress_at);
                forget(u, f->id);
        } else if (refused_for_good(reason_code)) {
                drop(u, f->id, f->device, mqtt_client_reason(reason_code));
        } else {
                hold(u, f, mqtt_client_reason(reason_code));
        }
        if (caution_count(&u->caution) > 0)
                arm_timer(u); /* they may be due earlier now */
        loop_defer(u->turn);
}

/* 0: sent, or dealt with otherwise. Negative: no more for now. */
static int send_record(Uplink *u, const StoreRecord *r)
{
        int mid;
        int error = uplink_message_publish(u->client, u->base, r, &mid);
        if (error == -EMSGSIZE || error == -EINVAL) {
                drop(u, r->id, r->device,
                     error == -EMSGSIZE ? "larger than the broker takes" : "not a valid message");
                return 0;
        }
        if (error < 0)
                return error;
        u->stats.sent++;
        caution_sent(&u->caution);
        error = window_add(&u->window, mid, r->id, r->payload.len, r->device);
        if (u->window.n == 1) {
                u->progress_at = loop_now(u->loop);
                arm_timer(u);
        }
        return error;
}

/* As send_record(), but for those that have to wait. */
static int send_or_pass(Uplink *u, const StoreRecord *r)
{
        if (caution_keeps(&u->caution, r->id))
                return 0;
        if (!holds_keep(&u->holds, r->device, r->id))
                return send_record(u, r);
        caution_passed(&u->caution, r->id);
        return 0;
}

/* Of a read, or of sending what was read. */
static void failed(Uplink *u, int error)
{
        /* Without a connection the news of its end is on its way. */
        if (error == -ENOTCONN)
                return;
        if (ratelimit_take(&u->complaints, now_boottime()))
                log_warning_errno(error, "Cannot send what is stored, trying again");
        retry_later(u);
}

static void on_read(int error, StoreRecord *records, size_t n, void *userdata)
{
        Uplink *u = userdata;
        u->read = NULL;
        if (error == 0)
                error = backlog_read(u->reading, records, n);
        if (error < 0)
                return failed(u, error);
        loop_defer(u->turn);
}

/* No copy of what is on its way may be in memory: it would be sent again after its answer. */
static void look_again(Uplink *u, uint64_t after)
{
        if (u->read)
                store_op_cancel(TAKE_PTR(u->read));
        for (size_t i = 0; i < UPLINK_KINDS; i++)
                backlog_rewind(&u->backlogs[i], after);
}

static void on_trial_read(int error, StoreRecord *records, size_t n, void *userdata)
{
        Uplink *u = userdata;
        u->read = NULL;
        look_again(u, UINT64_MAX);
        if (error == 0 && n == 1 && records[0].id == u->suspect)
                error = send_record(u, &records[0]);
        else if (error == 0)
                caution_passed(&u->caution, u->suspect);
        if (error < 0)
                return failed(u, error);
        loop_defer(u->turn);
}

/* A suspect goes when nothing else does. */
static void send_trial(Uplink *u, uint64_t id)
{
        if (u->window.n > 0 || u->read)
                return;
        u->suspect = id;
        if (store_read(u->store, 0, id - 1, 1, BACKLOG_BYTES, on_trial_read, u, &u->read) < 0)
                retry_later(u);
}

/* The next of the first kind that has any. NULL as well while that is not known. */
static Backlog *next_backlog(Uplink *u)
{
        for (size_t i = 0; i < UPLINK_KINDS; i++)
                if (u->backlogs[i].n > 0 || !u->backlogs[i].dry)
                        return u->backlogs[i].n > 0 ? &u->backlogs[i] : NULL;
        return NULL;
}

static bool window_full(const Uplink *u)
{
        size_t limit = caution_alone(&u->caution) ? 1 : u->window_limit;
        return u->window.n >= limit || u->window.bytes >= WINDOW_BYTES;
}

static void send_in_window(Uplink *u)
{
        size_t n = 0;
        for (Backlog *b; n < TURN_RECORDS && (b = next_backlog(u)); n++) {
                if (window_full(u))
                        return;
                int r = send_or_pass(u, backlog_first(b));
                if (r < 0)
                        return failed(u, r);
                backlog_pop(b);
        }
        if (n == TURN_RECORDS)
                loop_defer(u->turn);
}

static void read_ahead(Uplink *u)
{
        for (size_t i = 0; i < UPLINK_KINDS && !u->read; i++) {
                Backlog *b = &u->backlogs[i];
                if (!backlog_wants(b))
                        continue;
                u->reading = b;
                int r = store_read(u->store, kinds[i], b->after, BACKLOG_PAGE, BACKLOG_BYTES,
                                   on_read, u, &u->read);
                if (r < 0)
                        return retry_later(u);
        }
}

static bool all_sent(const Uplink *u)
{
        for (size_t i = 0; i < UPLINK_KINDS; i++)
                if (u->backlogs[i].n > 0 || !u->backlogs[i].dry)
                        return false;
        return u->window.n == 0;
}

static void send_in_order(Uplink *u)
{
        send_in_window(u);
        read_ahead(u);
        if (all_sent(u))
                caution_idle(&u->caution);
}

/* A store that was replaced has given other sequences to what it could save. */
static void follow_store(Uplink *u)
{
        uint64_t epoch = store_epoch(u->store);
        if (epoch != u->epoch)
                look_again(u, UINT64_MAX);
        u->epoch = epoch;
}

static void go_on(Uplink *u)
{
        if (!u->stats.connected || u->retry_at != USEC_INFINITY)
                return;
        follow_store(u);
        if (u->rewind != REWIND_NONE && u->window.n > 0)
                return;
        if (u->rewind != REWIND_NONE)
                look_again(u, u->rewind);
        u->rewind = REWIND_NONE;
        uint64_t trial = caution_trial(&u->caution, loop_now(u->loop));
        if (trial != 0)
                send_trial(u, trial);
        else
                send_in_order(u);
}

static int on_turn(void *userdata)
{
        Uplink *u = userdata;
        delete_delivered(u);
        go_on(u);
        return 0;
}

/* A broker that has ceased to acknowledge, but not to answer pings. */
static void check_progress(Uplink *u)
{
        char text[80], span[USEC_FORMAT_MAX];
        if (u->window.n == 0 || loop_now(u->loop) < usec_add(u->progress_at, u->patience))
                return;
        snprintf(text, sizeof(text), "the broker has acknowledged nothing for %s",
                 usec_format_span(u->patience, span));
        mqtt_client_reconnect(u->client, text);
}

/* Holds that have run out: look at their records again, once nothing is on its way. */
static int on_timer(void *userdata)
{
        Uplink *u = userdata;
        uint64_t lowest;
        check_progress(u);
        if (u->stats.connected)
                caution_trial(&u->caution, loop_now(u->loop));
        if (u->retry_at <= loop_now(u->loop))
                u->retry_at = USEC_INFINITY;
        if (holds_release(&u->holds, loop_now(u->loop), &lowest))
                u->rewind = MIN(u->rewind, lowest - 1);
        arm_timer(u);
        return loop_defer(u->turn);
}

static void on_appended(StoreRecord *record, void *userdata)
{
        Uplink *u = userdata;
        for (size_t i = 0; i < UPLINK_KINDS; i++)
                if (kinds[i] == record->kind)
                        backlog_appended(&u->backlogs[i], record);
        loop_defer(u->turn);
}

static void start_over(Uplink *u)
{
        window_clear(&u->window);
        look_again(u, 0);
        u->rewind = REWIND_NONE;
}

static void on_connected(const MqttLimits *limits, void *userdata)
{
        Uplink *u = userdata;
        start_over(u);
        caution_connected(&u->caution, loop_now(u->loop));
        u->window_limit = MIN(u->window_size, MAX(limits->receive_maximum, 1U));
        u->stats.connected = true;
        u->stats.since = now_realtime();
        log_notice("Connected to the upstream %s", u->server);
        LIST_FOREACH (i, &u->subscriptions)
                mqtt_client_subscribe(u->client, LIST_ENTRY(i, Subscription, link)->filter);
        arm_timer(u);
        loop_defer(u->turn);
}

static void set_aside(Uplink *u, const InFlight *f, const char *why)
{
        char text[200];
        const char *name = isempty(f->device) ? "the gateway itself" : f->device;
        snprintf(text, sizeof(text), "Set aside a record of %s that ended the connection: %s.",
                 name, why);
        note_error(u, text);
        if (ratelimit_take(&u->complaints, now_boottime()))
                log_message(LOG_WARNING,
                            LOG_FIELDS({ "DEVICE", isempty(f->device) ? NULL : f->device },
                                       { "REASON", why }),
                            "The connection to the upstream ended on record %llu of %s, it is set "
                            "aside: %s",
                            (unsigned long long)f->id, name, why);
}

/* What was on its way may be the cause. */
static void judge_end(Uplink *u, MqttEnd end, const char *reason)
{
        _cleanup_free_ InFlight *only = NULL;
        CautionVerdict verdict = caution_ended(&u->caution, &u->window, end, loop_now(u->loop));
        if (verdict == CAUTION_NOTHING)
                return;
        List *first = list_first(&u->window.entries);
        only = window_take(&u->window, LIST_ENTRY(first, InFlight, link)->mid);
        if (verdict == CAUTION_ASIDE)
                set_aside(u, only, reason);
        else if (verdict == CAUTION_DROP)
                drop(u, only->id, only->device, "the connection ended each time it was sent");
        else
                hold(u, only, reason);
}

/* One line for each new reason: an outage of a night does not fill the journal. */
static void on_disconnected(MqttEnd end, const char *reason, usec_t retry_in, void *userdata)
{
        Uplink *u = userdata;
        char text[sizeof(u->stats.last_error)], span[USEC_FORMAT_MAX];
        snprintf(text, sizeof(text), "No connection to the upstream %.64s: %.150s.", u->server,
                 reason);
        /* A broker that accepts another connection of this client ends the one in use. */
        bool replaced = u->trial && u->stats.connected;
        bool news = !replaced && (u->stats.connected || !streq(text, u->stats.last_error));
        log_message(news ? LOG_WARNING : LOG_DEBUG, LOG_FIELDS({ "REASON", reason }),
                    "No connection to the upstream %s: %s; trying again in %s", u->server, reason,
                    usec_format_span(retry_in, span));
        if (!replaced)
                note_error(u, text);
        if (u->stats.connected) {
                u->stats.since = now_realtime();
                judge_end(u, replaced ? MQTT_END_LINK : end, reason);
        }
        u->stats.connected = false;
        start_over(u);
}

static void on_message(const MqttClientMessage *message, void *userdata)
{
        Uplink *u = userdata;
        const char *topic = startswith(message->topic, u->base);
        if (!topic)
                return;
        LIST_FOREACH_SAFE (i, &u->subscriptions) {
                Subscription *s = LIST_ENTRY(i, Subscription, link);
                if (mqtt_topic_matches(s->filter, message->topic))
                        s->handler(topic, message, s->userdata);
        }
}

int uplink_subscribe(Uplink *u, const char *filter, UplinkHandler handler, void *userdata)
{
        size_t size = strlen(u->base) + strlen(filter) + 1;
        Subscription *s = calloc(1, sizeof(*s) + size);
        if (!s)
                return -ENOMEM;
        snprintf(s->filter, size, "%s%s", u->base, filter);
        if (!mqtt_filter_valid(s->filter)) {
                free(s);
                return -EINVAL;
        }
        s->handler = handler;
        s->userdata = userdata;
        list_append(&u->subscriptions, &s->link);
        if (u->stats.connected)
                mqtt_client_subscribe(u->client, s->filter);
        return 0;
}

static int set_up(Uplink *u, const UplinkConfig *config)
{
        size_t window = config->client.window > 0 ? config->client.window : UPLINK_WINDOW_DEFAULT;
        list_init(&u->subscriptions);
        window_init(&u->window);
        for (size_t i = 0; i < UPLINK_KINDS; i++)
                backlog_init(&u->backlogs[i]);
        caution_init(&u->caution, config->suspect_wait);
        u->patience = config->patience > 0 ? config->patience : PATIENCE;
        u->complaints = RATELIMIT_INIT(USEC_PER_MIN, 10);
        u->stats.since = now_realtime();
        u->retry_at = USEC_INFINITY;
        u->rewind = REWIND_NONE;
        u->epoch = store_epoch(u->store);
        u->window_size = u->window_limit = window;
        u->delivered = calloc(window, sizeof(*u->delivered));
        if (!u->delivered || holds_init(&u->holds) < 0)
                return -ENOMEM;
        if (asprintf(&u->base, "%s/%s/", config->topic_prefix, config->gateway) < 0) {
                u->base = NULL;
                return -ENOMEM;
        }
        if (asprintf(&u->server, "%s:%u", config->client.host, config->client.port) < 0) {
                u->server = NULL;
                return -ENOMEM;
        }
        int r = loop_add_deferred(u->loop, &u->turn, LOOP_FATAL, on_turn, u);
        return r < 0 ? r : loop_add_timer(u->loop, &u->timer, LOOP_FATAL, on_timer, u);
}

const MqttClientEvents uplink_events = {
        .connected = on_connected,
        .disconnected = on_disconnected,
        .acknowledged = on_acknowledged,
        .message = on_message,
};

int uplink_new(Loop *l, Store *store, const UplinkConfig *config, Credential *credential,
               Uplink **ret)
{
        _cleanup_(uplink_freep) Uplink *u = calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->loop = l;
        u->store = store;
        int r = set_up(u, config);
        if (r < 0)
                return r;
        r = mqtt_client_new(l, &config->client, credential, &uplink_events, u, &u->client);
        if (r < 0)
                return r;
        store_watch(store, on_appended, u);
        *ret = TAKE_PTR(u);
        return 0;
}

Uplink *uplink_free(Uplink *u)
{
        if (!u)
                return NULL;
        uplink_trial_free(u->trial);
        mqtt_client_free(u->client);
        store_watch(u->store, NULL, NULL);
        if (u->read)
                store_op_cancel(u->read);
        if (u->n_delivered > 0)
                delete_delivered(u);
        loop_source_free(u->turn);
        loop_source_free(u->timer);
        for (List *i; u->subscriptions.next && (i = list_first(&u->subscriptions));) {
                list_remove(i);
                free(LIST_ENTRY(i, Subscription, link));
        }
        window_clear(&u->window);
        for (size_t i = 0; i < UPLINK_KINDS; i++)
                backlog_done(&u->backlogs[i]);
        caution_done(&u->caution);
        holds_done(&u->holds);
        free(u->delivered);
        free(u->base);
        free(u->server);
        free(u);
        return NULL;
}

void uplink_stats(const Uplink *u, UplinkStats *ret)
{
        *ret = u->stats;
        ret->attempts = u->attempts + mqtt_client_attempts(u->client);
        ret->in_flight = u->window.n;
        ret->held = holds_count(&u->holds);
        ret->set_aside = caution_count(&u->caution);
}
