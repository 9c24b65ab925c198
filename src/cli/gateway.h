/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "cli/command.h"

/* status; devices; sessions [DEVICE]; why DEVICE; quarantine DEVICE [REASON]; release DEVICE;
 * reload; renew. */
int command_status(const CommandContext *context, int argc, char **argv);
int command_devices(const CommandContext *context, int argc, char **argv);
int command_sessions(const CommandContext *context, int argc, char **argv);
int command_why(const CommandContext *context, int argc, char **argv);
int command_quarantine(const CommandContext *context, int argc, char **argv);
int command_release(const CommandContext *context, int argc, char **argv);
int command_reload(const CommandContext *context, int argc, char **argv);
int command_renew(const CommandContext *context, int argc, char **argv);
