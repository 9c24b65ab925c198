/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-model-client.h"

#include <stdio.h>
#include <stdlib.h>

static MqttPeer server_peer(const ModelClient *c)
{
        return (MqttPeer){ .version = c->version };
}

static ModelMessage *message_of(const ModelClient *c, const ClientExchange *e)
{
        return &c->model->messages[e->number];
}

void client_note_arrived(ModelClient *c)
{
        Model *m = c->model;
        if (buf_len(&c->links[0].up) > 0 || buf_len(&c->links[1].up) > 0)
                return;
        for (unsigned i = 0; i < m->n_messages; i++) {
                const ModelMessage *message = &m->messages[i];
                if (message->publisher == c->index && !message->will && message->qos == 0 &&
                    message->until == UINT64_MAX)
                        model_published(m, i, MODEL_UNKNOWN);
        }
}

void client_forget_connection(ModelClient *c)
{
        c->n_acks = c->n_unacknowledged = 0;
        c->asks = false;
        memset(c->unacknowledged, 0, sizeof(c->unacknowledged));
        for (size_t i = 0; i < c->n_exchanges; i++)
                c->exchanges[i].sent = false;
}

/* ---- what it sends ---- */

static void send_ack(ModelClient *c, MqttType type, uint16_t packet_id)
{
        MqttPeer peer = server_peer(c);
        client_must(
                mqtt_write_ack(&client_link(c)->up, &peer, type, packet_id, MQTT_SUCCESS, NULL));
}

static void send_publish(ModelClient *c, const ClientExchange *e)
{
        const ModelMessage *message = message_of(c, e);
        MqttPeer peer = server_peer(c);
        char payload[16] = "";
        MqttOutgoing o = { .dup = e->sent_before,
                           .qos = message->qos,
                           .retain = message->retain,
                           .packet_id = e->packet_id,
                           .expires = message->lifetime > 0,
                           .message_expiry = message->lifetime,
                           .topic = bytes_from_str(model_topics[e->form][message->topic]) };
        if (!message->clear)
                snprintf(payload, sizeof(payload), "%u", e->number);
        o.payload = bytes_from_str(payload);
        client_must(mqtt_write_publish(&client_link(c)->up, &peer, &o));
}

/* In the order in which they were sent first [MQTT-4.6.0-1], as far as Receive Maximum goes: what
 * is released counts until PUBCOMP [MQTT-3.3.4-7]. */
static void send_exchanges(ModelClient *c)
{
        for (size_t i = 0; i < c->n_exchanges && c->quota > 0; i++) {
                ClientExchange *e = &c->exchanges[i];
                if (e->sent)
                        continue;
                if (e->released)
                        send_ack(c, MQTT_PUBREL, e->packet_id);
                else
                        send_publish(c, e);
                c->quota--;
                e->sent = e->sent_before = true;
        }
}

static ClientExchange *find_exchange(ModelClient *c, uint16_t packet_id)
{
        for (size_t i = 0; i < c->n_exchanges; i++)
                if (c->exchanges[i].packet_id == packet_id)
                        return &c->exchanges[i];
        return NULL;
}

/* The lowest that is free: one that was used a moment ago, mostly. */
static uint16_t new_packet_id(ModelClient *c)
{
        uint16_t id = 1;
        while (find_exchange(c, id))
                id++;
        return id;
}

void client_publish(ModelClient *c, const ModelMessage *message, unsigned form)
{
        ClientExchange e = { .form = form };
        bool room = message->qos > 0 ? c->n_exchanges < CLIENT_EXCHANGES_MAX &&
                                               c->model->sessions[c->index].known && !c->must_clean
                                     : client_is_connected(c);
        if (!room || !model_has_room(c->model))
                return;
        e.number = model_publishing(c->model, message);
        model_trace(c->model, "client %u publishes %u: %s, QoS %u%s\n", c->index, e.number,
                    model_topics[form][message->topic], message->qos,
                    message->retain ? ", retained" : "");
        if (message->qos == 0) {
                send_publish(c, &e);
                return;
        }
        e.packet_id = new_packet_id(c);
        c->exchanges[c->n_exchanges++] = e;
        if (client_is_connected(c))
                send_exchanges(c);
}

