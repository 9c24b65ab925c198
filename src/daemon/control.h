/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The control interface: what D-Bus callers may ask of the daemon and tell it. */

#include "daemon/gateway.h"

int control_serve(Gateway *g, Bus **ret);
