/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Loads the configuration with everything that it names, and says on the log what is wrong. */

#include "daemon/settings.h"

/* 0, or a negative errno after each error was logged. */
int startup_load(const char *folder, Settings **ret);
/* Reads the files that the settings name and that the daemon opens later. 0, or -EINVAL after each
 * that cannot be used was logged. */
int startup_check_files(const Settings *s);
