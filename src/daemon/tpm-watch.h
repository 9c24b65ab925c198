/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Asks the TPM now and then whether it is well, so that its going away is known before somebody
 * needs it, and its coming back soon after it has: identity_health() tells. */

#include "daemon/gateway.h"

typedef struct TpmWatch TpmWatch;

int tpm_watch_new(Gateway *g, TpmWatch **ret);
/* While the loop does not run any more. Takes NULL. */
TpmWatch *tpm_watch_free(TpmWatch *w);
DEFINE_CLEANUP(TpmWatch, tpm_watch_free)
