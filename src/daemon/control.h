/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The control interface: what D-Bus callers may ask of the daemon and tell it. */

#include "daemon/gateway.h"

/* `settled` as for bus_serve(), with the gateway. */
int control_serve(Gateway *g, BusSettled settled, Bus **ret);
