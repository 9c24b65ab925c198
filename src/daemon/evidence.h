/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What daemon/attest keeps; made and freed by the gateway, read by daemon/report. */

#include "daemon/attest.h"
#include "domain/reference.h"

typedef struct Attest Attest;

/* The last report of a device that was judged, with the verdict: what goes upstream again when
 * upstream asks. */
typedef struct AttestRecord {
        char device[DEVICE_NAME_MAX + 1];
        uint16_t content_format;
        uint8_t *evidence;
        size_t evidence_len;
        char *ear; /* compact JWT; NULL when it could not be signed */
        uint8_t nonce[NONCE_MAX];
        size_t nonce_len;
        usec_t received;     /* CLOCK_REALTIME */
        usec_t issued;       /* CLOCK_BOOTTIME, when the nonce was given out */
        unsigned references; /* which ones it was judged by, as Attest counts them */
        /* Set and taken back by daemon/report: */
        bool due;   /* upstream has still to hear of it */
        bool asked; /* with the nonce that upstream sent last */
} AttestRecord;

int attest_new(Gateway *g, Attest **ret);
Attest *attest_free(Attest *a);
DEFINE_CLEANUP(Attest, attest_free)

/* Loads the reference values that the settings name. 0, or a negative errno that was logged with
 * the file; then the set in force stays. */
int attest_load_references(Attest *a, const char *const *paths, size_t n);

/* Takes over `set` in place of the one in force. */
void attest_set_references(Attest *a, ReferenceSet *set);
/* After that, and after the devices were taken over: every verdict in force by other reference
 * values is looked at again, on the evidence that earned it. What is worse under those of now is
 * enforced, signed and reported like a report of the device; what is as good stays untouched; what
 * would be better takes a fresh report. */
void attest_review(Attest *a);

/* A device is no longer configured, or enrolled anew: its records and nonces go, its report in
 * flight counts no more. */
void attest_forget(Attest *a, const DeviceState *d);
/* NULL when the device has not been judged. Holds until the loop turns. */
AttestRecord *attest_record(const Attest *a, const char *device);
/* Room for the nonces of this many devices: before a reload brings more. 0 or -ENOMEM. */
int attest_reserve(Attest *a, size_t n_devices);
