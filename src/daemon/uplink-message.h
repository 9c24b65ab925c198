/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A stored record as the message that goes upstream. */

#include "platform/mqtt-client.h"
#include "platform/store.h"

/* At <base><device>/<topic>; the device, its posture, the time and the number go along as user
 * properties. As mqtt_client_publish(). */
int uplink_message_publish(MqttClient *client, const char *base, const StoreRecord *r,
                           int *ret_mid);
