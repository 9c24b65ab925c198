/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Concise problem details (RFC 9290): what went wrong, for a device and who maintains it. */

#include "base/buf.h"

#define PROBLEM_MAX 512 /* bytes; a longer one is not written */

typedef struct Problem {
        const char *title;
        const char *detail; /* or NULL */
        uint8_t code;       /* of a CoAP response, where no other field carries it; or 0 */
} Problem;

/* Appends it. 0, -ENOBUFS, -ENOMEM. */
int problem_write(const Problem *p, Buf *ret);
