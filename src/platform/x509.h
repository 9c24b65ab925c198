/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The facts of a peer's certificate that decisions are made on. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "platform/reason.h"

#define PEER_NAMES_MAX 8
#define PEER_NAME_MAX  255
#define PEER_CHAIN_MAX 6  /* certificates, from the peer's own to the one that is trusted */
#define PEER_ID_SIZE   16 /* bytes of a SHA-256: a ticket over DTLS has to fit in a datagram */

/* A certificate of a verified chain, as far as trust is asked about it later. */
typedef struct PeerLink {
        uint8_t authority[PEER_ID_SIZE];   /* its subject's name and key: survives its renewal */
        uint8_t certificate[PEER_ID_SIZE]; /* its issuer's name and serial: what a CRL says */
} PeerLink;

typedef struct PeerChain {
        PeerLink links[PEER_CHAIN_MAX]; /* the peer's own first */
        size_t n;
        usec_t not_after; /* CLOCK_REALTIME, the earliest of all */
} PeerChain;

typedef struct PeerCertificate {
        char common_name[PEER_NAME_MAX + 1]; /* "" when there is none; never holds a NUL byte */
        char names[PEER_NAMES_MAX][PEER_NAME_MAX + 1]; /* dNSName and URI of subjectAltName */
        size_t n_names;
        uint8_t spki_sha256[32];
        char serial[64];              /* hex */
        char issuer[256];             /* RFC 4514, escaped */
        usec_t not_before, not_after; /* CLOCK_REALTIME */
        PeerChain chain;              /* up to what it was trusted by */
} PeerCertificate;

/* Whether a PEM file holds certificates of authorities and nothing else: 0, or a negative errno
 * with the reason, which names the file. */
int authorities_check(const char *path, Reason *reason);

/* For platform/ alone. */
struct stack_st_X509;
struct x509_st;
struct X509_name_st;
struct asn1_string_st;
/* The same with the certificates; at least one. */
int authorities_load(const char *path, Reason *reason, struct stack_st_X509 **ret);
/* -EBADMSG for a certificate whose names hold NUL bytes or do not fit. Without its chain. */
int peer_certificate_read(const struct x509_st *x, PeerCertificate *ret);
/* -EBADMSG for an empty or too long chain, or a name that cannot be read. */
int peer_chain_read(const struct stack_st_X509 *chain, PeerChain *ret);
/* Names that OpenSSL takes for the same while it builds a chain have the same digest: case, runs of
 * spaces and the encoding do not count (RFC 5280 section 7.1). 0, -EBADMSG. */
int x509_name_sha256(const struct X509_name_st *name, uint8_t ret[static 32]);
/* PeerLink.certificate of whom a CRL of `issuer` lists. 0, -EBADMSG. */
int x509_certificate_id(const uint8_t issuer[static 32], const struct asn1_string_st *serial,
                        uint8_t ret[static PEER_ID_SIZE]);
/* Frees what a certificate holds, as far as that can be done from outside: for one that its owner
 * keeps but nobody looks at again. */
void x509_empty(struct x509_st *x);
int x509_authority_id(const struct x509_st *x, uint8_t ret[static PEER_ID_SIZE]);
