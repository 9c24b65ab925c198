/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Why something failed, as a sentence for an operator, next to the errno. What sets one does not
 * log: the CLI prints it, the daemon logs it, once. */

#include "base/util.h"

typedef struct Reason {
        char text[512];
} Reason;

/* Writes the sentence and returns `error`, so that `return reason_set(reason, -EIO, ...)` reads
 * well. Cuts what is too long. */
int reason_set(Reason *reason, int error, const char *format, ...) _printf_(3, 4);
