/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The connections of a model's client: how they open and end, and the bytes on them. */

#include <stdlib.h>

#include "mqtt-model-client.h"

#define UP_MAX 65536

void client_must(int error)
{
        if (error < 0)
                abort();
}

ClientLink *client_link(ModelClient *c)
{
        return &c->links[c->in_use];
}

static ClientLink *old_link(ModelClient *c)
{
        return &c->links[!c->in_use];
}

bool client_is_open(const ModelClient *c)
{
        return c->links[c->in_use].peer.connection;
}

bool client_is_connected(const ModelClient *c)
{
        return client_is_open(c) && c->links[c->in_use].connected;
}

/* ---- the end ---- */

/* For these reasons the server may leave a client that keeps to the protocol. */
static bool may_end(const ModelClient *c, MqttReason reason)
{
        bool disk = reason == MQTT_UNSPECIFIED_ERROR || reason == MQTT_SERVER_BUSY ||
                    reason == MQTT_QUOTA_EXCEEDED;
        return reason == MQTT_SUCCESS || reason == MQTT_SESSION_TAKEN_OVER ||
               reason == MQTT_KEEP_ALIVE_TIMEOUT || (disk && c->model->failed);
}

/* Whether DISCONNECT got there. */
static bool said_goodbye(ModelClient *c, ClientLink *l)
{
        const char *text;
        if (!l->peer.connection || !mqtt_connection_has_ended(l->peer.connection))
                return false;
        MqttReason reason = mqtt_connection_end_reason(l->peer.connection, &text);
        if (!may_end(c, reason))
                model_trace(c->model, "  the server ended it: 0x%02x %s\n", reason, text);
        model_require(c->model, may_end(c, reason),
                      "the server ended a connection for no good reason");
        return reason == MQTT_SUCCESS;
}

/* A session that may be new, and nobody has told so: from now on it is not the client's. */
static void doubt(ModelClient *c, const ClientLink *l)
{
        if (l->attached && !l->connected && !l->connect.must_be)
                c->must_clean = true;
}

static void detach(ModelClient *c, ClientLink *l)
{
        const uint32_t none = 0;
        bool goodbye = said_goodbye(c, l), ends = goodbye && l->ends_session;
        if (!l->attached)
                return;
        doubt(c, l);
        l->attached = false;
        c->must_clean |= ends;
        model_detached(c->model, c->index, goodbye ? l->goodbye : MODEL_NO_GOODBYE,
                       ends ? &none : NULL);
}

static void close_link(ModelClient *c, ClientLink *l)
{
        if (l->peer.connection) {
                detach(c, l);
                mqtt_world_close(&l->peer);
        }
        buf_done(&l->up);
        buf_done(&l->down);
        *l = (ClientLink){ 0 };
        client_note_arrived(c);
}

void client_close_old(ModelClient *c)
{
        close_link(c, old_link(c));
}

void client_close(ModelClient *c)
{
        close_link(c, old_link(c));
        close_link(c, client_link(c));
        client_forget_connection(c);
}

void client_crashed(ModelClient *c)
{
        for (unsigned i = 0; i < 2; i++) {
                doubt(c, &c->links[i]);
                c->links[i].attached = false;
        }
        client_close(c);
}

/* ---- the beginning ---- */

static void write_properties(const ClientLink *l, uint32_t expiry, Buf *b)
{
        client_must(buf_append_u8(b, 11));
        client_must(buf_append_u8(b, MQTT_PROPERTY_SESSION_EXPIRY));
        client_must(buf_append_u32(b, expiry));
        client_must(buf_append_u8(b, MQTT_PROPERTY_RECEIVE_MAXIMUM));
        client_must(buf_append_u16(b, l->receive_maximum));
        client_must(buf_append_u8(b, MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM));
        client_must(buf_append_u16(b, l->aliases_max));
}

static void write_text(Buf *b, const char *text)
{
        client_must(buf_append_u16(b, (uint16_t)strlen(text)));
        client_must(buf_append_str(b, text));
}

static void write_will(const ModelClient *c, unsigned number, Buf *b)
{
        const ModelMessage *will = &c->model->messages[number];
        Buf payload = BUF_INIT(16);
        if (c->version == MQTT_5) {
                client_must(buf_append_u8(b, 5));
                client_must(buf_append_u8(b, MQTT_PROPERTY_WILL_DELAY));
                client_must(buf_append_u32(b, will->delay));
        }
        client_must(buf_printf(&payload, "%u", number));
        write_text(b, model_topics[1][will->topic]);
        client_must(buf_append_u16(b, (uint16_t)buf_len(&payload)));
        client_must(buf_append(b, buf_view(&payload)));
        buf_done(&payload);
}

