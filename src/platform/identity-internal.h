/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the files of the identity alone. */

#include "platform/identity.h"
#include "platform/ossl.h"
#include "platform/tpm.h"

typedef struct IdentityBlob {
        TPM2B_PUBLIC pub;
        TPM2B_PRIVATE priv;
} IdentityBlob;

/* What is in the directory, apart from policy and certificate. */
typedef struct IdentityFiles {
        IdentityBlob key, ak;
        uint8_t operator_point[P256_POINT_SIZE];
        uint32_t pcrs, counter_index;
} IdentityFiles;

struct Identity {
        char *state_directory, *directory; /* the latter is identity/ in the former */
        Tpm *tpm;
        IdentityFiles files;
        uint8_t point[P256_POINT_SIZE], ak_point[P256_POINT_SIZE];
        ESYS_TR key, ak, counter;
        bool loaded; /* these are, over the present connection */
        bool has_policy;
        Policy policy;
        int policy_error; /* why there is none */
        Reason policy_reason;
        TPMT_TK_VERIFIED *ticket; /* the TPM's own word that it checked the policy's signature */
        EVP_PKEY *pkey;
        X509 *leaf;
        STACK_OF(X509) * chain;
        int certificate_error; /* why there is none */
        Reason certificate_reason;
};

/* identity-files.c; a new string `directory`/`name`, NULL without memory. */
char *identity_path(const char *directory, const char *name);
int identity_files_write(const char *directory, const IdentityFiles *files, Reason *reason);
int identity_files_read(const char *directory, IdentityFiles *ret, Reason *reason);

/* identity-tpm.c; all with the TPM locked. Objects that they return are the caller's to flush. */
int identity_tpm_create_storage(Tpm *tpm, ESYS_TR *ret, Reason *reason);
int identity_tpm_create_key(Tpm *tpm, ESYS_TR storage, const TPM2B_PUBLIC *template,
                            IdentityBlob *ret, Reason *reason);
int identity_tpm_load(Tpm *tpm, ESYS_TR storage, const IdentityBlob *blob, ESYS_TR *ret,
                      Reason *reason);
int identity_tpm_create_counter(Tpm *tpm, uint32_t index, Reason *reason);
int identity_tpm_open_counter(Tpm *tpm, uint32_t index, ESYS_TR *ret, Reason *reason);
int identity_tpm_read_counter(Tpm *tpm, ESYS_TR counter, uint64_t *ret, Reason *reason);
int identity_tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrValues *ret, Reason *reason);
void identity_tpm_flush(Tpm *tpm, ESYS_TR object);

/* identity-authorize.c; a policy session in which the key may be used once. TPM locked. */
int identity_authorize(Identity *id, ESYS_TR *ret_session, Reason *reason);

/* identity-certificate.c */
void identity_load_certificate(Identity *id);
/* At most `max` certificates; `name` is where they come from. */
int identity_parse_certificates(Bytes pem, const char *name, int max, STACK_OF(X509) * *ret,
                                Reason *reason);
int identity_read_certificates(const char *path, STACK_OF(X509) * *ret, Reason *reason);
int identity_check_key(const Identity *id, const X509 *leaf, const char *path, Reason *reason);
/* The first of `list`, with what leads to an anchor: those of `ca_path`, or NULL: the self-signed
 * ones in the list. */
int identity_verify_chain(STACK_OF(X509) * list, const char *ca_path, STACK_OF(X509) * *ret,
                          Reason *reason);
int identity_write_chain(const Identity *id, const char *name, const char *preamble,
                         STACK_OF(X509) * chain, Reason *reason);
/* Takes `chain` over. */
void identity_put_in_use(Identity *id, STACK_OF(X509) * chain);
bool identity_may_certify(X509 *x);
