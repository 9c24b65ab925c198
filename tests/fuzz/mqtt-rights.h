/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the devices "a" and "b" may do, by the gateway's real policy, and how that changes. */

#include "domain/mqtt-server.h"

/* Of each device. */
extern const ClassLimits rights_limits_of_each;

void rights_begin(void);
void rights_end(void);

/* "a" may hear what "b" says on "b/t/" (by "+/t/#"), and say something to it on "b/in/". */
void rights_grant(bool read, bool write);
/* Whether telemetry flows to and from it. */
void rights_open(char device, bool open);
/* Whether the configuration knows it. */
void rights_know(char device, bool known);

/* Of MqttServerPort. */
PolicyOutcome rights_decide(MqttAccess access, const char *device, const char *topic,
                            PolicyTopic *ret, void *userdata);
bool rights_may_be(const char *device, Bytes id, void *userdata);
bool rights_may_receive(const char *device, void *userdata);
const ClassLimits *rights_limits(const char *device, void *userdata);
