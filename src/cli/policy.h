/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "platform/identity.h"

/* The present PCR values and counter as a policy that the operator may sign. */
int policy_for_now(Identity *id, Policy *ret, Reason *reason);
/* The policy in force next to what the TPM has now, on standard output. */
int policy_print(Identity *id, Reason *reason);
