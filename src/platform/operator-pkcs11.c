/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/operator-pkcs11.h"

#include <errno.h>
#include <openssl/err.h>
#include <p11-kit/p11-kit.h>
#include <string.h>
#include <strings.h>

#include "platform/operator-token.h"
#include "platform/ossl.h"

#define CERTIFICATE_MAX 16384
/* namedCurve secp256r1, 1.2.840.10045.3.1.7 (RFC 5480 section 2.1.1.1) */
static const uint8_t p256_parameters[] = { 0x06, 0x08, 0x2a, 0x86, 0x48,
                                           0xce, 0x3d, 0x03, 0x01, 0x07 };
/* CKA_EC_POINT is the point in a DER OCTET STRING (PKCS#11 v2.40 current mechanisms, 2.3.3). */
static const uint8_t point_header[] = { 0x04, P256_POINT_SIZE };

bool pkcs11_is_uri(const char *source)
{
        return strncasecmp(source, "pkcs11:", 7) ==
               0; /* RFC 3986 section 3.1: case does not count */
}

/* Into `ret`; *len is what it holds, and then what the attribute has. The token is not believed. */
static CK_RV get(OperatorToken *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *ret,
                 size_t *len)
{
        CK_ATTRIBUTE a = { type, ret, *len };
        CK_RV rv = operator_token_module(t)->C_GetAttributeValue(operator_token_session(t), object,
                                                                 &a, 1);
        if (rv == CKR_OK && a.ulValueLen > *len)
                rv = CKR_BUFFER_TOO_SMALL;
        if (rv == CKR_OK)
                *len = a.ulValueLen;
        return rv;
}

static int require_p256(OperatorToken *t, CK_OBJECT_HANDLE key, Reason *reason)
{
        CK_KEY_TYPE type;
        uint8_t parameters[64];
        size_t type_len = sizeof(type), len = sizeof(parameters);
        if (get(t, key, CKA_KEY_TYPE, &type, &type_len) != CKR_OK || type_len != sizeof(type) ||
            type != CKK_EC || get(t, key, CKA_EC_PARAMS, parameters, &len) != CKR_OK ||
            !bytes_equal(BYTES(parameters, len), BYTES(p256_parameters, sizeof(p256_parameters))))
                return reason_set(reason, -EBADMSG, "%s is no P-256 key", operator_token_uri(t));
        return 0;
}

static int point_of_key(OperatorToken *t, CK_OBJECT_HANDLE key, uint8_t ret[static P256_POINT_SIZE],
                        Reason *reason)
{
        uint8_t value[sizeof(point_header) + P256_POINT_SIZE];
        size_t len = sizeof(value);
        int r = require_p256(t, key, reason);
        if (r < 0)
                return r;
        if (get(t, key, CKA_EC_POINT, value, &len) != CKR_OK || len != sizeof(value) ||
            memcmp(value, point_header, sizeof(point_header)) != 0)
                return reason_set(reason, -EBADMSG, "%s has no public point in its known form",
                                  operator_token_uri(t));
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *on_curve =
                p256_from_point(value + sizeof(point_header));
        if (!on_curve)
                return reason_set(reason, -EBADMSG, "%s is not on its curve",
                                  operator_token_uri(t));
        memcpy(ret, value + sizeof(point_header), P256_POINT_SIZE);
        return 0;
}

static int point_of_certificate(OperatorToken *t, CK_OBJECT_HANDLE certificate,
                                uint8_t ret[static P256_POINT_SIZE], Reason *reason)
{
        uint8_t der[CERTIFICATE_MAX];
        const uint8_t *p = der;
        size_t len = sizeof(der);
        if (get(t, certificate, CKA_VALUE, der, &len) != CKR_OK)
                len = 0;
        _cleanup_(X509_freep) X509 *x = len > 0 ? d2i_X509(NULL, &p, (long)len) : NULL;
        EVP_PKEY *key = x ? X509_get0_pubkey(x) : NULL;
        int r = key ? p256_to_point(key, ret) : -EBADMSG;
        ERR_clear_error();
        return r < 0 ? reason_set(reason, r, "The certificate %s is not for a P-256 key",
                                  operator_token_uri(t))
                     : 0;
}

