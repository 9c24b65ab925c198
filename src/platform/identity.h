/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The gateway's identity: a P-256 key that was made in the TPM, never leaves it and signs only
 * while a policy of the operator holds (platform/tpm-policy.h); an attestation key next to it that
 * quotes PCRs; the certificate that a CA gave the identity.
 *
 * Below <state directory>/identity/:
 *   identity.pub identity.priv ak.pub ak.priv   TPM2B_PUBLIC, TPM2B_PRIVATE (tpm2_load takes them)
 *   secret.pub secret.priv                      random bytes that the same policy unseals
 *   storage.pub                                 their parent: the storage root key of this TPM
 *   identity.json                               operator key, PCRs, counter
 *   policies/DIGEST-SIGNER.json                 signed policies; one that holds is enough
 *   identity.crt                                PEM, leaf first, then the chain
 *
 * Commands to the TPM run in a session whose secret is salted to the storage root key, which has to
 * be that of storage.pub: nobody on the bus reads or changes them, and another TPM is noticed.
 *
 * When the connection to the TPM is lost, the call under way fails with -EIO; the next one connects
 * anew and loads the keys again, and fails where that does. Where the TPM was reset under a
 * connection that goes on, the keys are loaded again at once.
 *
 * Calls that use the TPM yield on a fiber once identity_attach() was called, and block elsewhere;
 * off a fiber they fail with -EBUSY while a fiber uses the TPM. */

#include "base/time.h"
#include "platform/credential.h"
#include "platform/loop.h"
#include "platform/reason.h"
#include "platform/tpm-policy.h"

typedef struct Identity Identity;

#define IDENTITY_NONCE_MAX     64          /* some TPMs take no more than 48 */
#define IDENTITY_COUNTER_INDEX 0x01800101U /* of policies */
#define IDENTITY_STATE_INDEX   0x01800102U /* of what is on the disk: see platform/anchor.h */
#define IDENTITY_DEFAULT_PCRS  "0 2 4 7"
#define IDENTITY_DEFAULT_TCTI  "device:/dev/tpmrm0"
#define IDENTITY_ATTEST_MAX    1024
#define IDENTITY_TPM_SIG_MAX   128
#define IDENTITY_NAMES_MAX     16

typedef struct IdentityParams {
        const char *tcti, *state_directory;
        uint8_t operator_point[P256_POINT_SIZE];
        uint32_t pcrs;
        bool force; /* set an identity that is there aside, as identity.previous */
} IdentityParams;

/* Makes keys and counter, and the directory in one step. -EEXIST when there is an identity.
 * -ENODEV without the TPM's device or socket. Whatever root writes into a state directory belongs
 * to the owner of that directory. */
int identity_create(const IdentityParams *params, Reason *reason);

/* Loads everything into the TPM and checks that it is ours. Blocks. -ENOENT: there is none yet.
 * -ENODEV: the TPM is not there. -ENXIO: it is another one, or was cleared.
 * Policy and certificate may be missing or broken still: see below. */
int identity_open(const char *tcti, const char *state_directory, Identity **ret, Reason *reason);
/* Its files alone: for what needs no TPM, while somebody else may be using that. What needs one
 * fails with -ENODEV. Errors as above. */
int identity_open_files(const char *state_directory, Identity **ret, Reason *reason);
/* Every fiber that uses it has ended, every credential and key of it is gone. */
Identity *identity_free(Identity *id);
DEFINE_CLEANUP(Identity, identity_free)
int identity_attach(Identity *id, Loop *loop);
/* Whether a fiber is in the middle of using it. */
bool identity_busy(const Identity *id);
/* Before the end: fibers that wait for the TPM do not wait on, they fail while the loop turns. */
void identity_abandon(Identity *id);

/* Signs a SHA-256 digest: r || s.
 *   -ENOKEY       no policy is installed
 *   -EBADMSG      the installed policy is not by the operator, or not what he signed
 *   -EKEYREJECTED the PCRs are not those of the policy; the sentence names the first that differs
 *   -EKEYREVOKED  the policy was retired by the counter
 *   -EIO, -EBUSY, -EACCES, ... the TPM: see tpm_fail()
 * Of several policies that are installed the one that holds now is used. */
