/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <jansson.h>

#include "platform/identity.h"

/* The present PCR values and counter as a policy that the operator may sign. */
int policy_for_now(Identity *id, Policy *ret, Reason *reason);
/* The policy in force next to what the TPM has now, on standard output. */
int policy_print(Identity *id, Reason *reason);
/* The same as JSON: what is installed, each PCR, the counter. */
int policy_to_view(Identity *id, json_t **ret, Reason *reason);
