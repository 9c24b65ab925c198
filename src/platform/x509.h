/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The facts of a peer's certificate that decisions are made on. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "platform/reason.h"

#define PEER_NAMES_MAX 8
#define PEER_NAME_MAX  255

typedef struct PeerCertificate {
        char common_name[PEER_NAME_MAX + 1]; /* "" when there is none; never holds a NUL byte */
        char names[PEER_NAMES_MAX][PEER_NAME_MAX + 1]; /* dNSName and URI of subjectAltName */
        size_t n_names;
        uint8_t spki_sha256[32];
        char serial[64];              /* hex */
        char issuer[256];             /* RFC 4514, escaped */
        usec_t not_before, not_after; /* CLOCK_REALTIME */
} PeerCertificate;

/* Whether a PEM file holds certificates of authorities and nothing else: 0, or a negative errno
 * with the reason, which names the file. */
int authorities_check(const char *path, Reason *reason);

struct x509_st;
/* For platform/ alone. -EBADMSG for a certificate whose names hold NUL bytes or do not fit. */
int peer_certificate_read(const struct x509_st *x, PeerCertificate *ret);
