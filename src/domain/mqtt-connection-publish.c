/* SPDX-License-Identifier: GPL-3.0-or-later */

/* PUBLISH from the client, and its side of QoS 2 (section 4.3.3). */

#include <errno.h>

#include "domain/mqtt-connection-internal.h"
#include "domain/mqtt-journal.h"
#include "domain/mqtt-retained.h"

/* Section 3.3.2.3.4. Finds the topic of an alias, or learns it. */
static MqttReason resolve_alias(MqttConnection *c, MqttPublish *p)
{
        uint16_t alias = p->properties.topic_alias;
        if (!mqtt_property_present(&p->properties, MQTT_PROPERTY_TOPIC_ALIAS))
                return MQTT_SUCCESS;
        if (alias == 0 || alias > c->aliases.n) /* [MQTT-3.3.2-8], -9 */
                return MQTT_TOPIC_ALIAS_INVALID;
        if (p->topic.len == 0) {
                const char *topic = mqtt_aliases_get(&c->aliases, alias);
                if (!topic)
                        return MQTT_PROTOCOL_ERROR;
                p->topic = bytes_from_str(topic);
                return MQTT_SUCCESS;
        }
        if (!topic_within_bounds(p->topic))
                return MQTT_TOPIC_NAME_INVALID;
        return mqtt_aliases_set(&c->aliases, alias, p->topic) < 0 ? MQTT_UNSPECIFIED_ERROR
                                                                  : MQTT_SUCCESS;
}

static bool is_repeated(const MqttConnection *c, const MqttPublish *p)
{
        return p->qos == 2 && mqtt_packet_ids_has(&c->session->received, p->packet_id);
}

static bool exceeds_receive_maximum(const MqttConnection *c, const MqttPublish *p)
{
        return p->qos > 0 && c->outlet.peer.version == MQTT_5 && !is_repeated(c, p) &&
               c->n_unacknowledged >= c->server->config.receive_maximum;
}

static MqttPending *answer_new(MqttConnection *c, const MqttPublish *p)
{
        static const MqttType answers[] = { 0, MQTT_PUBACK, MQTT_PUBREC };
        MqttPending *a = mqtt_answer_new(c, answers[p->qos], p->packet_id);
        if (a && p->qos > 0 && !is_repeated(c, p))
                c->n_unacknowledged++;
        return a;
}

/* It takes its place in the order of answers too. */
static void refuse(MqttConnection *c, const MqttPublish *p, MqttReason reason, const char *text)
{
        MqttPending *a = answer_new(c, p);
        if (a)
                mqtt_server_settle(a, reason, text);
}

/* [MQTT-4.3.3-10]: the message was taken before, and is not taken again. */
static void repeat(MqttConnection *c, const MqttPublish *p)
{
        const MqttServer *s = c->server;
        MqttPending *a = answer_new(c, p);
        if (!a)
                return;
        a->repeated = true;
        a->session = c->session->id;
        a->on_disk = true;
        if (s->port->commit(a, s->userdata) >= 0)
                return;
        mqtt_connection_end(c, MQTT_UNSPECIFIED_ERROR, "out of memory");
        mqtt_server_settle(a, MQTT_UNSPECIFIED_ERROR, NULL);
}

static MqttSubmission submission(const MqttConnection *c, const MqttPublish *p,
                                 const MqttTopic *topic)
{
        return (MqttSubmission){
                .device = c->device,
                .topic = topic->policy.absolute + topic->policy.below,
                .qos = p->qos,
                .payload = p->payload,
                .content_type = p->properties.content_type,
                .response_topic = p->properties.response_topic,
                .correlation_data = p->properties.correlation_data,
                .refusable = p->qos > 0 && c->outlet.peer.version == MQTT_5,
        };
}

/* Before it is submitted: there has to be room for its identifier. */
static MqttReason note_received(MqttConnection *c, const MqttPublish *p, const char **text)
{
        int r = p->qos == 2 ? mqtt_packet_ids_add(&c->session->received, p->packet_id) : 0;
        *text = r == -ENOSPC ? "too many messages are not released" : "out of memory";
        return r == -ENOSPC ? MQTT_QUOTA_EXCEEDED : r < 0 ? MQTT_UNSPECIFIED_ERROR : MQTT_SUCCESS;
}

