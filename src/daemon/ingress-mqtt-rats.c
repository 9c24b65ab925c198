/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/ingress-mqtt-internal.h"

MqttReason ingress_mqtt_rats(IngressMqtt *in, DeviceState *d, const MqttSubmission *m,
                             const char **ret_text)
{
        *ret_text = "attestation-is-over-coap";
        return MQTT_NOT_AUTHORIZED;
}

void ingress_mqtt_rats_cancel(IngressMqtt *in)
{
}
