/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Memory for secrets: locked, kept out of core dumps and forks, wiped when freed. */

#include "base/util.h"

/* Overwrites in a way that the compiler may not remove. */
void secret_wipe(void *p, size_t len);
/* Zeroed pages of their own with guard pages around; NULL with errno when memory or
 * RLIMIT_MEMLOCK does not allow it (a secret never falls back to ordinary memory). */
void *secret_alloc(size_t len);
/* `len` as it was asked for. NULL is fine. */
void secret_free(void *p, size_t len);
