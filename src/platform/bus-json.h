/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* JSON values to and from D-Bus variants. For platform/bus alone. */

#include <jansson.h>
#include <systemd/sd-bus.h>

#include "platform/bus.h"

/* The type of a result as D-Bus writes it. */
const char *bus_result_signature(BusResult result);
/* Appends `value` with the signature of `result`. -EINVAL when it has another shape. */
int bus_append_result(sd_bus_message *m, BusResult result, const json_t *value);
/* Reads the next complete type, whatever it is, into a new value. 0 or negative errno; -EBADMSG
 * for types that have no place in JSON and for nesting deeper than 16. */
int bus_read_value(sd_bus_message *m, json_t **ret);
