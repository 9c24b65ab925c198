/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What one end of a TLS connection shows: a private key (in locked memory or in the TPM), its
 * certificate and the chain above. Immutable and reference-counted: rotation hands out a new one,
 * connections that are open keep the old. */

#include "base/time.h"
#include "base/util.h"
#include "platform/reason.h"

typedef struct Credential Credential;

Credential *credential_ref(Credential *c);
Credential *credential_unref(Credential *c);
DEFINE_CLEANUP(Credential, credential_unref)

/* The private key signs in the TPM: handshakes have to run on a fiber. */
bool credential_in_tpm(const Credential *c);
/* CLOCK_REALTIME, end of validity of the leaf. */
usec_t credential_not_after(const Credential *c);

/* From PEM files: the certificate with its chain after it, and its private key, not encrypted. The
 * errno of a file; -EBADMSG: it holds something else, or they do not belong together. */
int credential_load(const char *certificate, const char *key, Credential **ret, Reason *reason);

/* For platform/ alone: 0 or -EIO with the reason logged. */
struct ssl_ctx_st;
struct ssl_st;
int credential_use_ctx(const Credential *c, struct ssl_ctx_st *ctx);
int credential_use_ssl(const Credential *c, struct ssl_st *ssl);

struct evp_pkey_st;
struct x509_st;
struct stack_st_X509;
/* Takes its own references. */
int credential_new(struct evp_pkey_st *key, struct x509_st *leaf, struct stack_st_X509 *chain,
                   bool in_tpm, Credential **ret);
