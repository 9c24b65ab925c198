/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What has to hold, said in full where a harness has many of them. */

#include <stdio.h>
#include <stdlib.h>

#define require(ok) ((ok) ? (void)0 : require_failed(__FILE__, __LINE__, #ok))

static inline void require_failed(const char *file, int line, const char *what)
{
        fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
        abort();
}