int identity_sign(Identity *id, const uint8_t digest[static POLICY_DIGEST_SIZE],
                  uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason);
/* Can it sign now? Signs something random and says why not, as above. */
int identity_check(Identity *id, Reason *reason);

/* 32 bytes that only this TPM in an allowed state gives, another for each `label`: a key for what
 * the gateway keeps on its disk (HKDF-SHA256, RFC 5869, from what is sealed). In locked memory it
 * is the caller's to wipe. Errors as of identity_sign(). */
#define IDENTITY_SECRET_SIZE 32
int identity_secret(Identity *id, const char *label, uint8_t ret[static IDENTITY_SECRET_SIZE],
                    Reason *reason);

/* How the TPM was when it was last asked. */
typedef struct IdentityHealth {
        bool away;    /* it did not answer, or not as a TPM that is ours */
        usec_t since; /* CLOCK_BOOTTIME; 0: it has not been asked yet */
        Reason why;   /* of `away` */
} IdentityHealth;
const IdentityHealth *identity_health(const Identity *id);
/* Asks the TPM for something small; connects and loads anew where that is due. */
int identity_probe(Identity *id, Reason *reason);
/* Is the TPM in dictionary attack lockout? That does not concern our keys, which no password opens;
 * but somebody has been guessing. */
int identity_lockout(Identity *id, bool *ret, Reason *reason);

/* The counter that dates what is on the disk: it only goes up, for this TPM's life. `start` is what
 * it stood at when the identity was made. Errors as of identity_sign(), none of a policy. */
int identity_state_counter(Identity *id, uint64_t *ret, Reason *reason);
int identity_state_advance(Identity *id, uint64_t *ret, Reason *reason);
uint64_t identity_state_start(const Identity *id);

/* What this TPM says, signed by the AK: TPMS_ATTEST and TPMT_SIGNATURE as marshalled bytes. */
typedef struct IdentityAttestation {
        uint8_t attest[IDENTITY_ATTEST_MAX];
        size_t attest_len;
        uint8_t signature[IDENTITY_TPM_SIG_MAX];
        size_t signature_len;
        PcrValues pcrs; /* of a quote: the values that it covers */
} IdentityAttestation;

/* Quote over the PCRs of the identity. `nonce` of at most IDENTITY_NONCE_MAX bytes. */
int identity_quote(Identity *id, Bytes nonce, IdentityAttestation *ret, Reason *reason);
/* The AK certifies that the identity key is in this TPM, and with which public area (by its name):
 * TPM2_Certify. Needs no policy: see template_identity(). */
int identity_certify(Identity *id, Bytes nonce, IdentityAttestation *ret, Reason *reason);

/* The endorsement key of this TPM: the one that its maker certified, or RSA-2048 (the TCG's
 * template L-1) where no certificate is in the TPM. */
typedef struct IdentityEndorsement {
        uint8_t spki[800]; /* DER SubjectPublicKeyInfo */
        size_t spki_len;
        uint8_t certificate[4096]; /* DER */
        size_t certificate_len;    /* 0: there is none */
} IdentityEndorsement;
/* Making the key may take a chip a minute. -EBADMSG, -EFBIG: the certificate cannot be used. */
int identity_endorsement(Identity *id, IdentityEndorsement *ret, Reason *reason);

/* Opens what somebody encrypted to the endorsement key and to the name of our attestation key
 * (TPM2_MakeCredential): that he hears the content proves that both are in this TPM. `credential`
 * and `secret` are the contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. -EBADMSG: it is for
 * other keys. */
#define IDENTITY_CREDENTIAL_MAX 64
int identity_activate(Identity *id, Bytes credential, Bytes secret,
                      uint8_t ret[static IDENTITY_CREDENTIAL_MAX], size_t *ret_len, Reason *reason);