static void send_filter(ModelClient *c, MqttType type, const char *filter, uint8_t option)
{
        Buf *up = &client_link(c)->up;
        size_t len = strlen(filter), properties = c->version == MQTT_5,
               options = type == MQTT_SUBSCRIBE;
        client_must(buf_append_u8(up, (uint8_t)(type << 4 | 2)));
        client_must(buf_append_u8(up, (uint8_t)(4 + options + properties + len)));
        client_must(buf_append_u16(up, 100));
        if (properties > 0)
                client_must(buf_append_u8(up, 0));
        client_must(buf_append_u16(up, (uint16_t)len));
        client_must(buf_append_str(up, filter));
        if (options > 0)
                client_must(buf_append_u8(up, option));
}

static bool may_ask(const ModelClient *c, unsigned filter)
{
        return client_is_connected(c) && !c->asks &&
               model_may_change(&c->model->sessions[c->index], filter);
}

static void ask(ModelClient *c, unsigned filter, bool leave)
{
        c->asks = true;
        c->asks_to_leave = leave;
        c->filter = filter;
        model_trace(c->model, "client %u %s %s\n", c->index, leave ? "leaves" : "subscribes to",
                    model_filters[c->index][filter].text);
}

void client_subscribe(ModelClient *c, unsigned filter, uint8_t qos)
{
        if (!may_ask(c, filter))
                return;
        ask(c, filter, false);
        c->filter_qos = qos;
        model_subscribing(c->model, c->index, filter, qos);
        unsigned no_local = c->model->sessions[c->index].no_local >> filter & 1;
        send_filter(c, MQTT_SUBSCRIBE, model_filters[c->index][filter].text,
                    (uint8_t)(qos | no_local << 2));
}

void client_unsubscribe(ModelClient *c, unsigned filter)
{
        if (!may_ask(c, filter))
                return;
        ask(c, filter, true);
        model_unsubscribing(c->model, c->index, filter);
        send_filter(c, MQTT_UNSUBSCRIBE, model_filters[c->index][filter].text, 0);
}

void client_observe(ModelClient *c)
{
        c->observes = c->asks = true;
        send_filter(c, MQTT_SUBSCRIBE, "#", 2);
}

void client_leave(ModelClient *c, ModelGoodbye goodbye, bool ends_session)
{
        ClientLink *l = client_link(c);
        bool with_will = goodbye == MODEL_GOODBYE_WITH_WILL;
        if (!client_is_connected(c) || l->goodbye != MODEL_NO_GOODBYE ||
            (c->version == MQTT_3_1_1 && (with_will || ends_session)))
                return;
        model_trace(c->model, "client %u says goodbye%s%s\n", c->index,
                    with_will ? ", with its will" : "", ends_session ? ", for ever" : "");
        l->goodbye = goodbye;
        l->ends_session = ends_session;
        client_must(buf_append_u8(&l->up, MQTT_DISCONNECT << 4));
        client_must(buf_append_u8(&l->up, c->version == MQTT_3_1_1 ? 0 : ends_session ? 7 : 2));
        if (c->version == MQTT_3_1_1)
                return;
        client_must(buf_append_u8(&l->up, with_will ? MQTT_DISCONNECT_WITH_WILL : MQTT_SUCCESS));
        client_must(buf_append_u8(&l->up, ends_session ? 5 : 0));
        if (!ends_session)
                return;
        client_must(buf_append_u8(&l->up, MQTT_PROPERTY_SESSION_EXPIRY));
        client_must(buf_append_u32(&l->up, 0));
}

bool client_acknowledge(ModelClient *c)
{
        if (!client_is_connected(c) || c->n_acks == 0)
                return false;
        MqttType type = c->acks[0].type;
        uint16_t packet_id = c->acks[0].packet_id;
        send_ack(c, type, packet_id);
        memmove(c->acks, c->acks + 1, --c->n_acks * sizeof(c->acks[0]));
        if (type == MQTT_PUBREC)
                return true;
        c->n_unacknowledged -= c->unacknowledged[packet_id] != 0; /* by this connection */
        c->unacknowledged[packet_id] = 0;
        return true;
}

bool client_is_idle(const ModelClient *c)
{
        const ClientLink *l = &c->links[c->in_use];
        return client_is_connected(c) && c->n_exchanges == 0 && c->n_acks == 0 && !c->asks &&
               buf_len(&l->up) == 0 && buf_len(&l->peer.out) == 0;
}

