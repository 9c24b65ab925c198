/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The bodies of EST (RFC 7030 section 4, RFC 8951). For platform/est and the tests. */

#include "base/bytes.h"
#include "base/util.h"
#include "platform/reason.h"

#define EST_CERTIFICATES_MAX 16
#define EST_ATTRIBUTES_MAX   64
#define EST_EXTENSIONS_MAX   16

/* Base64 as others write it: with line breaks or without, padded (RFC 8951 section 3.1). False: it
 * is none, or there is no memory. */
bool est_decode(Bytes body, uint8_t **ret, size_t *ret_len);
/* In one line, as it is easiest to read. NULL without memory. */
char *est_encode(Bytes der);

struct stack_st_X509;
struct stack_st_X509_EXTENSION;

/* A certs-only CMS message (section 4.1.3) in base64: at least one certificate, at most
 * EST_CERTIFICATES_MAX. False with the reason. */
bool est_read_certificates(Bytes body, struct stack_st_X509 **ret, Reason *reason);

/* What the CA wants of a request (section 4.5.2). Object identifiers that nobody here knows are
 * passed over. */
typedef struct EstAttributes {
        struct stack_st_X509_EXTENSION *extensions; /* to be asked for; NULL: none */
        bool linking;     /* challengePassword: identity and TLS are to be linked (section 3.5) */
        bool attestation; /* what the TPM says of the key is to be in the request */
        char cannot[128]; /* what the key of a gateway cannot be; "" when it fits */
} EstAttributes;

bool est_read_attributes(Bytes body, EstAttributes *ret, Reason *reason);
void est_attributes_done(EstAttributes *a);
#define _cleanup_est_attributes_ _cleanup_(est_attributes_done)
