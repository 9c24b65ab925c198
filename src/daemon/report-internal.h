/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Between report.c, which knows when a report is due, report-make.c, which makes it, and
 * report-nonces.c, which keeps what upstream asks with. */

#include "base/buf.h"
#include "base/ratelimit.h"
#include "daemon/evidence.h"
#include "daemon/report.h"
#include "domain/relay.h"
#include "platform/reason.h"

typedef struct ReportNonce {
        uint8_t bytes[NONCE_MAX];
        size_t len;
} ReportNonce;

#define REPORT_NONCES_MAX 8

typedef struct ReportNonces {
        ReportNonce waiting[REPORT_NONCES_MAX]; /* oldest first */
        size_t n;
        RateLimit lines; /* in the log */
} ReportNonces;

void report_nonces_init(ReportNonces *n);
/* Takes what upstream sent: false when there is nothing new to answer, which is logged. */
bool report_nonces_take(ReportNonces *n, Bytes payload, bool retained, usec_t now);
/* The oldest one, which waits no longer; false when there is none. */
bool report_nonces_next(ReportNonces *n, ReportNonce *ret);

/* What one report is made of, taken when it is begun: records may be replaced meanwhile. */
typedef struct Composition {
        Reports *reports;
        ReportNonce nonce;
        AttestRecord records[RELAY_DEVICES_MAX]; /* copies */
        size_t n_records;
        bool storing; /* it is made, and with the store */
} Composition;

Composition *composition_free(Composition *c);
DEFINE_CLEANUP(Composition, composition_free)
/* One more record. 0 or -ENOMEM. */
int composition_add(Composition *c, const AttestRecord *record);

/* Straight through the TPM: quote, certify, sign. On a fiber. Appends the report to `ret`. */
int composition_make(const Composition *c, Gateway *g, Bytes boot_id, Buf *ret, Reason *reason);
