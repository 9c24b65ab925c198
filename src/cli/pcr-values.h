/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* PCR values that somebody expects of a machine: from the command line, or from a file. */

#include "platform/tpm-policy.h"

typedef struct GivenPcrs {
        PcrValues named;  /* by --pcr: each has to be one of the identity's */
        PcrValues listed; /* in a file, which may tell of more; `named` wins */
} GivenPcrs;

/* "7=" and 64 hex digits. -EINVAL, also for a PCR that was named before. */
int pcr_values_take(const char *argument, GivenPcrs *pcrs, Reason *reason);
/* A file with lines such as "7: 0x..." (what tpm2_pcrread prints; of its banks sha256 counts) or
 * "7=...". -EBADMSG for what is not understood and for a file without a value. */
int pcr_values_read(const char *path, GivenPcrs *pcrs, Reason *reason);
/* Replaces those in `pcrs` that are given. -EINVAL: one was named that `pcrs` does not have. */
int pcr_values_put(const GivenPcrs *given, PcrValues *pcrs, Reason *reason);
