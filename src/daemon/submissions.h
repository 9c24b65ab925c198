/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What daemon/submit keeps; made and freed by the gateway. */

#include "daemon/submit.h"

typedef struct Submissions Submissions;

int submissions_new(Gateway *g, Submissions **ret);
/* After the store is freed: nobody hears of what that still had. */
Submissions *submissions_free(Submissions *s);
DEFINE_CLEANUP(Submissions, submissions_free)
