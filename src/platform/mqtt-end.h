/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the codes say with which an upstream ends or refuses a connection. For
 * platform/mqtt-client-connection alone. */

#include <stdbool.h>

/* Reasons of a DISCONNECT that speak of the broker itself or of the connection, not of a message.
 */
bool mqtt_end_by_itself(int code);
/* Reasons of a CONNACK that speak of who this client is. */
bool mqtt_connack_denies(int code);
/* TLS alerts that speak of this client's certificate or key; 0 is none. */
bool mqtt_alert_refuses(int alert);
