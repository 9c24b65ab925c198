/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The PIN of a token that holds the operator's key. */

#include "base/util.h"
#include "platform/reason.h"

#define OPERATOR_PIN_MAX 255

typedef struct OperatorPin {
        bool known;
        char text[OPERATOR_PIN_MAX + 1];
        size_t len;
} OperatorPin;

/* The PIN is `value`; or in the file that `source` names (RFC 7512 section 2.4: "file:PATH" or
 * "/PATH"; a "|COMMAND" is refused), up to its first line's end; or, both being NULL, it is asked
 * on the terminal with `question`. -EINVAL, -ENOTTY, -ECANCELED, the errno of the file. */
int operator_pin_get(const char *value, const char *source, const char *question, OperatorPin *ret,
                     Reason *reason);
void operator_pin_wipe(OperatorPin *pin);
