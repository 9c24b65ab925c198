/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/x509.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "platform/file.h"
#include "platform/ossl.h"

#define AUTHORITIES_SIZE_MAX ((size_t)4 << 20)

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

int authorities_check(const char *path, Reason *reason)
{
        _cleanup_free_ uint8_t *pem = NULL;
        size_t len, n = 0;
        int r = file_read(path, AUTHORITIES_SIZE_MAX, &pem, &len);
        if (r < 0)
                return reason_set(reason, r, "%s: %s", path, strerror(-r));
        _cleanup_(BIO_freep) BIO *in = BIO_new_mem_buf(pem, (int)len);
        if (!in)
                return reason_set(reason, -ENOMEM, "Out of memory");
        ERR_clear_error();
        for (;; n++) {
                _cleanup_(X509_freep) X509 *x =
                        PEM_read_bio_X509(in, NULL, ossl_no_pass_phrase, NULL);
                if (!x)
                        break;
                if (X509_check_ca(x) < 1)
                        return reason_set(reason, -EBADMSG,
                                          "%s: certificate %zu in it is not that of a CA", path,
                                          n + 1);
        }
        /* Anything but the end of the file is a certificate that cannot be read. */
        bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
        ERR_clear_error();
        if (n > 0 && at_end)
                return 0;
        return reason_set(reason, -EBADMSG, "%s: %s in PEM", path,
                          n > 0 ? "not all of it is certificates" : "there is no certificate");
}
