/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Scope-exit cleanup for libcrypto's types. For platform/ alone. */

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"

/* OpenSSL 3.0 has only these names, which 3.4 deprecates. */
#if OPENSSL_VERSION_NUMBER < 0x30300000L
#define SSL_SESSION_get_time_ex SSL_SESSION_get_time
#define SSL_SESSION_set_time_ex SSL_SESSION_set_time
#endif

#define OSSL_CLEANUP(type, func)                                                                   \
        static inline void func##p(type **p)                                                       \
        {                                                                                          \
                func(*p);                                                                          \
        }

OSSL_CLEANUP(ASN1_TIME, ASN1_TIME_free)
OSSL_CLEANUP(BIO, BIO_free)
OSSL_CLEANUP(BIGNUM, BN_free)
OSSL_CLEANUP(ECDSA_SIG, ECDSA_SIG_free)
OSSL_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free)
OSSL_CLEANUP(EVP_PKEY, EVP_PKEY_free)
OSSL_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
OSSL_CLEANUP(GENERAL_NAMES, GENERAL_NAMES_free)
OSSL_CLEANUP(X509, X509_free)
OSSL_CLEANUP(X509_NAME, X509_NAME_free)
OSSL_CLEANUP(X509_REQ, X509_REQ_free)
OSSL_CLEANUP(X509_STORE, X509_STORE_free)
OSSL_CLEANUP(X509_STORE_CTX, X509_STORE_CTX_free)

/* A stack of certificates together with its references. */
static inline void x509_stack_freep(STACK_OF(X509) * *p)
{
        sk_X509_pop_free(*p, X509_free);
}

static inline void ossl_freep(void *p)
{
        OPENSSL_free(*(void **)p);
}
#define _cleanup_openssl_ _cleanup_(ossl_freep)

/* Locked memory for keys, once: OPENSSL_secure_malloc(). Without it there is a warning, and they go
 * to ordinary memory. */
void ossl_secure_heap(void);
/* Wipes and frees what a key consists of; the object stays, of a type that does not matter, for
 * those who hold a reference and use it no more. */
void ossl_empty_key(EVP_PKEY *key);
/* The first reason in libcrypto's error queue, which is emptied; "unknown reason" without one. */
const char *ossl_error(void);
/* A pem_password_cb for what needs no secret. Without one libcrypto asks for the pass phrase of an
 * encrypted block on the terminal, or on standard input, and waits. */
int ossl_no_pass_phrase(char *buf, int size, int for_writing, void *userdata);
/* CLOCK_REALTIME; 0 for a time before 1970, USEC_INFINITY for one that cannot be read. */
usec_t ossl_time(const ASN1_TIME *t);
/* `realtime` has passed, whatever the clock says: a certificate that we were given begins then. */
void ossl_time_passed(usec_t realtime);
/* Certificates are verified at the time of the clock, or at the latest that has passed for sure: a
 * clock that stands at 1970 after a boot does not lock everybody out. */
void ossl_verify_time(X509_VERIFY_PARAM *param);
/* SHA-256 over the DER SubjectPublicKeyInfo of a certificate; 0 or -EIO. */
int ossl_spki_sha256(const X509 *x, uint8_t ret[static 32]);
/* The word for REASON= behind an X509_V_ERR_ code: "expired", "unknown-ca"... */
const char *ossl_verify_word(long code);
