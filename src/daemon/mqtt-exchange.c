/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/mqtt-exchange.h"

#include <stdlib.h>

#include "base/log.h"
#include "platform/coapserver.h"
#include "sallyport/attestation.h"

MqttExchange *mqtt_exchange_free(MqttExchange *e)
{
        if (!e)
                return NULL;
        list_remove(&e->node);
        evidence_ticket_cancel(e->evidence);
        mqtt_message_unref(e->answer);
        free(e);
        return NULL;
}

MqttExchange *mqtt_exchange_new(IngressMqtt *in, DeviceState *d, const MqttSubmission *m,
                                Bytes topic)
{
        MqttExchange *e = malloc(sizeof(*e) + topic.len + m->correlation_data.len);
        if (!e)
                return NULL;
        uint8_t *p = (uint8_t *)(e + 1);
        *e = (MqttExchange){ .in = in, .device = d, .refusable = m->refusable };
        list_init(&e->node);
        memcpy(p, topic.data, topic.len);
        e->topic = BYTES(p, topic.len);
        p += topic.len;
        if (m->correlation_data.len > 0)
                memcpy(p, m->correlation_data.data, m->correlation_data.len);
        e->correlation = BYTES(p, m->correlation_data.len);
        return e;
}

int mqtt_exchange_make(MqttExchange *e, Bytes payload, const char *content_type, uint32_t lifetime)
{
        MqttProperties p = {
                .present = MQTT_PROPERTY_BIT(MQTT_PROPERTY_CONTENT_TYPE),
                .content_type = bytes_from_str(content_type),
                .correlation_data = e->correlation,
                .message_expiry = lifetime,
        };
        if (e->correlation.len > 0)
                p.present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_CORRELATION_DATA);
        if (lifetime > 0)
                p.present |= MQTT_PROPERTY_BIT(MQTT_PROPERTY_MESSAGE_EXPIRY);
        int r = mqtt_message_new(e->topic, payload, 1, &p, loop_now(e->in->loop), &e->answer);
        if (r >= 0)
                e->answer->attestation = true;
        return r;
}

int mqtt_exchange_make_problem(MqttExchange *e, const Problem *p)
{
        _cleanup_buf_ Buf buf = BUF_INIT(PROBLEM_MAX);
        int r = problem_write(p, &buf);
        return r < 0 ? r : mqtt_exchange_make(e, buf_view(&buf), SALLYPORT_MEDIA_PROBLEM, 0);
}

void mqtt_exchange_publish(MqttExchange *e)
{
        int r = mqtt_server_publish(e->in->mqtt_server, e->answer, loop_now(e->in->loop));
        if (r < 0)
                log_warning_errno(r, "Cannot answer %s, ignoring", e->device->device->name);
        mqtt_exchange_free(e);
}

MqttReason mqtt_exchange_answer(MqttExchange *e, int error, const char **ret_text)
{
        if (error < 0) {
                mqtt_exchange_free(e);
                *ret_text = "out of memory";
                return MQTT_UNSPECIFIED_ERROR;
        }
        list_append(&e->in->rats, &e->node);
        loop_defer(e->in->answer);
        return MQTT_SUCCESS;
}

/* Those of the reasons that PUBACK may carry (section 3.4.2.1). */
static MqttReason reason_of(uint8_t code)
{
        switch (code) {
        case COAPSERVER_CODE(4, 0):
        case COAPSERVER_CODE(4, 15):
                return MQTT_PAYLOAD_FORMAT_INVALID;
        case COAPSERVER_CODE(4, 13):
        case COAPSERVER_CODE(4, 29):
        case COAPSERVER_CODE(5, 3):
                return MQTT_QUOTA_EXCEEDED;
        default:
                return MQTT_UNSPECIFIED_ERROR;
        }
}

MqttReason mqtt_exchange_refuse(MqttExchange *e, const Problem *p, const char **ret_text)
{
        if (!e->refusable)
                return mqtt_exchange_answer(e, mqtt_exchange_make_problem(e, p), ret_text);
        mqtt_exchange_free(e);
        *ret_text = p->title;
        return reason_of(p->code);
}
