/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/ossl.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "base/log.h"
#include "platform/crypto.h"

/* Each TLS handshake has its key of the key exchange here. Pages that are not used cost nothing. */
#define SECURE_HEAP    ((size_t)256 * 1024)
#define SECURE_MINIMUM ((size_t)32)

void ossl_secure_heap(void)
{
        if (CRYPTO_secure_malloc_initialized())
                return;
        if (CRYPTO_secure_malloc_init(SECURE_HEAP, SECURE_MINIMUM) != 1)
                log_warning("Memory for TLS keys cannot be locked: see LimitMEMLOCK=.");
}

/* A key is set up anew with a type; what it had is freed first. */
void ossl_empty_key(EVP_PKEY *key)
{
        EVP_PKEY_set_type(key, EVP_PKEY_EC);
}

const char *ossl_error(void)
{
        unsigned long code = ERR_get_error();
        ERR_clear_error();
        const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
                             : code != 0            ? ERR_reason_error_string(code)
                                                    : NULL;
        return reason ? reason : "unknown reason";
}

int ossl_no_pass_phrase(char *buf, int size, int for_writing, void *userdata)
{
        return -1;
}

usec_t ossl_time(const ASN1_TIME *t)
{
        struct tm tm;
        if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
                return USEC_INFINITY;
        time_t seconds = timegm(&tm);
        return seconds < 0 ? 0 : (usec_t)seconds * USEC_PER_SEC;
}

static usec_t passed;

void ossl_time_passed(usec_t realtime)
{
        if (realtime != USEC_INFINITY)
                passed = MAX(passed, realtime);
}

void ossl_verify_time(X509_VERIFY_PARAM *param)
{
        if (now_realtime() < passed)
                X509_VERIFY_PARAM_set_time(param, (time_t)(passed / USEC_PER_SEC));
}

int ossl_spki_sha256(const X509 *x, uint8_t ret[static 32])
{
        _cleanup_openssl_ uint8_t *der = NULL;
        int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
        if (len <= 0)
                return -EIO;
        return crypto_sha256(BYTES(der, (size_t)len), ret);
}

const char *ossl_verify_word(long code)
{
        switch (code) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
                return "expired";
        case X509_V_ERR_CERT_NOT_YET_VALID:
                return "not-yet-valid";
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_CERT_UNTRUSTED:
                return "unknown-ca";
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
                return "bad-signature";
        case X509_V_ERR_CERT_CHAIN_TOO_LONG:
                return "chain-too-long";
        case X509_V_ERR_INVALID_PURPOSE:
                return "wrong-purpose";
        case X509_V_ERR_CERT_REVOKED:
                return "revoked";
        default:
                return "bad-certificate";
        }
}