static void write_connect(const ModelClient *c, const ClientLink *l, uint32_t expiry, Buf *up)
{
        _cleanup_buf_ Buf b = BUF_INIT(127);
        uint32_t will = l->connect.will;
        const ModelMessage *message = will != MODEL_NONE ? &c->model->messages[will] : NULL;
        unsigned flags = l->connect.clean ? 2 : 0;
        if (message)
                flags |= 4u | (unsigned)message->qos << 3 | (unsigned)message->retain << 5;
        write_text(&b, "MQTT");
        client_must(buf_append_u8(&b, (uint8_t)c->version));
        client_must(buf_append_u8(&b, (uint8_t)flags));
        client_must(buf_append_u16(&b, 0));
        if (c->version == MQTT_5)
                write_properties(l, expiry, &b);
        write_text(&b, c->client_id);
        if (will != MODEL_NONE)
                write_will(c, will, &b);
        client_must(buf_append_u8(up, MQTT_CONNECT << 4));
        client_must(buf_append_u8(up, (uint8_t)buf_len(&b)));
        client_must(buf_append(up, buf_view(&b)));
}

/* 3.1.1 has two choices. */
static uint32_t agreed_expiry(const ModelClient *c, bool clean, uint32_t wanted)
{
        uint32_t longest = c->model->world.config.session_expiry;
        if (c->version == MQTT_3_1_1)
                return clean ? 0 : longest;
        return MIN(wanted, longest);
}

void client_open(ModelClient *c, const ClientOptions *o)
{
        Model *m = c->model;
        close_link(c, old_link(c));
        doubt(c, client_link(c));
        c->in_use = !c->in_use;
        client_forget_connection(c);
        ClientLink *l = client_link(c);
        *l = (ClientLink){ .up = BUF_INIT(UP_MAX),
                           .down = BUF_INIT(UP_MAX),
                           .receive_maximum =
                                   c->version == MQTT_5 ? o->receive_maximum : UINT16_MAX,
                           .aliases_max = o->aliases_max };
        client_must(mqtt_world_connect(&m->world, c->device, &l->peer));
        l->peer.out.max = 512;
        l->connect.clean = o->clean || c->must_clean;
        l->connect.expiry = agreed_expiry(c, l->connect.clean, o->expiry);
        l->connect.will =
                o->has_will && model_has_room(m) ? model_publishing(m, &o->will) : MODEL_NONE;
        l->connect.at = ++m->clock;
        c->must_clean |= l->connect.clean; /* until CONNACK */
        model_trace(m, "client %u opens%s, expiry %u, will %d\n", c->index,
                    l->connect.clean ? " clean" : "", l->connect.expiry, (int)l->connect.will);
        write_connect(c, l, o->expiry, &l->up);
}

/* ---- the bytes ---- */

static void move_up(ModelClient *c, ClientLink *l, size_t bytes)
{
        size_t consumed;
        usec_t wait;
        if (!l->peer.connection)
                return;
        l->arrived = MIN(l->arrived + bytes, buf_len(&l->up));
        do {
                mqtt_connection_input(l->peer.connection, BYTES(buf_view(&l->up).data, l->arrived),
                                      1, c->model->world.now, &consumed, &wait);
                buf_consume(&l->up, consumed);
                l->arrived -= consumed;
                if (l->attached || *mqtt_connection_client_id(l->peer.connection) == '\0')
                        continue;
                l->attached = true;
                detach(c, old_link(c)); /* it is taken over */
                model_attached(c->model, c->index, &l->connect);
        } while (consumed > 0);
        client_note_arrived(c);
}

void client_up(ModelClient *c, size_t bytes)
{
        move_up(c, client_link(c), bytes);
}

void client_up_old(ModelClient *c, size_t bytes)
{
        /* Its CONNECT would take over what came later. */
        if (old_link(c)->attached)
                move_up(c, old_link(c), bytes);
}

static void read_packets(ModelClient *c, ClientLink *l)
{
        MqttFrame f;
        while (mqtt_frame(buf_view(&l->down), SIZE_MAX, &f) == MQTT_FRAMING_PACKET) {
                client_hears(c, &f, l->old == 0);
                buf_consume(&l->down, f.size);
                l->old -= MIN(l->old, f.size);
        }
}

void client_down(ModelClient *c, size_t bytes)
{
        ClientLink *l = client_link(c);
        if (!l->peer.connection)
                return;
        Bytes out = buf_view(&l->peer.out);
        size_t n = MIN(bytes, out.len);
        client_must(buf_append(&l->down, BYTES(out.data, n)));
        buf_consume(&l->peer.out, n);
        mqtt_connection_drained(l->peer.connection, c->model->world.now);
        read_packets(c, l);
        if (mqtt_connection_has_ended(l->peer.connection) && buf_len(&l->peer.out) == 0)
                client_close(c);
}

void client_time_passes(ModelClient *c)
{
        ClientLink *l = client_link(c);
        if (l->peer.connection)
                l->old = buf_len(&l->down) + buf_len(&l->peer.out);
}