/* Once it was taken, with what the disk makes of it; else it never came. */
static void settle_received(MqttConnection *c, MqttPending *a, const MqttPublish *p, bool taken)
{
        MqttSession *s = c->session;
        if (p->qos < 2)
                return;
        if (!taken) {
                mqtt_packet_ids_remove(&s->received, p->packet_id);
                return;
        }
        a->session = s->id;
        if (s->kept)
                mqtt_journal_received(s, p->packet_id);
}

static MqttReason submit(MqttConnection *c, MqttPending *a, const MqttPublish *p,
                         const MqttTopic *topic, const char **text)
{
        const MqttServer *s = c->server;
        const MqttSubmission m = submission(c, p, topic);
        MqttReason reason = note_received(c, p, text);
        if (reason != MQTT_SUCCESS)
                return reason;
        reason = s->port->submit(a, &m, text, s->userdata);
        settle_received(c, a, p, reason == MQTT_SUCCESS);
        return reason;
}

static void attest(MqttConnection *c, const MqttPublish *p, const MqttTopic *topic)
{
        MqttServer *s = c->server;
        const MqttSubmission m = submission(c, p, topic);
        uint64_t changes = s->n_changes;
        s->port->begin(s->userdata);
        MqttPending *a = answer_new(c, p);
        if (!a)
                return;
        a->reason = note_received(c, p, &a->text);
        if (a->reason == MQTT_SUCCESS) {
                a->reason = s->port->attest(&m, &a->text, s->userdata);
                settle_received(c, a, p, a->reason == MQTT_SUCCESS);
        }
        if (a->reason == MQTT_SUCCESS)
                a->text = NULL;
        mqtt_pending_commit(a, changes);
}

/* Nobody subscribed anywhere near: nothing has to be made. */
static bool is_of_interest(const MqttServer *s, const MqttPublish *p, const char *topic)
{
        return p->retain || mqtt_topics_find(&s->topics, bytes_from_str(topic)) ||
               !list_empty(&s->topics.wild.entries) || !list_empty(&s->topics.wild.shares);
}

static int message_new(MqttConnection *c, const MqttPublish *p, const MqttTopic *topic, usec_t now,
                       MqttMessage **ret)
{
        const char *absolute = topic->policy.absolute;
        if (!is_of_interest(c->server, p, absolute))
                return 0;
        int r = mqtt_message_new(bytes_from_str(absolute), p->payload, p->qos, &p->properties, now,
                                 ret);
        if (r >= 0)
                (*ret)->retain = p->retain;
        return r;
}

static void take(MqttConnection *c, const MqttPublish *p, const MqttTopic *topic, usec_t now)
{
        MqttServer *s = c->server;
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        const char *text = "out of memory";
        mqtt_wills_retry_device(s, c->session->device, now); /* they came before */
        if (message_new(c, p, topic, now, &m) < 0) {
                mqtt_connection_end(c, MQTT_UNSPECIFIED_ERROR, text);
                return;
        }
        if (m && m->retain && !mqtt_retained_has_room(s, c->device, m)) {
                refuse(c, p, MQTT_QUOTA_EXCEEDED, "the device retains too much");
                return;
        }
        s->port->begin(s->userdata);
        MqttPending *a = answer_new(c, p);
        if (!a)
                return;
        MqttReason reason = submit(c, a, p, topic, &text);
        if (reason != MQTT_SUCCESS) {
                mqtt_server_settle(a, reason, text);
                return;
        }
        a->on_disk = true;
        if (!m)
                return;
        a->message = mqtt_message_ref(m);
        m->written = a->number;
        if (m->retain && mqtt_retained_set(s, c->device, m, &a->retainer) < 0)
                mqtt_connection_end(c, MQTT_UNSPECIFIED_ERROR, "out of memory");
        mqtt_server_route(s, a, c->session, now);
}

