/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the MQTT server finds on disk: values that it put there itself, which the input changes,
 * cuts off, takes away and puts under other keys, and others that it makes up. Whatever it was, the
 * server starts, a second start finds nothing wrong any more, each client takes up its session and
 * hears nothing but right packets, gets new messages, and in the end nothing is left. */
#include <string.h>

#include "domain/mqtt-journal.h"
#include "mqtt-peer.h"
#include "mqtt-world.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VALUES_MAX 48
#define VALUE_MAX  512
#define ROUNDS_MAX 2000 /* of a client that answers until it hears nothing new */

typedef struct Value {
        MqttKey key;
        size_t len;
        uint8_t data[VALUE_MAX];
} Value;

typedef struct Talker {
        MqttWorldClient client;
        Peer peer;
} Talker;

static MqttWorld world;

/* ---- clients ---- */

static void open_talker(Talker *t, const char *device)
{
        t->peer = (Peer){ .window = world.config.window };
        require(mqtt_world_connect(&world, device, &t->client) == 0);
}

static void say(Talker *t, uint8_t first, Bytes body)
{
        uint8_t packet[256] = { first, (uint8_t)body.len };
        size_t consumed;
        usec_t wait;
        require(body.len < 128);
        memcpy(packet + 2, body.data, body.len);
        Bytes all = BYTES(packet, body.len + 2);
        mqtt_connection_input(t->client.connection, all, 1, world.now, &consumed, &wait);
        require(consumed == all.len);
        peer_said(&t->peer, all);
        mqtt_disk_settle_all(&world.disk);
}

static void answer(Talker *t, size_t i)
{
        const Peer *p = &t->peer;
        const uint8_t id[] = { (uint8_t)(p->sent[i] >> 8), (uint8_t)p->sent[i] };
        uint8_t type = p->releases[i] ? MQTT_PUBCOMP : p->qos[i] == 2 ? MQTT_PUBREC : MQTT_PUBACK;
        say(t, (uint8_t)(type << 4), BYTES(id, sizeof(id)));
}

/* Whether anything came. */
static bool listen(Talker *t)
{
        Bytes out = buf_view(&t->client.out);
        if (out.len == 0)
                return false;
        peer_hears(&t->peer, out);
        buf_consume(&t->client.out, out.len);
        mqtt_connection_drained(t->client.connection, world.now);
        return true;
}

/* Takes and acknowledges all that waits for it. */
static void take_all(Talker *t)
{
        unsigned rounds = 0;
        while (listen(t) || t->peer.n_sent > 0) {
                require(rounds++ < ROUNDS_MAX);
                for (size_t n = t->peer.n_sent; n > 0; n--)
                        answer(t, 0);
        }
        require(t->peer.connected && !mqtt_connection_has_ended(t->client.connection));
}

/* ---- what a server leaves ---- */

static void leave_subscriber(Talker *t)
{
        open_talker(t, "dev1");
        say(t, 0x10, BYTES_LITERAL("\0\4MQTT\5\0\0\x3c\x08\x11\0\0\0\x64\x21\0\2\0\4dev1"));
        say(t, 0x82, BYTES_LITERAL("\0\1\2\x0b\5\0\1a\2\0\3b/#\1"));
        say(t, 0x82, BYTES_LITERAL("\0\2\0\0\x0a$share/g/s\1"));
        listen(t);
}

/* With wills: of a session that is kept, and of one that ends with its connection. */
static void leave_wills(Talker *kept, Talker *ends)
{
        open_talker(kept, "dev1");
        say(kept, 0x10,
            BYTES_LITERAL("\0\4MQTT\5\x2c\0\x3c\5\x11\0\0\0\x64\0\6dev1/x"
                          "\5\x18\0\0\0\5\0\1w\0\1p"));
        open_talker(ends, "dev2");
        say(ends, 0x10, BYTES_LITERAL("\0\4MQTT\4\6\0\x3c\0\4dev2\0\1w\0\1q"));
        listen(kept);
        listen(ends);
}

/* One at each stage, one that waits behind the window, one that came while its client was away, and
 * some that are retained. */
