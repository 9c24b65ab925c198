/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <jansson.h>

#include "platform/identity.h"

/* The present PCR values and counter as a policy that the operator may sign. */
int policy_for_now(Identity *id, Policy *ret, Reason *reason);
/* Writes it to `path` (NULL: standard output); an exit code. */
int policy_output(const Policy *p, const char *path);
/* The PCRs of the identity and of every policy that is installed, and the counter. */
int policy_read_state(Identity *id, PcrValues *ret_now, uint64_t *ret_counter, Reason *reason);
/* The policies that are installed next to what the TPM has now, and what comes of it at the next
 * start, on standard output. */
int policy_print(Identity *id, Reason *reason);
/* The same as JSON. */
int policy_to_view(Identity *id, json_t **ret, Reason *reason);