void mqtt_connection_on_publish(MqttConnection *c, const MqttFrame *f, usec_t now)
{
        MqttPublish p;
        MqttTopic topic;
        const char *text = "PUBLISH is not well-formed";
        MqttReason e = mqtt_parse_publish(f, c->outlet.peer.version, &p);
        if (e == MQTT_SUCCESS && exceeds_receive_maximum(c, &p)) { /* section 3.3.4 */
                e = MQTT_RECEIVE_MAXIMUM_EXCEEDED;
                text = "more than Receive Maximum messages";
        }
        if (e == MQTT_SUCCESS) {
                text = "the topic alias is not known";
                e = resolve_alias(c, &p);
        }
        if (e != MQTT_SUCCESS) {
                mqtt_connection_end(c, e, text);
                return;
        }
        if (is_repeated(c, &p)) {
                repeat(c, &p);
                return;
        }
        text = mqtt_connection_decide(c, MQTT_ACCESS_PUBLISH, p.topic, &topic);
        if (text)
                refuse(c, &p, MQTT_NOT_AUTHORIZED, text);
        else if (topic.outcome == POLICY_ATTESTATION)
                attest(c, &p, &topic);
        else
                take(c, &p, &topic, now);
}

/* [MQTT-4.3.3-11], -12: the identifier is free for another message, and that has to be on disk
 * before the client hears it. */
void mqtt_connection_on_pubrel(MqttConnection *c, const MqttFrame *f)
{
        MqttAck rel;
        MqttServer *s = c->server;
        MqttReason e = mqtt_parse_ack(f, c->outlet.peer.version, &rel);
        if (e != MQTT_SUCCESS) {
                mqtt_connection_end(c, e, "PUBREL is not well-formed");
                return;
        }
        uint64_t changes = s->n_changes;
        s->port->begin(s->userdata);
        MqttPending *a = mqtt_answer_new(c, MQTT_PUBCOMP, rel.packet_id);
        if (!a)
                return;
        bool known = mqtt_packet_ids_remove(&c->session->received, rel.packet_id);
        if (known && c->session->kept)
                mqtt_journal_remove_received(c->session, rel.packet_id);
        if (!known && c->outlet.peer.version == MQTT_5)
                a->reason = MQTT_PACKET_ID_NOT_FOUND;
        mqtt_pending_commit(a, changes);
}

/* PUBREL, once it is on disk that the message must not be sent again [MQTT-4.3.3-4]. */
static void release(MqttConnection *c, const MqttAck *rec, MqttReason reason, uint64_t changes)
{
        MqttPending *a = mqtt_answer_new(c, MQTT_PUBREL, rec->packet_id);
        if (!a)
                return;
        if (c->outlet.peer.version == MQTT_5)
                a->reason = reason;
        mqtt_pending_commit(a, changes);
}

static MqttAcknowledged acknowledge(MqttDelivery *d, MqttType type, const MqttAck *a)
{
        if (type == MQTT_PUBACK)
                return mqtt_delivery_puback(d, a->packet_id);
        if (type == MQTT_PUBREC)
                return mqtt_delivery_pubrec(d, a->packet_id, a->reason >= MQTT_UNSPECIFIED_ERROR);
        return mqtt_delivery_pubcomp(d, a->packet_id);
}

void mqtt_connection_on_ack(MqttConnection *c, const MqttFrame *f, usec_t now)
{
        MqttAck a;
        MqttReason e = mqtt_parse_ack(f, c->outlet.peer.version, &a);
        if (e != MQTT_SUCCESS) {
                mqtt_connection_end(c, e, "an acknowledgement is not well-formed");
                return;
        }
        uint64_t changes = c->server->n_changes;
        c->server->port->begin(c->server->userdata);
        switch (acknowledge(&c->session->delivery, f->type, &a)) {
        case MQTT_ACK_TAKEN:
                mqtt_session_flush(c->session, now);
                return;
        case MQTT_ACK_RELEASE:
                release(c, &a, MQTT_SUCCESS, changes);
                return;
        case MQTT_ACK_UNKNOWN: /* section 4.3.3; the others answer nothing */
                if (f->type == MQTT_PUBREC && a.reason < MQTT_UNSPECIFIED_ERROR)
                        release(c, &a, MQTT_PACKET_ID_NOT_FOUND, changes);
                return;
        case MQTT_ACK_WRONG:
                break;
        }
        mqtt_connection_end(c, MQTT_PROTOCOL_ERROR,
                            "an acknowledgement that does not belong to the message");
}
