/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-bench.h"

#include "../hex.h"
#include "base/str.h"

MqttWorld world;

int setup(void **state)
{
        mqtt_world_init(&world);
        return mqtt_world_start(&world);
}

int teardown(void **state)
{
        if (!list_empty(&world.clients)) { /* they were on the stack of a test that failed */
                print_error("a client is still open\n");
                return -1;
        }
        bool clean = mqtt_world_forget_all(&world);
        mqtt_world_done(&world);
        if (!clean)
                print_error("something is left of a session or a message\n");
        return clean && world.n_failed == 0 ? 0 : -1;
}

void client_open_as(Client *c, const char *device)
{
        assert_int_equal(mqtt_world_connect(&world, device, c), 0);
}

void client_open(Client *c)
{
        client_open_as(c, "dev1");
}

void client_connect_as(Client *c, const char *device, const char *connect, const char *connack)
{
        client_open_as(c, device);
        exchange(c, connect, connack);
        assert_int_equal(c->n_connected, 1);
}

void client_connect(Client *c, const char *connect, const char *connack)
{
        client_connect_as(c, "dev1", connect, connack);
}

void client_close(Client *c)
{
        mqtt_world_close(c);
}

void client_leave(Client *c)
{
        feed(c, "e0 00");
        client_close(c);
        settle();
}

void client_leave_for_good(Client *c)
{
        feed(c, "e0 07 00 05 11 00000000");
        client_close(c);
        settle();
}

MqttInput feed(Client *c, const char *hex)
{
        uint8_t in[2048];
        size_t consumed, n = unhex(hex, in, sizeof(in));
        MqttInput r = mqtt_connection_input(c->connection, BYTES(in, n), 1000, world.now, &consumed,
                                            &c->wait);
        if (r == MQTT_INPUT_MORE)
                assert_int_equal(consumed, n);
        return r;
}

void assert_out(Client *c, const char *hex)
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

void exchange(Client *c, const char *in, const char *out)
{
        feed(c, in);
        settle();
        if (out)
                assert_out(c, out);
}

void assert_ended(const Client *c, MqttReason reason)
{
        const char *text;
        assert_true(mqtt_connection_has_ended(c->connection));
        assert_int_equal(mqtt_connection_end_reason(c->connection, &text), reason);
}

void assert_records(const char *expected)
{
        char all[1024] = "";
        for (size_t i = 0; i < mqtt_disk_n_records(&world.disk); i++) {
                size_t len = strlen(all);
                snprintf(all + len, sizeof(all) - len, "%s%s", i > 0 ? "," : "",
                         mqtt_disk_get_record(&world.disk, i));
        }
        assert_string_equal(all, expected);
}

int command(const char *topic, const char *payload, uint8_t qos)
{
        return mqtt_world_command(&world, topic, payload, qos);
}

MqttServerStats stats(void)
{
        MqttServerStats s;
        mqtt_server_stats(world.server, &s);
        return s;
}

static void view_if(const MqttSessionView *view, void *userdata)
{
        MqttSessionView *ret = userdata;
        if (streq(view->client_id, ret->client_id))
                *ret = *view;
}

MqttSessionView view(const char *client_id)
{
        MqttSessionView v = { .client_id = client_id };
        mqtt_server_each(world.server, view_if, &v);
        assert_non_null(v.device);
        return v;
}

void assert_nothing_kept(void)
{
        settle();
        assert_true(mqtt_world_is_empty(&world));
}

void settle(void)
{
        mqtt_disk_settle_all(&world.disk);
}

void settle_failed(MqttReason reason, const char *text)
{
        assert_true(mqtt_disk_fail(&world.disk, reason, text));
}

void crash(void)
{
        crash_for(0);
}

static void start(void)
{
        assert_int_equal(mqtt_world_start(&world), 0);
        settle();
}

void crash_for(unsigned seconds)
{
        mqtt_world_crash(&world);
        world.now += seconds * USEC_PER_SEC;
        world.realtime += seconds * USEC_PER_SEC;
        start();
}

void reboot(int clock)
{
        mqtt_world_crash(&world);
        world.config.boot++;
        world.now = 0;
        world.realtime += (usec_t)clock * USEC_PER_SEC;
        start();
}
