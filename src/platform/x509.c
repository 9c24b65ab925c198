/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/x509.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "platform/crypto.h"
#include "platform/file.h"
#include "platform/ossl.h"

#define AUTHORITIES_SIZE_MAX ((size_t)4 << 20)
#define SERIAL_MAX           64 /* bytes; RFC 5280 section 4.1.2.2 has 20 */

/* A NUL inside a name is the old way to make two programs read two names. */
static int copy_name(const uint8_t *data, int len, char ret[static PEER_NAME_MAX + 1])
{
        if (len < 0 || len > PEER_NAME_MAX || memchr(data, 0, (size_t)len))
                return -EBADMSG;
        memcpy(ret, data, (size_t)len);
        ret[len] = 0;
        return 0;
}

static int read_common_name(const X509 *x, PeerCertificate *c)
{
        const X509_NAME *subject = X509_get_subject_name(x);
        int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
        if (i < 0)
                return 0;
        if (X509_NAME_get_index_by_NID(subject, NID_commonName, i) >= 0)
                return -EBADMSG; /* two common names: which one is the device? */
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i));
        _cleanup_openssl_ uint8_t *utf8 = NULL;
        int len = ASN1_STRING_to_UTF8(&utf8, value);
        if (len < 0)
                return -EBADMSG;
        return copy_name(utf8, len, c->common_name);
}

static int read_alt_name(const GENERAL_NAME *name, PeerCertificate *c)
{
        if (name->type != GEN_DNS && name->type != GEN_URI)
                return 0;
        if (c->n_names == PEER_NAMES_MAX)
                return -EBADMSG;
        const ASN1_IA5STRING *s = name->d.ia5;
        int r = copy_name(ASN1_STRING_get0_data(s), ASN1_STRING_length(s), c->names[c->n_names]);
        if (r == 0)
                c->n_names++;
        return r;
}

static int read_alt_names(const X509 *x, PeerCertificate *c)
{
        int critical = -1;
        _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *names =
                X509_get_ext_d2i(x, NID_subject_alt_name, &critical, NULL);
        if (!names)
                return critical == -1 ? 0 : -EBADMSG; /* absent, or there and not readable */
        for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
                int r = read_alt_name(sk_GENERAL_NAME_value(names, i), c);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_serial(const X509 *x, PeerCertificate *c)
{
        _cleanup_(BN_freep) BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
        _cleanup_openssl_ char *hex = n ? BN_bn2hex(n) : NULL;
        if (!hex || strlen(hex) >= sizeof(c->serial))
                return -EBADMSG;
        for (size_t i = 0; hex[i]; i++)
                c->serial[i] = hex[i] >= 'A' && hex[i] <= 'F' ? (char)(hex[i] | 0x20) : hex[i];
        return 0;
}

/* Only ever shown, never compared: a long one is cut. */
static int read_issuer(const X509 *x, PeerCertificate *c)
{
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        if (!bio || X509_NAME_print_ex(bio, X509_get_issuer_name(x), 0, XN_FLAG_RFC2253) < 0)
                return -EBADMSG;
        char *text;
        long len = BIO_get_mem_data(bio, &text);
        size_t keep = MIN((size_t)MAX(len, 0L), sizeof(c->issuer) - 1);
        memcpy(c->issuer, text, keep);
        return 0;
}

int peer_certificate_read(const X509 *x, PeerCertificate *ret)
{
        PeerCertificate c = { 0 };
        if (read_common_name(x, &c) < 0 || read_alt_names(x, &c) < 0 || read_serial(x, &c) < 0 ||
            read_issuer(x, &c) < 0 || ossl_spki_sha256(x, c.spki_sha256) < 0) {
                ERR_clear_error();
                return -EBADMSG;
        }
        c.not_before = ossl_time(X509_get0_notBefore(x));
        c.not_after = ossl_time(X509_get0_notAfter(x));
        *ret = c;
        return 0;
}

/* ---- chains ---- */

/* Lower case, one space for many, in place. */
static size_t fold(char *text, size_t len)
{
        size_t n = 0;
        for (size_t i = 0; i < len; i++) {
                if (text[i] == ' ' && n > 0 && text[n - 1] == ' ')
                        continue;
                text[n++] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
        }
        return n;
}

int x509_name_sha256(const X509_NAME *name, uint8_t ret[static 32])
{
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        if (!bio || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) < 0)
                return -EBADMSG;
        char *text;
        long len = BIO_get_mem_data(bio, &text);
        size_t n = len > 0 ? fold(text, (size_t)len) : 0;
        return crypto_sha256(BYTES(text, n), ret) < 0 ? -EBADMSG : 0;
}

