/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The MQTT server with several connections of two devices, "a" and "b", a slow disk that fails, and
 * crashes. The input is a program: which packets or bytes come, in which pieces, what the disk
 * answers, who reads, how time passes. What the clients hear is judged in mqtt-peer.c. Here: who
 * waits is woken, no PUBACK and PUBREC without a message that is durable, what is taken up again is
 * what was left, and nothing is left of what has ended. */
#include "base/str.h"
#include "domain/mqtt-connection.h"
#include "domain/mqtt-journal.h"
#include "domain/mqtt-server-internal.h"
#include "mqtt-disk.h"
#include "mqtt-limits.h"
#include "mqtt-packets.h"
#include "mqtt-peer.h"
#include "mqtt-rights.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SLOTS      5
#define PACKET_MAX 512
#define EXPIRY     100 /* seconds: the longest of a session */
#define NOBODY     -1

/* A connection. */
typedef struct Slot {
        MqttConnection *connection; /* NULL: none */
        Buf in, out;
        size_t heard; /* of `out`, by `peer` */
        bool blocked, woken;
        Peer peer;
        size_t n_durable[3]; /* messages of each QoS */
} Slot;

static Slot slots[SLOTS];
static MqttServer *server;
static MqttDisk disk;
static MqttServerConfig config;
static usec_t now, realtime_offset;
static int active = NOBODY; /* whose input is being taken */
static bool marked, may_read, may_write, throttled, refusing;

/* ---- allowance, disk and upstream ---- */

static usec_t charge(const char *device, size_t len, usec_t time, void *userdata)
{
        return throttled ? USEC_PER_SEC : 0;
}

static void overflow(const char *device, const char *client_id, void *userdata)
{
}

static void will_lost(const char *device, const char *topic, const char *why, void *userdata)
{
}

static void failed(int error, void *userdata)
{
        abort();
}

static void begin(void *userdata)
{
        mqtt_disk_begin(&disk);
}

static void put(const MqttKey *key, Bytes value, void *userdata)
{
        mqtt_disk_put(&disk, key, value);
}

static void remove_value(const MqttKey *key, void *userdata)
{
        mqtt_disk_remove(&disk, key);
}

static int commit(MqttPending *p, void *userdata)
{
        return mqtt_disk_barrier(&disk, p);
}

static MqttReason submit(MqttPending *p, const MqttSubmission *m, const char **ret_text,
                         void *userdata)
{
        *ret_text = "refused";
        if (refusing || mqtt_disk_record(&disk, p, m->topic) < 0)
                return MQTT_QUOTA_EXCEEDED;
        return MQTT_SUCCESS;
}

static MqttReason attest(const MqttSubmission *m, const char **ret_text, void *userdata)
{
        *ret_text = "refused";
        if (refusing)
                return MQTT_QUOTA_EXCEEDED;
        slots[active].n_durable[m->qos]++;
        return MQTT_SUCCESS;
}