/* ---- what it hears: of its own messages ---- */

static void end_exchange(ModelClient *c, ClientExchange *e)
{
        size_t i = (size_t)(e - c->exchanges);
        memmove(e, e + 1, (--c->n_exchanges - i) * sizeof(*e));
        c->quota++;
        send_exchanges(c);
}

/* The session is gone, and what was to be said in it. */
static void forget_session(ModelClient *c)
{
        for (size_t i = 0; i < c->n_exchanges; i++)
                if (!c->exchanges[i].released)
                        model_published(c->model, c->exchanges[i].number, MODEL_UNKNOWN);
        c->n_exchanges = 0;
        memset(c->unreleased, 0, sizeof(c->unreleased));
}

static void on_connack(ModelClient *c, const MqttFrame *f)
{
        ClientLink *l = client_link(c);
        if (f->body.data[1] != 0) /* the server closes */
                return;
        l->connected = true;
        c->must_clean = false;
        if (!model_connected(c->model, c->index, &l->connect, f->body.data[0] & 1))
                forget_session(c);
        c->quota = c->model->world.config.receive_maximum;
        send_exchanges(c);
}

static void on_puback(ModelClient *c, ClientExchange *e, bool refused)
{
        model_require(c->model, message_of(c, e)->qos == 1, "PUBACK for QoS 2");
        model_published(c->model, e->number, refused ? MODEL_REFUSED : MODEL_TAKEN);
        end_exchange(c, e);
}

static void on_pubrec(ModelClient *c, ClientExchange *e, bool refused)
{
        model_require(c->model, message_of(c, e)->qos == 2 && !e->released,
                      "PUBREC where none is due");
        model_published(c->model, e->number, refused ? MODEL_REFUSED : MODEL_TAKEN);
        if (refused) {
                end_exchange(c, e);
                return;
        }
        e->released = true;
        send_ack(c, MQTT_PUBREL, e->packet_id);
}

static void on_answer(ModelClient *c, MqttType type, const MqttAck *a)
{
        ClientExchange *e = find_exchange(c, a->packet_id);
        bool refused = a->reason >= MQTT_UNSPECIFIED_ERROR;
        if (!e || !e->sent) {
                model_require(c->model, false, "an answer to nothing");
        } else if (type == MQTT_PUBACK) {
                on_puback(c, e, refused);
        } else if (type == MQTT_PUBREC) {
                on_pubrec(c, e, refused);
        } else {
                model_require(c->model, e->released, "PUBCOMP where none is due");
                end_exchange(c, e);
        }
}

static void on_suback(ModelClient *c, const MqttFrame *f)
{
        uint8_t code = f->body.data[f->body.len - 1];
        if (!c->observes) {
                model_require(c->model, c->asks && !c->asks_to_leave, "SUBACK where none is due");
                model_require(c->model, code == c->filter_qos, "another QoS was granted");
                model_subscribed(c->model, c->index, c->filter, code);
        }
        c->asks = false;
}

static void on_unsuback(ModelClient *c)
{
        model_require(c->model, c->asks && c->asks_to_leave, "UNSUBACK where none is due");
        model_unsubscribed(c->model, c->index, c->filter);
        c->asks = false;
}

/* ---- of others' ---- */

static void owe(ModelClient *c, MqttType type, uint16_t packet_id)
{
        if (c->n_acks == CLIENT_ACKS_MAX)
                abort();
        c->acks[c->n_acks].type = type;
        c->acks[c->n_acks++].packet_id = packet_id;
}

/* Not 0. */
static unsigned mark_of(unsigned number)
{
        return number == MODEL_NONE ? MODEL_NONE : number + 1;
}

/* [MQTT-2.2.1-4]: an identifier belongs to one message until that is acknowledged. Section 4.3.3,
 * method A: QoS 2 is delivered when it comes first. */