/* 1 and the point, 0 when there is neither public key nor certificate. */
static int find_point(OperatorToken *t, uint8_t ret[static P256_POINT_SIZE], Reason *reason)
{
        CK_OBJECT_HANDLE object;
        int found = operator_token_find(t, CKO_PUBLIC_KEY, &object, reason);
        int r = found == 1 ? point_of_key(t, object, ret, reason) : 0;
        if (found == 0) {
                found = operator_token_find(t, CKO_CERTIFICATE, &object, reason);
                r = found == 1 ? point_of_certificate(t, object, ret, reason) : 0;
        }
        return r < 0 ? r : found;
}

/* Most tokens show public objects to everybody; where nothing is seen, a PIN may help. */
int pkcs11_load_point(const char *uri, uint8_t ret[static P256_POINT_SIZE], Reason *reason)
{
        _cleanup_(operator_token_freep) OperatorToken *t = NULL;
        int r = operator_token_open(uri, &t, reason);
        if (r < 0)
                return r;
        int found = find_point(t, ret, reason);
        if (found == 0)
                found = operator_token_login(t, reason);
        if (found == 0)
                found = find_point(t, ret, reason);
        if (found == 0)
                return reason_set(reason, -ENOENT,
                                  "The token \"%s\" has no public key and no certificate for %s",
                                  operator_token_label(t), operator_token_uri(t));
        return found < 0 ? found : 0;
}

static int find_private(OperatorToken *t, CK_OBJECT_HANDLE *ret, Reason *reason)
{
        int r = operator_token_login(t, reason);
        if (r == 0)
                r = operator_token_find(t, CKO_PRIVATE_KEY, ret, reason);
        if (r == 0)
                return reason_set(reason, -ENOENT, "The token \"%s\" has no private key for %s",
                                  operator_token_label(t), operator_token_uri(t));
        return r < 0 ? r : require_p256(t, *ret, reason);
}

static bool always_authenticates(OperatorToken *t, CK_OBJECT_HANDLE key)
{
        CK_BBOOL always = CK_FALSE;
        size_t len = sizeof(always);
        return get(t, key, CKA_ALWAYS_AUTHENTICATE, &always, &len) == CKR_OK &&
               len == sizeof(always) && always;
}

static int cannot_sign(const OperatorToken *t, CK_RV rv, Reason *reason)
{
        return reason_set(reason, -EIO, "The token \"%s\" does not sign with %s: %s",
                          operator_token_label(t), operator_token_uri(t), p11_kit_strerror(rv));
}

/* ECDSA as PKCS#11 has it gives r || s (v2.40 current mechanisms, 2.3.1). */
static int sign(OperatorToken *t, CK_OBJECT_HANDLE key, Bytes digest,
                uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        CK_FUNCTION_LIST *module = operator_token_module(t);
        CK_SESSION_HANDLE session = operator_token_session(t);
        CK_MECHANISM mechanism = { CKM_ECDSA, NULL, 0 };
        CK_ULONG len = P256_SIGNATURE_SIZE;
        bool again = always_authenticates(t, key);
        CK_RV rv = module->C_SignInit(session, &mechanism, key);
        if (rv != CKR_OK)
                return cannot_sign(t, rv, reason);
        int r = again ? operator_token_login_again(t, reason) : 0;
        if (r < 0)
                return r;
        rv = module->C_Sign(session, (CK_BYTE *)digest.data, digest.len, ret, &len);
        if (rv == CKR_OK && len != P256_SIGNATURE_SIZE)
                rv = CKR_DEVICE_ERROR;
        return rv != CKR_OK ? cannot_sign(t, rv, reason) : 0;
}

int pkcs11_sign(const char *uri, const uint8_t digest[static OPERATOR_DIGEST_SIZE],
                uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        _cleanup_(operator_token_freep) OperatorToken *t = NULL;
        CK_OBJECT_HANDLE key;
        uint8_t signature[P256_SIGNATURE_SIZE];
        int r = operator_token_open(uri, &t, reason);
        if (r == 0)
                r = find_private(t, &key, reason);
        if (r == 0)
                r = sign(t, key, BYTES(digest, OPERATOR_DIGEST_SIZE), signature, reason);
        if (r == 0)
                memcpy(ret, signature, sizeof(signature));
        return r;
}
