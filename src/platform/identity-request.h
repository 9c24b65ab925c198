/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A request for a certificate (PKCS #10, RFC 2986), signed by the identity key, with all that a CA
 * may want of it. Errors as of identity_sign(). */

#include "platform/identity.h"

struct stack_st_X509_EXTENSION;

/* id-aa-attestation: the attribute with what the TPM says of the key. */
#define IDENTITY_ATTESTATION_OID "1.2.840.113549.1.9.16.2.59"

typedef struct IdentityRequest {
        /* Subject and names of the certificate in force: a renewal has to ask for the same
         * (RFC 7030 section 4.2.2). */
        bool renewal;
        const char *common_name; /* otherwise */
        const char *const *names;
        size_t n_names;
        const struct stack_st_X509_EXTENSION *extensions; /* to be asked for besides; NULL: none */
        bool attest; /* with the attestation key's word that the TPM holds the key (TPM2_Certify) */
        Bytes nonce; /* for that, of at most IDENTITY_NONCE_MAX bytes */
} IdentityRequest;

/* A new DER, or a new PEM text. -ENOENT, -EBADMSG: a renewal without a certificate. */
int identity_request(Identity *id, const IdentityRequest *request, uint8_t **ret_der,
                     size_t *ret_len, Reason *reason);
int identity_csr(Identity *id, const IdentityRequest *request, char **ret_pem, Reason *reason);