static const MqttServerPort port = {
        .decide = rights_decide,
        .may_be = rights_may_be,
        .may_receive = rights_may_receive,
        .limits = rights_limits,
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

/* ---- connections ---- */

static void connected(void *userdata)
{
}

static void denied(MqttAccess access, Bytes topic, const char *reason, void *userdata)
{
}

static void wake(void *userdata)
{
        Slot *s = userdata;
        s->woken = true;
        s->blocked = false;
}

static const MqttConnectionPort connection_port = {
        .connected = connected,
        .denied = denied,
        .wake = wake,
};

static void check_end(const MqttConnection *c)
{
        const char *text;
        MqttReason reason = mqtt_connection_end_reason(c, &text);
        require(mqtt_connection_has_ended(c) || (reason == MQTT_SUCCESS && *text == '\0'));
        require(strlen(mqtt_connection_client_id(c)) <= MQTT_CLIENT_ID_MAX);
}

static void look_at(Slot *s)
{
        Bytes all = buf_view(&s->out);
        Bytes fresh = all.len > s->heard ? BYTES(all.data + s->heard, all.len - s->heard)
                                         : BYTES(NULL, 0);
        Peer *p = &s->peer;
        p->marked = marked;
        p->may_read = may_read;
        p->may_write = may_write;
        bool ended = mqtt_connection_has_ended(s->connection);
        require(s->woken || s == &slots[MAX(active, 0)] || (fresh.len == 0 && ended == p->ended));
        peer_hears(p, fresh);
        s->heard = all.len;
        require(!p->ended || ended);
        p->ended = ended;
        check_end(s->connection);
        require(p->n_pubacks <= s->n_durable[1]);
        require(p->n_pubrecs <= s->n_durable[2]);
}

/* After every call of the engine. */
static void look(void)
{
        for (int i = 0; i < SLOTS; i++) {
                if (slots[i].connection)
                        look_at(&slots[i]);
                slots[i].woken = false;
        }
        limits_check(server, &rights_limits_of_each);
        active = NOBODY;
}

static void close_slot(int i)
{
        Slot *s = &slots[i];
        s->connection = mqtt_connection_free(s->connection);
        look();
        buf_done(&s->in);
        buf_done(&s->out);
}

static void open_slot(int i, bool b)
{
        Slot *s = &slots[i];
        close_slot(i);
        *s = (Slot){ .peer = { .device = b ? 'b' : 'a', .window = config.window } };
        s->in = BUF_INIT(1 << 16);
        s->out = BUF_INIT(i == 0 ? PACKET_MAX : 4 * PACKET_MAX);
        require(mqtt_connection_new(server, b ? "b" : "a", &s->out, &connection_port, s, now,
                                    &s->connection) == 0);
}

static void drain(int i, size_t n)
{
        Slot *s = &slots[i];
        if (!s->connection)
                return;
        n = MIN(n, s->heard);
        buf_consume(&s->out, n);
        s->heard -= n;
        if (buf_len(&s->out) > 0)
                return;
        s->blocked = false;
        active = i;
        mqtt_connection_drained(s->connection, now);
        look();
}

/* One packet at a time, so that the client's view is the server's. */
static bool take_packet(int i, size_t len)
{
        Slot *s = &slots[i];
        size_t consumed;
        usec_t wait;
        active = i;
        Bytes in = buf_view(&s->in);
        MqttInput r =
                mqtt_connection_input(s->connection, BYTES(in.data, len), 1, now, &consumed, &wait);
        require(consumed <= len && (wait == 0 || throttled));
        require((r == MQTT_INPUT_ENDED) == mqtt_connection_has_ended(s->connection));
        if (consumed > 0)
                peer_said(&s->peer, BYTES(in.data, consumed));
        buf_consume(&s->in, consumed);
        s->blocked = r == MQTT_INPUT_BLOCKED && wait == 0 && !s->woken;
        look();
        return consumed > 0;
}

static void feed(int i, size_t len)
{
        Slot *s = &slots[i];
        while (s->connection && !s->blocked) {
                size_t left = buf_len(&s->in);
                len = MIN(len, left);
                if (!take_packet(i, len))
                        return;
                len -= left - buf_len(&s->in);
        }
}

/* ---- steps ---- */

/* One that came before was durable then. */
static void note_settled(const MqttPending *p, bool success)
{
        for (int i = 0; i < SLOTS; i++) {
                Slot *s = &slots[i];
                if (!s->connection || s->connection != p->connection)
                        continue;
                s->n_durable[1] += p->answer == MQTT_PUBACK && success;
                s->n_durable[2] += p->answer == MQTT_PUBREC && (success || p->repeated);
        }
}

static void settle(bool success)
{
        const MqttPending *p = mqtt_disk_next(&disk);
        if (!p)
                return;
        note_settled(p, success);
        if (success)
                mqtt_disk_settle(&disk);
        else
                mqtt_disk_fail(&disk, MQTT_UNSPECIFIED_ERROR, "failed");
        look();
}

static void settle_all(void)
{
        while (mqtt_disk_waiting(&disk) > 0)
                settle(true);
        mqtt_disk_settle_all(&disk);
}

static void tick(void)
{
        for (int i = 0; i < SLOTS; i++)
                if (slots[i].connection)
                        mqtt_connection_tick(slots[i].connection, now);
        mqtt_server_tick(server, now, now + realtime_offset);
        look();
}

static void start(size_t *ret_dropped)
{
        require(mqtt_server_new(&config, &port, NULL, &server) == 0);
        require(mqtt_server_restore(server, mqtt_disk_read, &disk, now, now + realtime_offset,
                                    ret_dropped) == 0);
}

static void close_all(void)
{
        for (int i = 0; i < SLOTS; i++)
                close_slot(i);
}

static void crash(bool reboot)
{
        size_t dropped;
        disk.lost = true;
        close_all();
        server = mqtt_server_free(server);
        mqtt_disk_crash(&disk);
        if (reboot) {
                config.boot++;
                realtime_offset += now;
                now = USEC_PER_SEC;
        }
        start(&dropped);
}

/* Nothing is lost, whatever the clock says. */
static void restart(void)
{
        size_t dropped;
        MqttServerStats before, after;
        close_all();
        settle_all();
        tick();
        settle_all();
        mqtt_server_review(server); /* as the start does: what has expired goes */
        settle_all();
        mqtt_server_stats(server, &before);
        server = mqtt_server_free(server);
        start(&dropped);
        mqtt_server_stats(server, &after);
        require(dropped == 0 && before.sessions == after.sessions);
        require(before.retained == after.retained && before.kept_bytes == after.kept_bytes);
}

static void set_grant(uint8_t how)
{
        rights_grant(how & 1, how & 2);
        may_read |= how & 1;
        may_write |= how & 2;
        mqtt_server_review(server);
        look();
}

static void set_posture(uint8_t how)
{
        rights_open(how & 1 ? 'b' : 'a', how & 2);
        mqtt_server_device_changed(server, how & 1 ? "b" : "a", now);
        look();
}

/* The device is no more, or is there again. */
static void set_known(uint8_t how)
{
        char device = how & 1 ? 'b' : 'a';
        for (int i = 0; i < SLOTS; i++)
                if (slots[i].peer.device == device)
                        close_slot(i);
        rights_know(device, how & 2);
        mqtt_server_review(server);
        look();
}

/* As attestation answers, or another part of the gateway. */
static void publish(uint8_t how)
{
        const bool b = how & 1, attestation = how & 2;
        const char *topic = attestation ? b ? "rats/b/answer" : "rats/a/answer"
                            : b         ? "b/t/1"
                                        : "a/t/1";
        MqttMessage *m;
        require(mqtt_message_new(bytes_from_str(topic), bytes_from_str(b ? "b" : "a"), how >> 2 & 1,
                                 NULL, now, &m) == 0);
        m->attestation = attestation;
        require(mqtt_server_publish(server, m, now) >= 0);
        mqtt_message_unref(m);
        look();
}

static void write_packet(Slot *s, uint8_t kind, Reader *r)
{
        typedef void (*Write)(Buf * out, Reader * r, const PacketSender *s);
        static const Write writes[8] = { packet_publish,     packet_publish, packet_publish,
                                         packet_subscribe,   packet_ack,     packet_ack,
                                         packet_unsubscribe, packet_other };
        PacketSender sender = { s->peer.connect.version, s->peer.device, &s->peer };
        if (!s->peer.said_connect) {
                sender.version = kind & 1 ? MQTT_5 : MQTT_3_1_1;
                packet_connect(&s->in, r, &sender);
        } else {
                writes[kind](&s->in, r, &sender);
        }
}

static bool has_room(const Slot *s)
{
        return s->connection && buf_len(&s->in) < s->in.max / 2;
}

static void step_packet(int i, uint8_t kind, bool whole, Reader *r)
{
        Slot *s = &slots[i];
        if (!has_room(s))
                return;
        write_packet(s, kind, r);
        feed(i, whole ? SIZE_MAX : reader_u8(r));
}

static void step_raw(int i, Reader *r)
{
        Slot *s = &slots[i];
        uint8_t len = reader_u8(r);
        Bytes raw = reader_bytes(r, MIN((size_t)len, reader_left(r)));
        if (!has_room(s))
                return;
        marked = false;
        require(buf_append(&s->in, raw) == 0);
        feed(i, SIZE_MAX);
}

/* A packet with a byte changed. */
static void step_broken(int i, Reader *r)
{
        Slot *s = &slots[i];
        size_t before = buf_len(&s->in);
        if (!has_room(s))
                return;
        marked = false;
        write_packet(s, reader_u8(r) & 7, r);
        size_t at = before + reader_u8(r) % (buf_len(&s->in) - before);
        s->in.data[s->in.start + at] ^= reader_u8(r);
        feed(i, SIZE_MAX);
}

static void step_rest(uint8_t what, uint8_t how)
{
        switch (what & 15) {
        case 0:
                throttled = how & 1;
                return;
        case 1:
                refusing = how & 1;
                return;
        case 2:
                set_posture(how);
                return;
        case 3:
                set_grant(how);
                return;
        case 4:
                publish(how);
                return;
        case 5:
                crash(how & 1);
                return;
        case 6:
                restart();
                return;
        case 7:
                settle_all();
                return;
        case 8:
                mqtt_disk_write(&disk);
                return;
        case 9:
                set_known(how);
                return;
        case 10:
                if (slots[how % SLOTS].connection)
                        mqtt_connection_end(slots[how % SLOTS].connection,
                                            MQTT_ADMINISTRATIVE_ACTION, "ended");
                look();
                return;
        default:
                now += how * USEC_PER_SEC;
                tick();
        }
}

/* Five bits say what, three which connection. */
static void step(Reader *r)
{
        uint8_t b = reader_u8(r), what = b >> 3;
        int i = (b & 7) % SLOTS;
        if (what < 16)
                step_packet(i, what & 7, what < 8, r);
        else if (what < 17)
                step_raw(i, r);
        else if (what < 18)
                step_broken(i, r);
        else if (what < 19)
                feed(i, reader_u8(r));
        else if (what < 21)
                open_slot(i, what & 1);
        else if (what < 22)
                close_slot(i);
        else if (what < 25)
                settle(true);
        else if (what < 26)
                settle(false);
        else if (what < 27)
                drain(i, reader_u8(r));
        else if (what < 29)
                drain(i, SIZE_MAX);
        else
                step_rest(b & 31, reader_u8(r));
}

/* ---- the whole ---- */

static void set_up(Reader *r)
{
        uint8_t how = reader_u8(r);
        size_t dropped;
        config = MQTT_SERVER_CONFIG_DEFAULT;
        config.maximum_packet_size = PACKET_MAX;
        config.receive_maximum = 4;
        config.topic_alias_maximum = 3;
        config.window = 4;
        config.session_expiry = how & 1 ? UINT32_MAX : EXPIRY;
        config.kept_bytes = how & 2 ? UINT64_MAX : 8000;
        config.ignore_passwords = how & 4;
        config.boot = 1;
        now = USEC_PER_SEC;
        realtime_offset = 1000 * USEC_PER_SEC;
        marked = true;
        may_read = may_write = throttled = refusing = false;
        rights_begin();
        mqtt_disk_init(&disk);
        start(&dropped);
        set_grant(how >> 3);
}

/* Whoever waits for the disk, for a reader or for time goes on. */
static void check_all_go_on(void)
{
        throttled = false;
        for (int n = 0; n < 3; n++)
                for (int i = 0; i < SLOTS; i++) {
                        settle_all();
                        drain(i, SIZE_MAX);
                        feed(i, SIZE_MAX);
                }
        settle_all();
        for (int i = 0; i < SLOTS; i++) {
                drain(i, SIZE_MAX);
                require(!slots[i].connection || !slots[i].blocked);
        }
}

static void check_nothing_is_left(void)
{
        close_all();
        now += 2 * EXPIRY * USEC_PER_SEC;
        tick();
        settle_all();
        rights_know('a', false);
        rights_know('b', false);
        mqtt_server_review(server);
        settle_all();
        limits_check_empty(server);
        require(mqtt_disk_n_values(&disk, 0) == mqtt_disk_n_values(&disk, MQTT_KIND_AGE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Reader r = reader_new(BYTES(data, size));
        set_up(&r);
        while (reader_left(&r) > 0)
                step(&r);
        check_all_go_on();
        check_nothing_is_left();
        server = mqtt_server_free(server);
        rights_end();
        mqtt_disk_done(&disk);
        return 0;
}