int x509_certificate_id(const uint8_t issuer[static 32], const ASN1_INTEGER *serial,
                        uint8_t ret[static PEER_ID_SIZE])
{
        uint8_t in[32 + 1 + SERIAL_MAX], digest[CRYPTO_SHA256_SIZE];
        int len = ASN1_STRING_length(serial);
        if (len < 0 || len > SERIAL_MAX)
                return -EBADMSG;
        memcpy(in, issuer, 32);
        in[32] = ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER;
        if (len > 0)
                memcpy(in + 33, ASN1_STRING_get0_data(serial), (size_t)len);
        if (crypto_sha256(BYTES(in, 33 + (size_t)len), digest) < 0)
                return -EBADMSG;
        memcpy(ret, digest, PEER_ID_SIZE);
        return 0;
}

int x509_authority_id(const X509 *x, uint8_t ret[static PEER_ID_SIZE])
{
        uint8_t in[2 * CRYPTO_SHA256_SIZE], digest[CRYPTO_SHA256_SIZE];
        if (x509_name_sha256(X509_get_subject_name(x), in) < 0 ||
            ossl_spki_sha256(x, in + CRYPTO_SHA256_SIZE) < 0 ||
            crypto_sha256(BYTES(in, sizeof(in)), digest) < 0)
                return -EBADMSG;
        memcpy(ret, digest, PEER_ID_SIZE);
        return 0;
}

/* The decoded key and what was made of it for the verification are half of a certificate's memory.
 */
void x509_empty(X509 *x)
{
        _cleanup_(X509_NAME_freep) X509_NAME *nobody = X509_NAME_new();
        EVP_PKEY *key = X509_get0_pubkey(x);
        if (key)
                ossl_empty_key(key);
        while (X509_get_ext_count(x) > 0)
                X509_EXTENSION_free(X509_delete_ext(x, 0));
        if (nobody) {
                X509_set_subject_name(x, nobody);
                X509_set_issuer_name(x, nobody);
        }
        ERR_clear_error();
}

static int read_link(const X509 *x, PeerLink *ret)
{
        uint8_t issuer[CRYPTO_SHA256_SIZE];
        if (x509_name_sha256(X509_get_issuer_name(x), issuer) < 0 ||
            x509_certificate_id(issuer, X509_get0_serialNumber(x), ret->certificate) < 0)
                return -EBADMSG;
        return x509_authority_id(x, ret->authority);
}

int peer_chain_read(const STACK_OF(X509) * chain, PeerChain *ret)
{
        PeerChain c = { .not_after = USEC_INFINITY };
        int n = chain ? sk_X509_num(chain) : 0;
        if (n < 1 || n > PEER_CHAIN_MAX)
                return -EBADMSG;
        for (int i = 0; i < n; i++) {
                const X509 *x = sk_X509_value(chain, i);
                if (read_link(x, &c.links[c.n++]) < 0) {
                        ERR_clear_error();
                        return -EBADMSG;
                }
                c.not_after = MIN(c.not_after, ossl_time(X509_get0_notAfter(x)));
        }
        *ret = c;
        return 0;
}

/* ---- authorities ---- */

static int read_authorities(BIO *in, const char *path, STACK_OF(X509) * all, Reason *reason)
{
        ERR_clear_error();
        for (;;) {
                _cleanup_(X509_freep) X509 *x =
                        PEM_read_bio_X509(in, NULL, ossl_no_pass_phrase, NULL);
                if (!x)
                        break;
                if (X509_check_ca(x) < 1)
                        return reason_set(reason, -EBADMSG,
                                          "%s: certificate %d in it is not that of a CA", path,
                                          sk_X509_num(all) + 1);
                if (sk_X509_push(all, x) <= 0)
                        return reason_set(reason, -ENOMEM, "Out of memory");
                TAKE_PTR(x);
        }
        /* Anything but the end of the file is a certificate that cannot be read. */
        bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
        ERR_clear_error();
        if (sk_X509_num(all) > 0 && at_end)
                return 0;
        return reason_set(reason, -EBADMSG, "%s: %s in PEM", path,
                          sk_X509_num(all) > 0 ? "not all of it is certificates"
                                               : "there is no certificate");
}

int authorities_load(const char *path, Reason *reason, STACK_OF(X509) * *ret)
{
        _cleanup_free_ uint8_t *pem = NULL;
        size_t len;
        int r = file_read(path, AUTHORITIES_SIZE_MAX, &pem, &len);
        if (r < 0)
                return reason_set(reason, r, "%s: %s", path, strerror(-r));
        _cleanup_(BIO_freep) BIO *in = BIO_new_mem_buf(pem, (int)len);
        _cleanup_(x509_stack_freep) STACK_OF(X509) *all = sk_X509_new_null();
        if (!in || !all)
                return reason_set(reason, -ENOMEM, "Out of memory");
        r = read_authorities(in, path, all, reason);
        if (r == 0)
                *ret = TAKE_PTR(all);
        return r;
}

int authorities_check(const char *path, Reason *reason)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *all = NULL;
        return authorities_load(path, reason, &all);
}
