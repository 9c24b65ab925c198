/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The composite report to upstream: a CMW collection (RATS conceptual message wrapper) of
 *   __lead       claims of the gateway as lead attester (UCCS): nonce, identity, freshness of items
 *   gateway      key attestation: kat = certification of the identity key by the
 *                attestation key (TPM2_Certify), pat = TPM2_Quote
 *   NAME         a device's evidence as received, NAME/ear the verdict on it
 * in a COSE_Sign1 by the gateway's identity key. The TPM signs in between:
 *
 *     relay_begin(&report, chain, n, &envelope)
 *     sign SHA-256 of envelope.tbs with the identity key, r || s
 *     relay_finish(&envelope, signature, &out)
 */

#include "base/buf.h"
#include "base/bytes.h"
#include "base/time.h"
#include "proto/parsec.h"

#define RELAY_DEVICES_MAX 24 /* one message: two items each in a map of at most 64 */
#define RELAY_SIZE_MAX    ((size_t)1024 * 1024)

typedef struct RelayDevice {
        const char *name;        /* device_name_valid() */
        uint16_t content_format; /* of `evidence`, 0: use `media_type` */
        const char *media_type;
        Bytes evidence;  /* as received */
        Bytes ear;       /* compact JWT; empty: none */
        Bytes nonce;     /* that the evidence carries */
        usec_t received; /* CLOCK_REALTIME */
        usec_t age;      /* between the nonce's issue and now */
} RelayDevice;

typedef struct RelayReport {
        Bytes nonce;                   /* 8..64 bytes: upstream's, or the gateway's own */
        const uint8_t *spki_sha256;    /* 32 bytes, of the identity key */
        const char *version;           /* of this program */
        Bytes boot_id;                 /* 16 bytes: changes with every boot */
        const ParsecEvidence *gateway; /* NULL: the report shows devices alone */
        const RelayDevice *devices;
        size_t n_devices;
} RelayReport;

typedef struct RelayEnvelope {
        Buf header;  /* COSE protected header */
        Buf payload; /* the collection */
        Buf tbs;     /* what is to be signed with ES256 */
} RelayEnvelope;

/* `chain`: DER certificates, the identity's own first, without the root. 0, -EINVAL (two devices
 * of one name, a nonce of a wrong length), -ENOBUFS (too large), -ENOMEM. On failure the envelope
 * is left empty. */
int relay_begin(const RelayReport *report, const Bytes *chain, size_t n_chain, RelayEnvelope *ret);
/* Appends the finished message (application/cmw+cose) to `ret`. `signature` is 64 bytes. */
int relay_finish(const RelayEnvelope *e, Bytes signature, Buf *ret);
void relay_envelope_done(RelayEnvelope *e);
#define _cleanup_relay_envelope_ _cleanup_(relay_envelope_done)
