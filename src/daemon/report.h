/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The composite report to upstream: what the devices showed and what the gateway itself is, in one
 * signed message, into the store. It goes out after every verdict, and whenever upstream sends a
 * nonce to <prefix>/<gateway>/gateway/rats/nonce (CBOR {"nonce": bstr} or 8 to 64 plain bytes).
 * Each nonce is answered, one after the other, while no more than eight wait. What does not fit
 * into one report follows in others, with the same nonce. A report that cannot be made or stored is
 * tried again until it can. */

#include "base/bytes.h"
#include "base/util.h"

typedef struct Gateway Gateway;
typedef struct Reports Reports;
typedef struct AttestRecord AttestRecord;

int reports_new(Gateway *g, Reports **ret);
/* After the store is closed. */
Reports *reports_free(Reports *r);
DEFINE_CLEANUP(Reports, reports_free)

/* A device was judged: its record goes upstream. Reports that wait for the TPM are merged. */
void report_device(Gateway *g, AttestRecord *record);
