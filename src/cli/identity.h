/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "platform/identity.h"

/* What the certificate says and for how long, on standard output. */
void identity_print_certificate(const IdentityCertificate *x);
/* What to do with one that is in place now. */
void identity_print_next(void);
