/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Everything about one device in one answer: who it is, what posture it has and why, and what the
 * kernel lets it do now. */

#include <jansson.h>

#include "daemon/gateway.h"

/* A new object; NULL without memory. */
json_t *why_device(Gateway *g, const DeviceState *d);
/* The same in short, for lists. */
json_t *summary_of_device(Gateway *g, const DeviceState *d);
