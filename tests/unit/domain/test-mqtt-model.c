/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The MQTT server against a model (mqtt-model.h): three clients of two devices that keep to the
 * specification, whose connections drop within a packet or are taken over, sessions and messages
 * that expire, a disk that is slow or refuses, a process that dies at any moment and comes back on
 * this boot or another. In the end everything comes to rest, what was promised has to be there, and
 * nothing else.
 *
 * Each run is made by its seed. MQTT_MODEL_SEED= begins with another one, MQTT_MODEL_RUNS= does
 * more of them; with MQTT_MODEL_TRACE= set each step is told. */

#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "domain/mqtt-journal.h"
#include "mqtt-model-client.h"

#define RUNS       3000
#define STEPS      400
#define ROUNDS_MAX 400

static struct {
        uint64_t seed, random;
        Model model;
        ModelClient clients[MODEL_CLIENTS];
        bool disk_fails, crashes, time_passes, sessions_end;
        unsigned calm; /* how rarely connections change */
} run;

/* ---- chance ---- */

static unsigned chance(unsigned n)
{
        run.random ^= run.random << 13;
        run.random ^= run.random >> 7;
        run.random ^= run.random << 17;
        return (unsigned)((run.random >> 16) % n);
}

static ModelClient *any_client(void)
{
        return &run.clients[chance(MODEL_CLIENTS)];
}

static size_t some_bytes(void)
{
        return chance(3) > 0 ? SIZE_MAX / 2 : chance(12);
}

static void check(bool ok, const char *what)
{
        if (!ok)
                fail_msg("MQTT_MODEL_SEED=%llu: %s", (unsigned long long)run.seed, what);
}

static void look(void)
{
        model_look_at_records(&run.model);
        check(!run.model.wrong, run.model.wrong);
}

/* ---- steps of the clients ---- */

static uint32_t some_expiry(void)
{
        static const uint32_t expiries[] = { 0, 5, 20, 3600, UINT32_MAX };
        return expiries[chance(ELEMENTSOF(expiries))];
}

static void open_some(ModelClient *c)
{
        ClientOptions o = { .clean = chance(15) == 0,
                            .expiry = some_expiry(),
                            .receive_maximum = (uint16_t)(1 + chance(3)),
                            .aliases_max = (uint16_t)chance(CLIENT_ALIASES_MAX + 1),
                            .has_will = chance(3) == 0,
                            .will = { .publisher = c->index,
                                      .topic = chance(MODEL_TOPICS),
                                      .qos = (uint8_t)chance(3),
                                      .will = true,
                                      .retain = chance(3) == 0,
                                      .delay = c->version == MQTT_5 ? chance(3) * 4 : 0 } };
        if (!run.sessions_end && chance(8) > 0)
                o.expiry = UINT32_MAX;
        client_open(c, &o);
}

static void connect_or_drop(void)
{
        ModelClient *c = any_client();
        if (client_is_open(c) && chance(run.calm) > 0)
                return;
        if (!client_is_open(c) || chance(4) == 0) {
                open_some(c);
        } else if (chance(3) == 0) {
                model_trace(&run.model, "client %u drops its connection\n", c->index);
                client_close(c);
        } else if (chance(3) == 0) {
                client_leave(c, chance(2) ? MODEL_GOODBYE : MODEL_GOODBYE_WITH_WILL,
                             chance(3) == 0);
        }
}

static void publish(void)
{
        ModelClient *c = any_client();
        ModelMessage m = { .publisher = c->index,
                           .topic = chance(MODEL_TOPICS),
                           .qos = (uint8_t)chance(3),
                           .retain = chance(4) == 0 };
        if (m.qos == 1 && chance(2)) /* the most is in QoS 2 */
                m.qos = 2;
        m.clear = m.retain && m.qos > 0 && chance(3) == 0;
        if (c->version == MQTT_5 && run.time_passes && chance(4) == 0)
                m.lifetime = 1 + chance(20);
        client_publish(c, &m, c->index == 2 ? 1 : chance(2));
}

static void change_filters(void)
{
        ModelClient *c = any_client();
        if (chance(3) > 0)
                client_subscribe(c, chance(MODEL_FILTERS), (uint8_t)chance(3));
        else
                client_unsubscribe(c, chance(MODEL_FILTERS));
}

static void move(void)
{
        ModelClient *c = any_client();
        switch (chance(3)) {
        case 0:
                client_up(c, some_bytes());
                break;
        case 1:
                client_down(c, some_bytes());
                break;
        case 2:
                client_acknowledge(c);
                break;
        }
}

static void stir_old(void)
{
        ModelClient *c = any_client();
        if (chance(2))
                client_up_old(c, some_bytes());
        else
                client_close_old(c);
}

/* ---- steps of the gateway ---- */

static void settle_all(void)
{
        mqtt_disk_settle_all(&run.model.world.disk);
        run.model.settled = ++run.model.clock;
}

