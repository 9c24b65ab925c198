/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/mqtt-message.h"

#include <errno.h>

/* [MQTT-3.3.2-4], -15, -16, -17, -20: unaltered to the receiver. The expiry goes on as what is
 * left of it. */
#define HANDED_ON                                                                                  \
        (MQTT_PROPERTY_BIT(MQTT_PROPERTY_PAYLOAD_FORMAT) |                                         \
         MQTT_PROPERTY_BIT(MQTT_PROPERTY_CONTENT_TYPE) |                                           \
         MQTT_PROPERTY_BIT(MQTT_PROPERTY_RESPONSE_TOPIC) |                                         \
         MQTT_PROPERTY_BIT(MQTT_PROPERTY_CORRELATION_DATA) |                                       \
         MQTT_PROPERTY_BIT(MQTT_PROPERTY_USER))

static Bytes copy_to(uint8_t **p, Bytes b)
{
        Bytes copy = BYTES(*p, b.len);
        if (b.len > 0)
                memcpy(*p, b.data, b.len);
        *p += b.len;
        return copy;
}

static int make(Bytes topic, Bytes payload, Bytes properties, MqttMessage **ret)
{
        MqttMessage *m = malloc(sizeof(*m) + topic.len + payload.len + properties.len + 1);
        if (!m)
                return -ENOMEM;
        uint8_t *p = (uint8_t *)(m + 1);
        *m = (MqttMessage){ .n_refs = 1, .expires = USEC_INFINITY };
        m->topic = copy_to(&p, topic);
        *p++ = '\0';
        m->payload = copy_to(&p, payload);
        m->properties = copy_to(&p, properties);
        *ret = m;
        return 0;
}

int mqtt_message_restore(Bytes topic, Bytes payload, Bytes properties, MqttMessage **ret)
{
        MqttProperties p;
        if (!mqtt_properties_read(properties, HANDED_ON, &p))
                return -EBADMSG;
        return make(topic, payload, properties, ret);
}

int mqtt_message_new(Bytes topic, Bytes payload, uint8_t qos, const MqttProperties *properties,
                     usec_t now, MqttMessage **ret)
{
        _cleanup_buf_ Buf encoded = BUF_INIT(MQTT_PACKET_MAX);
        int r = properties ? mqtt_properties_append(&encoded, properties, HANDED_ON) : 0;
        if (r >= 0)
                r = make(topic, payload, buf_view(&encoded), ret);
        if (r < 0)
                return r;
        (*ret)->qos = qos;
        if (properties && mqtt_property_present(properties, MQTT_PROPERTY_MESSAGE_EXPIRY))
                (*ret)->expires = usec_add(now, properties->message_expiry * USEC_PER_SEC);
        return 0;
}

Bytes mqtt_message_content_type(const MqttMessage *m)
{
        MqttProperties p;
        return mqtt_properties_read(m->properties, HANDED_ON, &p) ? p.content_type : BYTES(NULL, 0);
}

MqttMessage *mqtt_message_ref(MqttMessage *m)
{
        m->n_refs++;
        return m;
}

MqttMessage *mqtt_message_unref(MqttMessage *m)
{
        if (m && --m->n_refs == 0)
                free(m);
        return NULL;
}
