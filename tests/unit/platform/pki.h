/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Authorities, devices and revocation lists, made as a test wants them. */

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "platform/trust.h"

typedef struct PkiCertificate {
        EVP_PKEY *key;
        X509 *x;
} PkiCertificate;

typedef struct PkiSpec {
        const char *name;             /* CN */
        const PkiCertificate *issuer; /* NULL: itself */
        EVP_PKEY *key;                /* NULL: a fresh one */
        long serial;                  /* 0: 1 */
        bool ca;
        const char *key_usage; /* NULL: none */
        int name_type;         /* MBSTRING_UTF8, or V_ASN1_PRINTABLESTRING; 0: UTF-8 */
        long valid;            /* seconds from now; 0: an hour */
} PkiSpec;

/* Everything is given back by pki_done() at the end of the test. */
PkiCertificate pki_make(const PkiSpec *spec);
#define PKI(...) pki_make(&(PkiSpec){ __VA_ARGS__ })

typedef struct PkiList {
        const PkiCertificate *signer;
        const X509_NAME *issuer; /* NULL: the signer's */
        const long *serials;
        size_t n;
        const EVP_MD *digest; /* NULL: SHA-256 */
        long from, to;        /* seconds from now; both 0: an hour ago until in an hour */
        int extension;        /* NID of a critical one, or 0 */
        const char *value;    /* of it, as openssl.cnf has it */
        int entry_extension;  /* likewise, in each entry */
        const char *entry_value;
} PkiList;

X509_CRL *pki_list(const PkiList *list);
#define PKI_LIST(...) pki_list(&(PkiList){ __VA_ARGS__ })

void pki_done(void);
/* The folder of this test's files. */
const char *pki_directory(void);
/* A file below a folder of this test; the name holds until pki_done(). */
const char *pki_path(const char *name);
/* Certificates, NULL at the end. */
const char *pki_write_bundle(const char *name, const PkiCertificate *const *all);
#define PKI_BUNDLE(name, ...)                                                                      \
        pki_write_bundle(name, (const PkiCertificate *const[]){ __VA_ARGS__, NULL })
const char *pki_write_list(const char *name, X509_CRL *crl, bool der);
/* Several, in PEM; NULL at the end. */
const char *pki_write_lists(const char *name, X509_CRL *const *all);
#define PKI_LISTS(name, ...) pki_write_lists(name, (X509_CRL *const[]){ __VA_ARGS__, NULL })
/* In one authority, with a list or without (NULL). */
Trust *pki_trust(const PkiCertificate *authority, X509_CRL *crl);
