/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* subjectAltName and other extensions of the certificates and requests that we make. For
 * platform/ alone. */

#include "platform/ossl.h"
#include "platform/reason.h"

/* DNS names and IP addresses, told apart by their look. A name that is neither: -EINVAL. */
int san_new(const char *const *names, size_t n, GENERAL_NAMES **ret, Reason *reason);
