/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/ossl.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "platform/crypto.h"

const char *ossl_error(void)
{
        unsigned long code = ERR_get_error();
        ERR_clear_error();
        const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
                             : code != 0            ? ERR_reason_error_string(code)
                                                    : NULL;
        return reason ? reason : "unknown reason";
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
        default:
                return "bad-certificate";
        }
}
