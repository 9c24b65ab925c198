/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A request for a certificate with all that a CA may want of it. identity_csr() is the simple case.
 * Errors as of identity_sign(). */

#include "platform/identity.h"

struct stack_st_X509_EXTENSION;

typedef struct IdentityRequest {
        /* Subject and names of the certificate in force: a renewal has to ask for the same
         * (RFC 7030 section 4.2.2). */
        bool renewal;
        const char *common_name; /* otherwise */
        const char *const *names;
        size_t n_names;
        const struct stack_st_X509_EXTENSION *extensions; /* to be asked for besides; NULL: none */
} IdentityRequest;

/* -ENOENT, -EBADMSG: a renewal without a certificate. */
int identity_request(Identity *id, const IdentityRequest *request, uint8_t **ret_der,
                     size_t *ret_len, Reason *reason);
