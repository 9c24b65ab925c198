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

/* What is in the directory, apart from policies and certificate. */
typedef struct IdentityFiles {
        TPM2B_PUBLIC storage; /* the storage root key: by it we know the TPM again */
        IdentityBlob key, ak, secret;
        uint8_t operator_point[P256_POINT_SIZE];
        uint32_t pcrs, counter_index;
        uint64_t state_start; /* where the state counter stood */
} IdentityFiles;

#define POLICIES_MAX  32
#define HANDOVERS_MAX 8 /* one after the other */

typedef struct IdentityPolicy IdentityPolicy;
struct IdentityPolicy {
        Policy policy;
        TPMT_TK_VERIFIED *ticket; /* the TPM's own word that it checked the signature */

        /* identity_find_operators() */
        bool trusted;       /* its operator key is the identity's, or stands on that one */
        IdentityPolicy *by; /* the hand-over to its operator key; NULL: that is the identity's */
        unsigned depth;     /* hand-overs below it */
        uint64_t maximum;   /* of the counter, for it and all of them */
};

struct Identity {
        char *state_directory, *directory; /* the latter is identity/ in the former */
        Tpm *tpm;
        Loop *loop; /* once attached */
        IdentityFiles files;
        uint8_t point[P256_POINT_SIZE], ak_point[P256_POINT_SIZE];
        ESYS_TR key, ak, counter, state_counter;
        bool loaded; /* these are, over the present connection */
        IdentityHealth health;
        IdentityPolicy policies[POLICIES_MAX];
        size_t n_policies, current; /* `current` is the one that held last, or n_policies */
        int policy_error;           /* why there is none */
        Reason policy_reason;
        EVP_PKEY *pkey;
        X509 *leaf;
        STACK_OF(X509) * chain;
        int certificate_error; /* why there is none */
        Reason certificate_reason;
};

/* identity.c; runs `operation` when it is this caller's turn, on a TPM in which the identity is
 * loaded. Where that turns out to be lost it is loaded again and tried once more. */
typedef int (*IdentityOperation)(Identity *id, void *argument, Reason *reason);
int identity_run(Identity *id, IdentityOperation operation, void *argument, Reason *reason);

/* The same public area, byte by byte? */
bool identity_same_public(const TPM2B_PUBLIC *a, const TPM2B_PUBLIC *b);

/* For use in such an operation: hands the object in `blob` to `user` while it is loaded. */
typedef int (*IdentityObjectUser)(Identity *id, ESYS_TR object, uint8_t *ret, Reason *reason);
int identity_with_object(Identity *id, const IdentityBlob *blob, IdentityObjectUser user,
                         uint8_t *ret, Reason *reason);

/* identity-files.c; a new string `directory`/`name`, NULL without memory. */
char *identity_path(const char *directory, const char *name);
int identity_files_write(const char *directory, const IdentityFiles *files, Reason *reason);
int identity_files_read(const char *directory, IdentityFiles *ret, Reason *reason);

/* identity-tpm.c; all with the TPM locked. Objects that they return are the caller's to flush. */
int identity_tpm_create_storage(Tpm *tpm, ESYS_TR *ret, TPM2B_PUBLIC *ret_pub, Reason *reason);
/* `sealed` NULL: the TPM makes the private half. */
int identity_tpm_create_key(Tpm *tpm, ESYS_TR storage, const TPM2B_PUBLIC *template,
                            const TPM2B_SENSITIVE_DATA *sealed, IdentityBlob *ret, Reason *reason);
int identity_tpm_load(Tpm *tpm, ESYS_TR storage, const IdentityBlob *blob, ESYS_TR *ret,
                      Reason *reason);
/* Defines it where there is none; hands out what it stands at. */
int identity_tpm_create_counter(Tpm *tpm, uint32_t index, uint64_t *ret, Reason *reason);
int identity_tpm_open_counter(Tpm *tpm, uint32_t index, ESYS_TR *ret, Reason *reason);
int identity_tpm_read_counter(Tpm *tpm, ESYS_TR counter, uint64_t *ret, Reason *reason);
int identity_tpm_increment(Tpm *tpm, ESYS_TR counter, uint64_t *ret, Reason *reason);
int identity_tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrValues *ret, Reason *reason);
void identity_tpm_flush(Tpm *tpm, ESYS_TR object);

/* identity-authorize.c; a policy session in which the key may be used once. TPM locked. */
int identity_authorize(Identity *id, ESYS_TR *ret_session, Reason *reason);

/* identity-policies.c. At start; a file that cannot be used is told in the log and left out. */
void identity_load_policies(Identity *id);
void identity_free_policies(Identity *id);
/* Looks for the policy that holds in the present state of the TPM, which is locked. Errors as of
 * identity_sign(). */
int identity_choose_policy(Identity *id, Reason *reason);
/* Another run of the TPM does not take the tickets. */
void identity_drop_tickets(Identity *id);

/* identity-operators.c. On what each policy stands, when all are there. */
void identity_find_operators(Identity *id);
/* The hand-over that lets this operator key approve policies for longest; NULL: there is none. */
IdentityPolicy *identity_handover(Identity *id,
                                  const uint8_t operator_point[static P256_POINT_SIZE]);
/* The key that the identity was made for. */
bool identity_is_root_operator(const Identity *id, const uint8_t point[static P256_POINT_SIZE]);

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

/* identity-evidence.c */
int identity_add_evidence(Identity *id, Bytes nonce, X509_REQ *req, Reason *reason);