/* What a verifier has to know of the keys beforehand, or finds in a report. */
typedef struct IdentityDescription {
        uint8_t spki_sha256[32];           /* of the identity key's DER SubjectPublicKeyInfo */
        uint8_t ak_id[33];                 /* 01 || the same of the AK */
        uint8_t ak_name[POLICY_NAME_SIZE]; /* its name in the TPM: what a credential is made for */
        uint8_t public_area[512];          /* TPMT_PUBLIC of the identity key, marshalled */
        size_t public_area_len;
} IdentityDescription;
/* 0 or -EIO. */
int identity_describe(const Identity *id, IdentityDescription *ret);

/* Counter, PCRs as they are now; the policy in force. */
int identity_read_pcrs(Identity *id, uint32_t mask, PcrValues *ret, Reason *reason);
int identity_read_counter(Identity *id, uint64_t *ret, Reason *reason);
uint32_t identity_pcrs(const Identity *id);
uint32_t identity_counter_index(const Identity *id);
const uint8_t *identity_point(const Identity *id);             /* P256_POINT_SIZE */
const uint8_t *identity_attestation_point(const Identity *id); /* P256_POINT_SIZE */
const uint8_t *identity_operator_point(const Identity *id);    /* as it was made; P256_POINT_SIZE */
/* Whose policies are to be asked for now: where the operator handed over, the last successor. */
const uint8_t *identity_present_operator(const Identity *id); /* P256_POINT_SIZE */
size_t identity_n_policies(const Identity *id);
const Policy *identity_policy(const Identity *id, size_t i);
/* How far the counter may go, and whether it opens the key in such a state: with the hand-overs
 * that its operator key stands on. */
uint64_t identity_policy_maximum(const Identity *id, size_t i);
PolicyFit identity_policy_fits(const Identity *id, size_t i, const PcrValues *now,
                               uint64_t counter);

/* Checks signature and operator, and puts it beside those that are there: a policy for the state
 * after an update is installed before the update. -EBADMSG, -EINVAL; -ENOSPC: there are too many.
 */
int identity_install_policy(Identity *id, const Policy *p, Reason *reason);
/* Reads anew what somebody else has installed, when nobody is in the middle of using it. A failure
 * changes nothing. */
int identity_reload_policies(Identity *id, Reason *reason);
/* Increments the counter: policies with a maximum below its new value are dead for good, and their
 * files go. */
int identity_retire_policies(Identity *id, uint64_t *ret_counter, Reason *reason);

/* The certificate. */
typedef struct IdentityCertificate {
        char subject[256], issuer[256]; /* RFC 4514, escaped */
        usec_t not_before, not_after;   /* CLOCK_REALTIME */
        bool is_ca;                     /* may certify leaves (keyCertSign): TLSKey=minted works */
        long path_length;               /* of a CA; -1 when it is not limited */
        size_t chain_length;            /* certificates in the file, the leaf counted */
} IdentityCertificate;

/* Takes a certificate (PEM, leaf first, chain after it) into use when it is for this key, valid
 * now, and its chain leads to `ca_path` (NULL: to a self-signed one in the file itself). What was
 * there before stays when anything is wrong. */
int identity_install_certificate(Identity *id, const char *path, const char *ca_path,
                                 Reason *reason);
/* -ENOENT without a certificate; -EBADMSG when the file is damaged or for another key. */
int identity_certificate(const Identity *id, IdentityCertificate *ret, Reason *reason);
/* A new DER array of the chain, leaf first, without the root: for x5chain. Free each and the
 * array. */
int identity_chain_der(const Identity *id, uint8_t ***ret, size_t **ret_lens, size_t *ret_n);

/* Key in the TPM + certificate: for the upstream, and for TLSKey=tpm. -ENOENT, -EBADMSG. */
int identity_credential(Identity *id, Credential **ret, Reason *reason);

/* For platform/ alone. Borrowed. */
struct evp_pkey_st;
struct x509_st;
struct stack_st_X509;
struct evp_pkey_st *identity_pkey(const Identity *id);
struct x509_st *identity_leaf(const Identity *id); /* NULL without one */
struct stack_st_X509 *identity_chain(const Identity *id);
