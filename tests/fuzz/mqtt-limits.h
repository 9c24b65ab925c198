/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the server holds: as much as it has counted, and no more than it may. Aborts where that does
 * not hold. */

#include "domain/mqtt-server.h"

/* `limits` are those of each device. */
void limits_check(const MqttServer *s, const ClassLimits *limits);
/* Every device is gone, nothing waits for the disk. */
void limits_check_empty(const MqttServer *s);
