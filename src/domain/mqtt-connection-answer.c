/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What goes back to the client: in the order in which its packets came ([MQTT-4.6.0-2] to -4), each
 * when what it promises is durable. */

#include "domain/mqtt-connection-internal.h"

MqttPending *mqtt_answer_new(MqttConnection *c, MqttType type, uint16_t packet_id)
{
        MqttPending *p;
        if (mqtt_pending_new(c->server, &p) < 0) {
                mqtt_connection_end(c, MQTT_UNSPECIFIED_ERROR, "out of memory");
                return NULL;
        }
        p->connection = c;
        p->answer = (uint8_t)type;
        p->packet_id = packet_id;
        list_append(&c->answers, &p->order);
        c->n_answers++;
        return p;
}

void mqtt_answer_commit(MqttConnection *c, MqttPending *a, int error, uint64_t changes)
{
        mqtt_connection_check_write(c, error);
        if (c->state == MQTT_ENDED)
                mqtt_pending_free(a);
        else
                mqtt_pending_commit(a, changes);
}

/* Section 4.9: a message counts until PUBACK, PUBCOMP of any kind, or a PUBREC that refuses it; one
 * that came again has not been counted. */
static bool ends_exchange(const MqttPending *p)
{
        if (p->answer == MQTT_PUBREC)
                return p->reason >= MQTT_UNSPECIFIED_ERROR && !p->repeated;
        return p->answer == MQTT_PUBACK || p->answer == MQTT_PUBCOMP;
}

/* 3.1.1 knows no refusal but the end of the connection [MQTT-3.3.5-2], and 5.0 none of a PUBREC or
 * PUBREL for the disk's sake (sections 3.6.2.1, 3.7.2.1). What was not asked to be acknowledged is
 * gone without a word. */
static bool ends_connection(const MqttConnection *c, const MqttPending *p)
{
        bool release = p->answer == MQTT_PUBREL || p->answer == MQTT_PUBCOMP;
        if (p->reason < MQTT_UNSPECIFIED_ERROR)
                return false;
        return c->outlet.peer.version == MQTT_3_1_1 ||
               (release && p->reason != MQTT_PACKET_ID_NOT_FOUND);
}

static void send_acknowledgement(MqttConnection *c, const MqttPending *p)
{
        const MqttPeer *peer = &c->outlet.peer;
        if (ends_connection(c, p)) {
                mqtt_connection_end(c, p->reason, p->text ? p->text : "a message was refused");
                return;
        }
        if (ends_exchange(p) && c->n_unacknowledged > 0)
                c->n_unacknowledged--;
        mqtt_connection_check_write(c, mqtt_write_ack(c->outlet.out, peer, (MqttType)p->answer,
                                                      p->packet_id, p->reason, p->text));
}

/* CONNACK, SUBACK, UNSUBACK: written before, unless the disk did not take what they promise. */
static void send_packet(MqttConnection *c, const MqttPending *p)
{
        if (p->reason >= MQTT_UNSPECIFIED_ERROR) {
                mqtt_connection_end(c, p->reason, p->text ? p->text : "the store failed");
                return;
        }
        mqtt_connection_check_write(c, buf_append(c->outlet.out, buf_view(&p->packet)));
        if (p->answer != MQTT_CONNACK || c->state != MQTT_ACCEPTING)
                return;
        c->state = MQTT_CONNECTED;
        c->port->connected(c->userdata);
        mqtt_delivery_connect(&c->session->delivery, &c->outlet);
        mqtt_session_flush(c->session, c->server->now);
}

static void send_answer(MqttConnection *c, const MqttPending *p)
{
        switch (p->answer) {
        case MQTT_PUBACK:
        case MQTT_PUBREC:
        case MQTT_PUBREL:
        case MQTT_PUBCOMP:
                send_acknowledgement(c, p);
                return;
        case MQTT_CONNACK:
        case MQTT_SUBACK:
        case MQTT_UNSUBACK:
                send_packet(c, p);
                return;
        default: /* QoS 0 */
                return;
        }
}

void mqtt_connection_answer(MqttConnection *c)
{
        bool any = false;
        while (c->state != MQTT_ENDED && !list_empty(&c->answers)) {
                MqttPending *p = LIST_ENTRY(list_first(&c->answers), MqttPending, order);
                if (!p->settled)
                        break;
                /* Out of the queue first: sending may end the connection, which frees all in it. */
                list_remove(&p->order);
                c->n_answers--;
                send_answer(c, p);
                mqtt_pending_free(p);
                any = true;
        }
        if (any)
                c->port->wake(c->userdata);
}