static void take_packet_id(ModelClient *c, const MqttPublish *p, ModelArrival *a)
{
        unsigned *known = &c->unacknowledged[p->packet_id], mark = mark_of(a->number);
        unsigned *unreleased = &c->unreleased[p->packet_id];
        model_require(c->model, *known == 0, "a packet identifier was used twice at once");
        model_require(c->model, *unreleased == 0 || (p->qos == 2 && *unreleased == mark),
                      "a packet identifier was given to two messages");
        model_require(c->model, ++c->n_unacknowledged <= client_link(c)->receive_maximum,
                      "more than Receive Maximum");
        *known = mark;
        a->repeated = p->qos == 2 && *unreleased != 0;
        if (p->qos == 2)
                *unreleased = mark;
        owe(c, p->qos == 2 ? MQTT_PUBREC : MQTT_PUBACK, p->packet_id);
}

static bool resolve_alias(ModelClient *c, MqttPublish *p)
{
        ClientLink *l = client_link(c);
        uint16_t alias = p->properties.topic_alias;
        if (!mqtt_property_present(&p->properties, MQTT_PROPERTY_TOPIC_ALIAS))
                return p->topic.len > 0;
        if (alias == 0 || alias > l->aliases_max || p->topic.len >= sizeof(l->aliases[0]))
                return false;
        if (p->topic.len > 0)
                snprintf(l->aliases[alias], sizeof(l->aliases[0]), "%.*s", (int)p->topic.len,
                         (const char *)p->topic.data);
        p->topic = bytes_from_str(l->aliases[alias]);
        return p->topic.len > 0;
}

static unsigned number_of(Bytes payload)
{
        char text[16] = "";
        if (payload.len == 0)
                return MODEL_NONE;
        memcpy(text, payload.data, MIN(payload.len, sizeof(text) - 1));
        return (unsigned)strtoul(text, NULL, 10);
}

static void observe(ModelClient *c, const ModelArrival *a)
{
        for (unsigned i = 0; i < MODEL_TOPICS; i++)
                if (bytes_equal(a->topic, bytes_from_str(model_topics[0][i])))
                        c->observed[i] = mark_of(a->number);
}

static void on_publish(ModelClient *c, const MqttFrame *f, bool fresh)
{
        MqttPublish p;
        if (mqtt_parse_publish(f, c->version, &p) != MQTT_SUCCESS || !resolve_alias(c, &p) ||
            p.packet_id >= CLIENT_IDS_MAX) {
                model_require(c->model, false, "PUBLISH is not well-formed");
                return;
        }
        ModelArrival a = { .number = number_of(p.payload),
                           .topic = p.topic,
                           .qos = p.qos,
                           .dup = p.dup,
                           .retain = p.retain,
                           .packet_id = p.packet_id,
                           .has_expiry = mqtt_property_present(&p.properties,
                                                               MQTT_PROPERTY_MESSAGE_EXPIRY),
                           .expiry = p.properties.message_expiry,
                           .fresh = fresh };
        if (p.qos > 0)
                take_packet_id(c, &p, &a);
        if (c->observes)
                observe(c, &a);
        else
                model_arrived(c->model, c->index, &a);
}

static void on_pubrel(ModelClient *c, uint16_t packet_id)
{
        model_require(c->model, packet_id < CLIENT_IDS_MAX, "an identifier that was never given");
        if (packet_id >= CLIENT_IDS_MAX)
                return;
        c->unreleased[packet_id] = 0;
        owe(c, MQTT_PUBCOMP, packet_id);
}

static void on_ack(ModelClient *c, const MqttFrame *f)
{
        MqttAck a;
        if (mqtt_parse_ack(f, c->version, &a) != MQTT_SUCCESS)
                model_require(c->model, false, "an acknowledgement is not well-formed");
        else if (f->type == MQTT_PUBREL)
                on_pubrel(c, a.packet_id);
        else
                on_answer(c, f->type, &a);
}

void client_hears(ModelClient *c, const MqttFrame *f, bool fresh)
{
        switch ((unsigned)f->type) {
        case MQTT_CONNACK:
                on_connack(c, f);
                return;
        case MQTT_PUBLISH:
                on_publish(c, f, fresh);
                return;
        case MQTT_PUBACK:
        case MQTT_PUBREC:
        case MQTT_PUBREL:
        case MQTT_PUBCOMP:
                on_ack(c, f);
                return;
        case MQTT_SUBACK:
                on_suback(c, f);
                return;
        case MQTT_UNSUBACK:
                on_unsuback(c);
                return;
        case MQTT_DISCONNECT: /* the server closes */
                return;
        }
        model_require(c->model, false, "a packet that no server sends");
}
