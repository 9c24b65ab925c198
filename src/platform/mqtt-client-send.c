/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What goes upstream on a connection that is up. */
#include <errno.h>
#include <mqtt_protocol.h>

#include "platform/mqtt-client-internal.h"

static int add_properties(const MqttClientPublish *p, mosquitto_property **ret)
{
        int r = MOSQ_ERR_SUCCESS;
        if (p->content_type)
                r = mosquitto_property_add_string(ret, MQTT_PROP_CONTENT_TYPE, p->content_type);
        if (r == MOSQ_ERR_SUCCESS && p->expiry > 0)
                r = mosquitto_property_add_int32(ret, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, p->expiry);
        for (size_t i = 0; i < p->n_properties && r == MOSQ_ERR_SUCCESS; i++)
                r = mosquitto_property_add_string_pair(ret, MQTT_PROP_USER_PROPERTY,
                                                       p->properties[i].name,
                                                       p->properties[i].value);
        return r;
}

static int to_errno(int r)
{
        switch (r) {
        case MOSQ_ERR_SUCCESS:
                return 0;
        case MOSQ_ERR_NOMEM:
                return -ENOMEM;
        case MOSQ_ERR_OVERSIZE_PACKET:
        case MOSQ_ERR_PAYLOAD_SIZE:
                return -EMSGSIZE;
        case MOSQ_ERR_INVAL:
        case MOSQ_ERR_MALFORMED_UTF8:
        case MOSQ_ERR_PROTOCOL:
        case MOSQ_ERR_DUPLICATE_PROPERTY:
                return -EINVAL;
        default:
                return -ENOTCONN;
        }
}

int mqtt_client_connection_publish(MqttClientConnection *c, const MqttClientPublish *p,
                                   int *ret_mid)
{
        if (!c->up || c->down || c->busy)
                return -ENOTCONN;
        if (p->payload.len > MQTT_MAX_PAYLOAD)
                return -EMSGSIZE;
        mosquitto_property *properties = NULL;
        int mid = 0;
        int r = add_properties(p, &properties);
        if (r == MOSQ_ERR_SUCCESS)
                r = mosquitto_publish_v5(c->mosq, &mid, p->topic, (int)p->payload.len,
                                         p->payload.data, 1, false, properties);
        mosquitto_property_free_all(&properties);
        mqtt_client_connection_settle(c);
        if (r == MOSQ_ERR_SUCCESS)
                *ret_mid = mid;
        return to_errno(r);
}

int mqtt_client_connection_subscribe(MqttClientConnection *c, const char *filter)
{
        if (!c->up || c->down || c->busy)
                return -ENOTCONN;
        int r = mosquitto_subscribe_v5(c->mosq, NULL, filter, 1, 0, NULL);
        mqtt_client_connection_settle(c);
        return to_errno(r);
}

const char *mqtt_client_reason(uint8_t reason_code)
{
        return mosquitto_reason_string(reason_code);
}

bool mqtt_topic_matches(const char *filter, const char *topic)
{
        bool matches = false;
        return mosquitto_topic_matches_sub(filter, topic, &matches) == MOSQ_ERR_SUCCESS && matches;
}

bool mqtt_filter_valid(const char *filter)
{
        return mosquitto_sub_topic_check(filter) == MOSQ_ERR_SUCCESS;
}
