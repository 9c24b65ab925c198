/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the service manager hears (sd_notify). All of it is nothing outside of systemd. */

#include "base/util.h"

void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
/* One line for `systemctl status`. */
void notify_status(const char *format, ...) _printf_(1, 2);
