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
        usec_t received; /* CLOCK_REALTIME */
        usec_t issued;   /* CLOCK_BOOTTIME, when the nonce was given out */
        bool due;        /* upstream has still to hear of it: set and taken back by daemon/report */
} AttestRecord;

int attest_new(Gateway *g, Attest **ret);
Attest *attest_free(Attest *a);
DEFINE_CLEANUP(Attest, attest_free)

/* Loads the reference values that the settings name. 0, or a negative errno that was logged with
 * the file; then the set in force stays. */
int attest_load_references(Attest *a, const char *const *paths, size_t n);

/* Takes over `set` in place of the one in force. */
void attest_set_references(Attest *a, ReferenceSet *set);

/* A device is no longer configured: its records go, its report in flight is answered. */
void attest_forget(Attest *a, const DeviceState *d);
/* NULL when the device has not been judged. Holds until the loop turns. */
AttestRecord *attest_record(const Attest *a, const char *device);
/* Room for the nonces of this many devices: before a reload brings more. 0 or -ENOMEM. */
int attest_reserve(Attest *a, size_t n_devices);