static void move_disk(void)
{
        switch (chance(4)) {
        case 0:
                mqtt_disk_write(&run.model.world.disk);
                break;
        case 1:
                settle_all();
                break;
        default:
                mqtt_disk_settle(&run.model.world.disk);
                break;
        }
}

static void refuse_or_fail(void)
{
        MqttWorld *w = &run.model.world;
        if (!run.disk_fails)
                return;
        w->refuse = chance(2) ? MQTT_QUOTA_EXCEEDED : MQTT_SUCCESS;
        run.model.failed |= w->refuse != MQTT_SUCCESS;
        if (mqtt_disk_fail(&w->disk, MQTT_UNSPECIFIED_ERROR, "store-failed")) {
                model_trace(&run.model, "the disk fails\n");
                run.model.failed = true;
        }
}

static void pass(unsigned seconds)
{
        model_trace(&run.model, "%u s pass\n", seconds);
        mqtt_world_pass(&run.model.world, seconds);
        for (unsigned i = 0; i < MODEL_CLIENTS; i++)
                client_time_passes(&run.clients[i]);
}

static void pass_some(void)
{
        if (!run.time_passes)
                return;
        pass(chance(10) == 0 ? 70 : 1 + chance(8));
        if (chance(2) || run.model.failed) /* then it may wait for up to a minute */
                return;
        settle_all();
        look();
        model_check_wills(&run.model);
}

/* Another boot has another CLOCK_BOOTTIME. */
static void crash(void)
{
        MqttWorld *w = &run.model.world;
        if (!run.crashes)
                return;
        bool reboot = chance(3) == 0;
        model_trace(&run.model, "crash%s\n", reboot ? " and another boot" : "");
        mqtt_world_crash(w);
        for (unsigned i = 0; i < MODEL_CLIENTS; i++)
                client_crashed(&run.clients[i]);
        look();
        model_crashed(&run.model);
        if (reboot) {
                w->config.boot++;
                w->now = chance(30) * USEC_PER_SEC;
        }
        check(mqtt_world_start(w) == 0, "no restart");
}

static void step(void)
{
        unsigned what = chance(100);
        if (what < 14)
                publish();
        else if (what < 58)
                move();
        else if (what < 76)
                move_disk();
        else if (what < 84)
                connect_or_drop();
        else if (what < 90)
                change_filters();
        else if (what < 92)
                stir_old();
        else if (what < 96)
                refuse_or_fail();
        else if (what < 98)
                pass_some();
        else if (what < 99)
                crash();
}

/* ---- the beginning and the end ---- */

static void begin_client(unsigned i)
{
        static const char *const ids[] = { "dev1/p", "dev1/q", "dev2/r" };
        run.clients[i] = (ModelClient){ .model = &run.model,
                                        .index = i,
                                        .device = i == 2 ? "dev2" : "dev1",
                                        .client_id = ids[i],
                                        .version = chance(3) ? MQTT_5 : MQTT_3_1_1 };
        if (run.clients[i].version == MQTT_5) /* not of the shared one [MQTT-3.8.3-4] */
                run.model.sessions[i].no_local = chance(3) == 0 ? chance(16) : 0;
}

static void exchange(ModelClient *c)
{
        client_up(c, SIZE_MAX / 2);
        settle_all();
        client_down(c, SIZE_MAX / 2);
        while (client_acknowledge(c))
                ;
        look();
}

static void stay(ModelClient *c, uint32_t expiry)
{
        const ClientOptions o = { .expiry = expiry, .receive_maximum = 2 };
        if (!client_is_open(c))
                client_open(c, &o);
        exchange(c);
}

/* Most that there is to see needs sessions that are there. */
static void begin_sessions(void)
{
        for (unsigned i = 0; i < MODEL_CLIENTS; i++) {
                ModelClient *c = &run.clients[i];
                stay(c, run.sessions_end ? some_expiry() : UINT32_MAX);
                for (unsigned j = 0; j < 2; j++) {
                        client_subscribe(c, chance(MODEL_FILTERS), (uint8_t)chance(3));
                        exchange(c);
                }
        }
}

static void begin_world(void)
{
        MqttWorld *w = &run.model.world;
        mqtt_world_init(w);
        w->publish = w->subscribe = "dev1/#";
        w->limits.sessions = 64; /* as many wills of a device wait */
        w->limits.subscriptions = MODEL_FILTERS;
        w->limits.retained_bytes = w->limits.queue_bytes = 1 << 20;
        w->config.window = (uint16_t)(1 + chance(4));
        w->config.receive_maximum = (uint16_t)(1 + chance(4));
        w->config.session_expiry = chance(3) ? UINT32_MAX : 15;
        check(mqtt_world_start(w) == 0, "no start");
}

