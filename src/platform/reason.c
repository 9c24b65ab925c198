/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/reason.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int reason_set(Reason *reason, int error, const char *format, ...)
{
        char text[sizeof(reason->text)]; /* the arguments may point into the old sentence */
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        memcpy(reason->text, text, sizeof(text));
        return error;
}