static void leave_messages(Talker *from, Talker *to)
{
        say(from, 0x35, BYTES_LITERAL("\0\1a\0\7\5\2\0\0\0\x64one"));
        listen(to);
        say(to, 0x50, BYTES_LITERAL("\0\1"));
        say(from, 0x32, BYTES_LITERAL("\0\1a\0\x08\x0d\x26\0\4name\0\4texttwo"));
        say(from, 0x34, BYTES_LITERAL("\0\3b/x\0\x09\0three"));
        listen(to);
        mqtt_world_close(&to->client);
        say(from, 0x33, BYTES_LITERAL("\0\3b/y\0\x0a\3\3\0\0four"));
        say(from, 0x31, BYTES_LITERAL("\0\1r\0keep"));
        listen(from);
}

static int take_value(const MqttKey *key, Bytes value, void *userdata)
{
        Value *v = userdata;
        while (v->key.kind > 0)
                v++;
        require(value.len <= sizeof(v->data));
        v->key = *key;
        v->len = value.len;
        if (value.len > 0)
                memcpy(v->data, value.data, value.len);
        return 0;
}

/* The process dies with two clients connected. */
static void leave(Value *ret)
{
        Talker a, b, c;
        mqtt_world_init(&world);
        require(mqtt_world_start(&world) == 0);
        leave_subscriber(&a);
        leave_wills(&b, &c);
        leave_messages(&b, &a);
        mqtt_journal_age(world.server);
        mqtt_disk_settle_all(&world.disk);
        mqtt_world_crash(&world);
        for (uint8_t kind = MQTT_KIND_SESSION; kind < _MQTT_KIND_MAX; kind++) {
                require(mqtt_disk_n_values(&world.disk, kind) > 0);
                mqtt_disk_read(kind, take_value, ret, &world.disk);
        }
        mqtt_world_done(&world);
}

/* ---- what the input makes of it ---- */

static uint64_t read_number(Reader *r)
{
        static const uint64_t numbers[] = { 0,          1,
                                            2,          INT64_MAX / 2,
                                            INT64_MAX,  UINT32_MAX,
                                            UINT16_MAX, INT64_MAX / 2 + 1,
                                            16384,      UINT32_MAX / 2 };
        uint8_t v = reader_u8(r);
        return v < 192 ? v : numbers[v % ELEMENTSOF(numbers)];
}

static Value *find_free(Value *values)
{
        for (size_t i = 0; i < VALUES_MAX; i++)
                if (values[i].key.kind == 0)
                        return &values[i];
        return &values[VALUES_MAX - 1];
}

/* Under another key beside itself. */
static void copy(Value *values, const Value *v, Reader *r)
{
        Value *to = find_free(values);
        *to = *v;
        to->key.a = read_number(r);
        to->key.b = read_number(r);
}

static void make_up(Value *values, Reader *r)
{
        Value *v = find_free(values);
        uint8_t kind = reader_u8(r);
        v->key = (MqttKey){ .kind = (uint8_t)(1 + kind % (_MQTT_KIND_MAX - 1)) };
        v->key.a = read_number(r);
        v->key.b = read_number(r);
        v->len = reader_u8(r);
        v->len = MIN(v->len, reader_left(r));
        if (v->len > 0)
                memcpy(v->data, reader_bytes(r, v->len).data, v->len);
}

static void insert(Value *v, size_t at, Reader *r)
{
        size_t n = reader_u8(r) % 16;
        n = MIN(n, MIN(reader_left(r), sizeof(v->data) - v->len));
        Bytes bytes = reader_bytes(r, n);
        memmove(v->data + at + n, v->data + at, v->len - at);
        if (n > 0)
                memcpy(v->data + at, bytes.data, n);
        v->len += n;
}

static void erase(Value *v, size_t at, Reader *r)
{
        size_t n = reader_u8(r);
        n = MIN(n, v->len - at);
        memmove(v->data + at, v->data + at + n, v->len - at - n);
        v->len -= n;
}

/* A number of one to eight bytes. */
static void put_number(Value *v, size_t at, Reader *r)
{
        size_t n = reader_u8(r) % 8 + 1;
        uint64_t number = read_number(r);
        for (size_t i = MIN(n, v->len - at); i > 0; i--, number >>= 8)
                v->data[at + i - 1] = (uint8_t)number;
}

static void change_bytes(Value *v, uint8_t how, Reader *r)
{
        size_t at = reader_u16(r) % (v->len + 1);
        switch (how & 3) {
        case 0:
                insert(v, at, r);
                return;
        case 1:
                erase(v, at, r);
                return;
        case 2:
                put_number(v, at, r);
                return;
        default:
                if (at < v->len)
                        v->data[at] ^= reader_u8(r);
        }
}