static void begin(uint64_t seed)
{
        memset(&run, 0, sizeof(run));
        run.seed = seed;
        run.random = seed * 0x9e3779b97f4a7c15u + 1;
        for (unsigned i = 0; i < 8; i++)
                chance(2);
        model_init(&run.model);
        run.model.tracing = getenv("MQTT_MODEL_TRACE");
        begin_world();
        run.disk_fails = chance(3) == 0;
        run.crashes = chance(4) > 0;
        run.time_passes = chance(2);
        run.sessions_end = chance(3) == 0;
        run.calm = 1 + chance(8);
        for (unsigned i = 0; i < MODEL_CLIENTS; i++)
                begin_client(i);
        if (chance(4) > 0)
                begin_sessions();
}

static bool are_idle(void)
{
        for (unsigned i = 0; i < MODEL_CLIENTS; i++)
                if (!client_is_idle(&run.clients[i]))
                        return false;
        return true;
}

static void come_to_rest(void)
{
        model_trace(&run.model, "come to rest\n");
        run.model.world.refuse = MQTT_SUCCESS;
        for (unsigned i = 0; i < ROUNDS_MAX; i++) {
                for (unsigned j = 0; j < MODEL_CLIENTS; j++)
                        stay(&run.clients[j], UINT32_MAX);
                if (are_idle())
                        return;
        }
        check(false, "it does not come to rest");
}

/* By a client that was not there before. */
static void check_retained(void)
{
        const ClientOptions o = { .clean = true, .receive_maximum = 10 };
        ModelClient c = {
                .model = &run.model, .device = "dev1", .client_id = "dev1/z", .version = MQTT_3_1_1
        };
        model_trace(&run.model, "look at what is retained\n");
        ModelSession before = run.model.sessions[0]; /* it is none of them */
        client_open(&c, &o);
        exchange(&c);
        client_observe(&c);
        for (unsigned i = 0; i < 20 && !client_is_idle(&c); i++)
                exchange(&c);
        client_close(&c);
        run.model.sessions[0] = before;
        for (unsigned i = 0; i < MODEL_TOPICS; i++) {
                unsigned number = c.observed[i] > 0 ? c.observed[i] - 1 : MODEL_NONE;
                model_trace(&run.model, "%s: %d\n", model_topics[1][i], (int)number);
                check(model_may_be_retained(&run.model, i, number),
                      "another message is retained, or none");
        }
}

/* What was delivered and acknowledged leaves nothing behind. */
static void check_left(void)
{
        static const uint8_t kinds[] = { MQTT_KIND_MESSAGE, MQTT_KIND_QUEUED, MQTT_KIND_RECEIVED };
        settle_all();
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                if (mqtt_disk_n_values(&run.model.world.disk, kinds[i]) > 0)
                        model_trace(&run.model, "kind %u is left\n", kinds[i]);
                check(mqtt_disk_n_values(&run.model.world.disk, kinds[i]) == 0, "values are left");
        }
        check(run.model.world.n_failed == 0 && run.model.world.n_overflows == 0,
              "a queue had no room");
}

/* They take their sessions with them. */
static void leave(ModelClient *c)
{
        const ClientOptions o = { .clean = true, .receive_maximum = 1 };
        client_open(c, &o);
        exchange(c);
        client_close(c);
        settle_all();
}

static void show_session(const MqttSessionView *v, void *userdata)
{
        model_trace(&run.model, "session of %s, %s, %s\n", v->client_id,
                    v->connected ? "connected" : "away", v->kept ? "kept" : "not kept");
}

static void end(void)
{
        MqttWorld *w = &run.model.world;
        MqttServerStats stats;
        come_to_rest();
        for (unsigned i = 0; i < (run.model.failed ? 8 : 1); i++) { /* wills, one behind another */
                pass(run.model.failed ? 70 : 1);
                settle_all();
        }
        look();
        come_to_rest();
        model_check_messages(&run.model);
        model_check_wills(&run.model);
        look();
        check_left();
        check_retained();
        for (unsigned i = 0; i < MODEL_CLIENTS; i++)
                leave(&run.clients[i]);
        mqtt_server_stats(w->server, &stats);
        mqtt_server_each(w->server, show_session, NULL);
        check(stats.sessions == 0, "a session is left");
        check(mqtt_disk_n_values(&w->disk, 0) - mqtt_disk_n_values(&w->disk, MQTT_KIND_AGE) ==
                      stats.retained,
              "values are left on disk");
        check(stats.retained > 0 || stats.kept_bytes == 0, "bytes are counted that are not there");
        check(mqtt_world_forget_all(w), "something is left of it all");
        mqtt_world_done(w);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
        const char *value = getenv(name);
        return value ? strtoull(value, NULL, 10) : otherwise;
}

static void promises_are_kept(void **state)
{
        uint64_t seed = number_from("MQTT_MODEL_SEED", 1);
        uint64_t n = number_from("MQTT_MODEL_RUNS", getenv("MQTT_MODEL_SEED") ? 1 : RUNS);
        for (uint64_t i = 0; i < n; i++) {
                begin(seed + i);
                for (unsigned j = 0; j < STEPS; j++) {
                        step();
                        look();
                }
                end();
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(promises_are_kept),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
