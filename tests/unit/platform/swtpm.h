/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A software TPM of the test's own, an operator, a CA, and a relay that makes the TPM slow. */

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sys/types.h>

#include "platform/identity.h"
#include "platform/operator-key.h"

typedef struct Lab {
        char directory[64];
        char tcti[128];      /* of the software TPM */
        char slow_tcti[128]; /* through the relay, once it was started */
        char state[96], operator_path[96];
        pid_t swtpm, relay;
        EVP_PKEY *operator_key;
        EVP_PKEY *ca_key;
        X509 *ca;
} Lab;

/* cmocka group setup and teardown; *state is the Lab. */
int lab_setup(void **state);
int lab_teardown(void **state);

/* The software TPM goes away, with all that was loaded; it comes back in the state that a reset
 * leaves. lab_setup() has started it. */
void lab_stop_tpm(Lab *lab);
void lab_start_tpm(Lab *lab);
/* Delays the answer of each command with this code by `ms`; 0: of all. */
void lab_start_relay(Lab *lab, unsigned ms, uint32_t command_code);
/* Somebody on the bus: changes a command (`answer` false) or an answer on its way, or writes it
 * down. Runs in a process of its own. */
typedef void (*LabInterposer)(uint8_t *message, size_t len, uint32_t command_code, bool answer);
void lab_start_interposer(Lab *lab, LabInterposer interposer);

/* A path below the lab's directory; holds until the next eight calls. */
const char *lab_path(const Lab *lab, const char *name);
/* A fresh identity under the present PCRs; signed by the operator when `with_policy`. */
void lab_create_identity(Lab *lab, bool with_policy);
/* The present PCRs and counter as a policy, signed by the operator. */
void lab_sign_policy(Lab *lab, Identity *id, Policy *ret);
/* Extends PCR 7 through a connection of its own: no Identity may be open. */
void lab_extend_pcr(Lab *lab);

/* A certificate for `point` by the lab's CA, as a PEM file with the CA after it. */
typedef struct LabCertificate {
        bool is_ca;
        long from, to; /* seconds from now */
} LabCertificate;
X509 *lab_certify(Lab *lab, EVP_PKEY *key, const LabCertificate *spec);
void lab_write_certificate(Lab *lab, const char *path, X509 *x);
/* Installs a certificate for the identity. */
void lab_enroll(Lab *lab, Identity *id, bool is_ca);
