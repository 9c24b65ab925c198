/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What waits for the disk, and what follows when the disk has answered. */

#include <errno.h>
#include <stdlib.h>

#include "domain/mqtt-connection-internal.h"
#include "domain/mqtt-journal.h"
#include "domain/mqtt-retained.h"

int mqtt_pending_new(MqttServer *s, MqttPending **ret)
{
        MqttPending *p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->server = s;
        p->number = ++s->last_pending;
        p->packet = BUF_INIT(s->config.maximum_packet_size);
        p->removed = BUF_INIT(SIZE_MAX);
        list_init(&p->order);
        list_append(&s->pending, &p->all);
        *ret = p;
        return 0;
}

MqttPending *mqtt_pending_free(MqttPending *p)
{
        if (!p)
                return NULL;
        list_remove(&p->order);
        list_remove(&p->all);
        mqtt_message_unref(p->message);
        buf_done(&p->packet);
        buf_done(&p->removed);
        free(p);
        return NULL;
}

void mqtt_pending_commit(MqttPending *p, uint64_t changes)
{
        MqttServer *s = p->server;
        if (s->n_changes == changes) {
                mqtt_server_settle(p, p->reason, p->text);
                return;
        }
        p->on_disk = true;
        if (s->port->commit(p, s->userdata) < 0)
                mqtt_server_settle(p, MQTT_UNSPECIFIED_ERROR, "out of memory");
}

/* Those whose message is not yet durable enter the list again. */
static void flush_sessions(MqttServer *s)
{
        List now = LIST_INIT(now);
        list_splice(&now, &s->unflushed);
        for (List *i; (i = list_first(&now));) {
                MqttSession *session = LIST_ENTRY(i, MqttSession, unflushed);
                list_remove(i);
                mqtt_session_flush(session, s->now);
        }
}

static void drop_lost(MqttServer *s, const MqttPending *p)
{
        LIST_FOREACH (i, &s->all_sessions)
                mqtt_delivery_drop_lost(&LIST_ENTRY(i, MqttSession, all)->delivery, p->number);
}

static void settle_message(MqttServer *s, MqttPending *p, bool durable)
{
        p->message->lost = !durable;
        if (!durable)
                mqtt_journal_remove_again(p);
        if (p->message->n_kept > 0 && !durable)
                drop_lost(s, p);
        if (p->retainer)
                mqtt_retained_settle(s, p->message, TAKE_PTR(p->retainer), durable);
        if (p->message->retain && durable && !p->will)
                mqtt_wills_supersede(s, p);
}

/* Off the disk as well: what failed without a record may be tried again. */
static void forget_received(MqttSession *session, uint16_t packet_id)
{
        const MqttServer *s = session->server;
        if (!mqtt_packet_ids_remove(&session->received, packet_id) || !session->kept)
                return;
        s->port->begin(s->userdata);
        mqtt_journal_remove_received(session, packet_id);
}

/* A failed QoS 2 message: the client sends it again, as a new one. Whoever answers for one that
 * came before says what became of that: it was settled first. */
static MqttReason settle_received(MqttServer *s, const MqttPending *p, MqttReason reason)
{
        MqttSession *session = mqtt_server_session(s, p->session);
        if (!session)
                return reason;
        if (p->repeated)
                return mqtt_packet_ids_has(&session->received, p->packet_id)
                               ? MQTT_SUCCESS
                               : MQTT_UNSPECIFIED_ERROR;
        if (reason >= MQTT_UNSPECIFIED_ERROR)
                forget_received(session, p->packet_id);
        return reason;
}

void mqtt_server_settle(MqttPending *p, MqttReason reason, const char *text)
{
        MqttServer *s = p->server;
        s->port->begin(s->userdata); /* what is dropped now is no part of another's message */
        p->reason = p->session > 0 ? settle_received(s, p, reason) : reason;
        p->text = text;
        if (p->on_disk && reason < MQTT_UNSPECIFIED_ERROR)
                s->durable = MAX(s->durable, p->number);
        if (p->message)
                settle_message(s, p, reason < MQTT_UNSPECIFIED_ERROR);
        if (p->will)
                mqtt_wills_settle(s, TAKE_PTR(p->will), reason < MQTT_UNSPECIFIED_ERROR);
        p->settled = true;
        bool on_disk = p->on_disk;
        if (p->connection)
                mqtt_connection_answer(p->connection);
        else
                mqtt_pending_free(p);
        if (on_disk)
                flush_sessions(s); /* retained messages behind the SUBACK that they belong to */
}
