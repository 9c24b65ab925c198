/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The key attestation map of Parsec's TPM provider, as deployed verifiers read it:
 * {kat: {tpmVer, kid, sig, certInfo, pubArea}, pat: {tpmVer, kid, sig, attestInfo}}. */

#include "base/buf.h"
#include "base/bytes.h"

typedef struct ParsecEvidence {
        Bytes kid; /* names the attestation key: 01 || SHA-256 of its SubjectPublicKeyInfo */
        /* TPM2_Certify: TPMS_ATTEST, TPMT_SIGNATURE and the TPMT_PUBLIC that was certified. */
        Bytes cert_info, cert_signature, public_area;
        /* TPM2_Quote: TPMS_ATTEST and TPMT_SIGNATURE. */
        Bytes quote_info, quote_signature;
} ParsecEvidence;

/* Appends the map in deterministic encoding. */
int parsec_evidence_write(const ParsecEvidence *e, Buf *ret);
/* False when it is not that map exactly, with one kid on both sides. Views into `map`. */
bool parsec_evidence_read(Bytes map, ParsecEvidence *ret);