static void change(Value *values, Reader *r)
{
        uint8_t how = reader_u8(r);
        Value *v = &values[reader_u8(r) % VALUES_MAX];
        if (how & 4) {
                change_bytes(v, how, r);
                return;
        }
        switch (how & 3) {
        case 0:
                v->key.kind = 0;
                return;
        case 1:
                copy(values, v, r);
                return;
        case 2:
                make_up(values, r);
                return;
        default:
                v->key.a = read_number(r);
                v->key.b = read_number(r);
        }
}

/* ---- what the server makes of that ---- */

/* Another boot, at another time by the wall clock, by rules that may have changed. */
static void set_up(const Value *values, uint8_t how)
{
        mqtt_world_init(&world);
        world.limits = (ClassLimits){ .sessions = 2 * VALUES_MAX,
                                      .subscriptions = MQTT_SUBSCRIPTIONS_MAX,
                                      .retained_bytes = 1 << 20,
                                      .queue_bytes = 1 << 20 };
        world.config.boot = how & 1 ? 1 : 2;
        world.realtime += (usec_t)(how >> 1 & 3) * 50 * USEC_PER_SEC;
        world.subscribe = world.publish = how & 8 ? "dev2/#" : NULL;
        world.gone = how & 16 ? "dev2" : NULL;
        world.config.maximum_packet_size = how & 32 ? 64 : 1024;
        for (size_t i = 0; i < VALUES_MAX; i++)
                if (values[i].key.kind > 0)
                        mqtt_disk_plant(&world.disk, &values[i].key,
                                        BYTES(values[i].data, values[i].len));
}

/* What was dropped is gone from the disk as well. */
static void start_twice(void)
{
        MqttServerStats before, after;
        require(mqtt_world_start(&world) == 0);
        mqtt_disk_settle_all(&world.disk);
        mqtt_server_stats(world.server, &before);
        mqtt_world_crash(&world);
        require(mqtt_world_start(&world) == 0);
        mqtt_server_stats(world.server, &after);
        require(world.dropped == 0 && before.sessions == after.sessions);
        require(before.retained == after.retained && before.kept_bytes == after.kept_bytes);
}

/* The same for both versions, but that 5 has properties: none here. */
static void say_versioned(Talker *t, uint8_t first, bool v5, Bytes front, Bytes rest)
{
        uint8_t body[64] = { 0 };
        memcpy(body, front.data, front.len);
        memcpy(body + front.len + v5, rest.data, rest.len);
        say(t, first, BYTES(body, front.len + v5 + rest.len));
}

static void connect_as(Talker *t, bool v5, const char *client_id)
{
        uint8_t id[16] = { 0, (uint8_t)strlen(client_id) };
        Bytes front =
                v5 ? BYTES_LITERAL("\0\4MQTT\5\0\0\x3c") : BYTES_LITERAL("\0\4MQTT\4\0\0\x3c");
        memcpy(id + 2, client_id, id[1]);
        say_versioned(t, 0x10, v5, front, BYTES(id, id[1] + 2u));
        take_all(t);
}

/* Who is known takes up its session, and a message comes to it. */
static void go_on(const char *device, const char *client_id, bool v5)
{
        Talker t;
        if (world.gone && !strcmp(world.gone, device))
                return;
        open_talker(&t, device);
        connect_as(&t, v5, client_id);
        say_versioned(&t, 0x82, v5, BYTES_LITERAL("\0\1"), BYTES_LITERAL("\0\1n\1"));
        take_all(&t);
        size_t before = t.peer.n_publishes;
        say_versioned(&t, 0x32, v5, BYTES_LITERAL("\0\1n\1\xff"), BYTES_LITERAL("new"));
        take_all(&t);
        require(t.peer.n_publishes == before + 1);
        mqtt_world_close(&t.client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static Value left[VALUES_MAX];
        Value values[VALUES_MAX];
        Reader r = reader_new(BYTES(data, size));
        if (left[0].key.kind == 0)
                leave(left);
        memcpy(values, left, sizeof(values));
        uint8_t how = reader_u8(&r);
        while (reader_left(&r) > 0)
                change(values, &r);
        set_up(values, how);
        start_twice();
        mqtt_world_pass(&world, 10);
        go_on("dev1", "dev1", how & 64);
        go_on("dev1", "dev1/x", !(how & 64));
        go_on("dev2", "dev2", how & 64);
        require(mqtt_world_forget_all(&world));
        mqtt_world_done(&world);
        return 0;
}
