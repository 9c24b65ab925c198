/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The MQTT sessions as control data. */

#include <jansson.h>

#include "daemon/gateway.h"

/* A new array with an object for each session, of `device` alone unless that is ""; NULL without
 * memory. */
json_t *mqtt_sessions(Gateway *g, const char *device);
/* How many there are, how many of them connected, and what is retained; NULL without memory. */
json_t *mqtt_sessions_status(Gateway *g);
