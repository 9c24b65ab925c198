/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/tpm-provider.h"

#include <errno.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/proverr.h>
#include <openssl/provider.h>

#include "base/log.h"
#include "platform/ossl.h"

#define PROVIDER_NAME "sallyport"
#define PROPERTIES    "provider=" PROVIDER_NAME
#define PARAM_HOLDER  "sallyport-holder" /* a Holder: where the private half is */
#define GROUP         "prime256v1"
#define DIGEST_SIZE   32

typedef struct Holder {
        TpmProviderSign sign;
        void *userdata;
} Holder;

typedef struct Key {
        Holder holder;
        uint8_t point[P256_POINT_SIZE];
        bool has_public, has_private;
} Key;

typedef struct Signature {
        Key *key;
        EVP_MD_CTX *digest;
} Signature;

/* ---- keys ---- */

static void *key_new(void *provider)
{
        return OPENSSL_zalloc(sizeof(Key));
}

static void key_free(void *key)
{
        OPENSSL_free(key);
}

static int key_has(const void *key, int selection)
{
        const Key *k = key;
        if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY && !k->has_private)
                return 0;
        return !(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) || k->has_public;
}

static int key_match(const void *a, const void *b, int selection)
{
        const Key *x = a, *y = b;
        return memcmp(x->point, y->point, sizeof(x->point)) == 0;
}

static int key_import(void *key, int selection, const OSSL_PARAM params[])
{
        Key *k = key;
        const OSSL_PARAM *point = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PUB_KEY);
        const OSSL_PARAM *holder = OSSL_PARAM_locate_const(params, PARAM_HOLDER);
        if (!point || point->data_size != sizeof(k->point) || !holder ||
            holder->data_size != sizeof(k->holder))
                return 0; /* a key with its private half in memory is not for this provider */
        memcpy(k->point, point->data, sizeof(k->point));
        memcpy(&k->holder, holder->data, sizeof(k->holder));
        k->has_public = k->has_private = true;
        return 1;
}

static const OSSL_PARAM *key_import_types(int selection)
{
        static const OSSL_PARAM types[] = {
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                OSSL_PARAM_octet_string(PARAM_HOLDER, NULL, 0),
                OSSL_PARAM_END,
        };
        return types;
}

/* The public half goes wherever it is asked for; of the private half there is nothing to give. */
static int key_export(void *key, int selection, OSSL_CALLBACK *callback, void *userdata)
{
        Key *k = key;
        if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)
                return 0;
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)GROUP, 0),
                OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, k->point,
                                                  sizeof(k->point)),
                OSSL_PARAM_construct_end(),
        };
        return callback(params, userdata);
}

static const OSSL_PARAM *key_export_types(int selection)
{
        static const OSSL_PARAM types[] = {
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                OSSL_PARAM_END,
        };
        return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : types;
}

static bool set_int(OSSL_PARAM params[], const char *name, int value)
{
        OSSL_PARAM *p = OSSL_PARAM_locate(params, name);
        return !p || OSSL_PARAM_set_int(p, value);
}

static bool set_text(OSSL_PARAM params[], const char *name, const char *value)
{
        OSSL_PARAM *p = OSSL_PARAM_locate(params, name);
        return !p || OSSL_PARAM_set_utf8_string(p, value);
}

static bool set_bytes(OSSL_PARAM params[], const char *name, const uint8_t *value, size_t len)
{
        OSSL_PARAM *p = OSSL_PARAM_locate(params, name);
        return !p || OSSL_PARAM_set_octet_string(p, value, len);
}

static bool set_number(OSSL_PARAM params[], const char *name, const uint8_t value[static 32])
{
        OSSL_PARAM *p = OSSL_PARAM_locate(params, name);
        if (!p)
                return true;
        _cleanup_(BN_freep) BIGNUM *n = BN_bin2bn(value, 32, NULL);
        return n && OSSL_PARAM_set_BN(p, n);
}

/* Point format and field type are what TLS 1.2 looks at before it offers an ECDSA cipher. */
static int key_get_params(void *key, OSSL_PARAM params[])
{
        const Key *k = key;
        return set_int(params, OSSL_PKEY_PARAM_BITS, 256) &&
               set_int(params, OSSL_PKEY_PARAM_SECURITY_BITS, 128) &&
               set_int(params, OSSL_PKEY_PARAM_MAX_SIZE, P256_DER_MAX) &&
               set_text(params, OSSL_PKEY_PARAM_GROUP_NAME, GROUP) &&
               set_text(params, OSSL_PKEY_PARAM_DEFAULT_DIGEST, "SHA256") &&
               set_text(params, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") &&
               set_text(params, OSSL_PKEY_PARAM_EC_FIELD_TYPE, "prime-field") &&
               set_bytes(params, OSSL_PKEY_PARAM_PUB_KEY, k->point, sizeof(k->point)) &&
               set_bytes(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, k->point, sizeof(k->point)) &&
               set_number(params, OSSL_PKEY_PARAM_EC_PUB_X, k->point + 1) &&
               set_number(params, OSSL_PKEY_PARAM_EC_PUB_Y, k->point + 33);
}

static const OSSL_PARAM *key_gettable_params(void *provider)
{
        static const OSSL_PARAM types[] = {
                OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
                OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
                OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_FIELD_TYPE, NULL, 0),
                OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
                OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_X, NULL, 0),
                OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_Y, NULL, 0),
                OSSL_PARAM_END,
        };
        return types;
}

static const char *key_operation_name(int operation)
{
        return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

/* ---- signatures ---- */

static void *signature_new(void *provider, const char *properties)
{
        return OPENSSL_zalloc(sizeof(Signature));
}

static void signature_free(void *ctx)
{
        Signature *s = ctx;
        EVP_MD_CTX_free(s->digest);
        OPENSSL_free(s);
}

static void *signature_dup(void *ctx)
{
        const Signature *s = ctx;
        Signature *d = OPENSSL_zalloc(sizeof(*d));
        if (!d)
                return NULL;
        d->key = s->key;
        if (!s->digest)
                return d;
        d->digest = EVP_MD_CTX_new();
        if (!d->digest || EVP_MD_CTX_copy_ex(d->digest, s->digest) != 1) {
                signature_free(d);
                return NULL;
        }
        return d;
}

static int sign_digest(Signature *s, uint8_t *sig, size_t *sig_len, size_t size,
                       const uint8_t digest[static DIGEST_SIZE])
{
        uint8_t raw[P256_SIGNATURE_SIZE], der[P256_DER_MAX];
        size_t len;
        Reason reason;
        int r = s->key->holder.sign(s->key->holder.userdata, digest, raw, &reason);
        /* While this fiber waited, others may have left their errors in the thread's queue; a
         * handshake that goes on here would take them for its own. */
        ERR_clear_error();
        if (r < 0) {
                log_message_errno(LOG_ERR, r, NULL, "Cannot sign with the identity: %s",
                                  reason.text);
                ERR_raise(ERR_LIB_PROV, PROV_R_FAILED_TO_SIGN);
                return 0;
        }
        if (p256_signature_to_der(raw, der, &len) < 0 || len > size)
                return 0;
        memcpy(sig, der, len);
        *sig_len = len;
        return 1;
}

static int signature_sign_init(void *ctx, void *key, const OSSL_PARAM params[])
{
        Signature *s = ctx;
        if (key)
                s->key = key;
        return s->key && s->key->has_private;
}

static int signature_sign(void *ctx, uint8_t *sig, size_t *sig_len, size_t size,
                          const uint8_t *digest, size_t digest_len)
{
        if (!sig) {
                *sig_len = P256_DER_MAX;
                return 1;
        }
        return digest_len == DIGEST_SIZE && sign_digest(ctx, sig, sig_len, size, digest);
}

/* The key's scheme is fixed to SHA-256 in the TPM: any other digest is refused here and now. */
static int signature_digest_init(void *ctx, const char *name, void *key, const OSSL_PARAM params[])
{
        Signature *s = ctx;
        if (!signature_sign_init(ctx, key, params) ||
            (name && *name && !EVP_MD_is_a(EVP_sha256(), name)))
                return 0;
        EVP_MD_CTX_free(s->digest);
        s->digest = EVP_MD_CTX_new();
        return s->digest && EVP_DigestInit_ex(s->digest, EVP_sha256(), NULL) == 1;
}

static int signature_digest_update(void *ctx, const uint8_t *data, size_t len)
{
        Signature *s = ctx;
        return s->digest && EVP_DigestUpdate(s->digest, data, len);
}

static int signature_digest_final(void *ctx, uint8_t *sig, size_t *sig_len, size_t size)
{
        Signature *s = ctx;
        uint8_t digest[DIGEST_SIZE];
        if (!sig) {
                *sig_len = P256_DER_MAX;
                return 1;
        }
        return s->digest && EVP_DigestFinal_ex(s->digest, digest, NULL) == 1 &&
               sign_digest(s, sig, sig_len, size, digest);
}

static int signature_digest_sign(void *ctx, uint8_t *sig, size_t *sig_len, size_t size,
                                 const uint8_t *data, size_t len)
{
        if (sig && !signature_digest_update(ctx, data, len))
                return 0;
        return signature_digest_final(ctx, sig, sig_len, size);
}

/* X.509 asks how to name the algorithm: SEQUENCE { ecdsa-with-SHA256 }, RFC 5758 section 3.2. */
static int signature_get_params(void *ctx, OSSL_PARAM params[])
{
        static const uint8_t algorithm[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                             0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };
        return set_bytes(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID, algorithm, sizeof(algorithm)) &&
               set_text(params, OSSL_SIGNATURE_PARAM_DIGEST, "SHA256");
}

static const OSSL_PARAM *signature_gettable_params(void *ctx, void *provider)
{
        static const OSSL_PARAM types[] = {
                OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
                OSSL_PARAM_END,
        };
        return types;
}

/* ---- the provider ---- */

#define ENTRY(id, function)                                                                        \
        {                                                                                          \
                id, (void (*)(void))(function)                                                     \
        }

static const OSSL_DISPATCH key_functions[] = {
        ENTRY(OSSL_FUNC_KEYMGMT_NEW, key_new),
        ENTRY(OSSL_FUNC_KEYMGMT_FREE, key_free),
        ENTRY(OSSL_FUNC_KEYMGMT_HAS, key_has),
        ENTRY(OSSL_FUNC_KEYMGMT_MATCH, key_match),
        ENTRY(OSSL_FUNC_KEYMGMT_IMPORT, key_import),
        ENTRY(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_import_types),
        ENTRY(OSSL_FUNC_KEYMGMT_EXPORT, key_export),
        ENTRY(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_export_types),
        ENTRY(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),
        ENTRY(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable_params),
        ENTRY(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, key_operation_name),
        { 0, NULL },
};

static const OSSL_DISPATCH signature_functions[] = {
        ENTRY(OSSL_FUNC_SIGNATURE_NEWCTX, signature_new),
        ENTRY(OSSL_FUNC_SIGNATURE_FREECTX, signature_free),
        ENTRY(OSSL_FUNC_SIGNATURE_DUPCTX, signature_dup),
        ENTRY(OSSL_FUNC_SIGNATURE_SIGN_INIT, signature_sign_init),
        ENTRY(OSSL_FUNC_SIGNATURE_SIGN, signature_sign),
        ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signature_digest_init),
        ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, signature_digest_update),
        ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, signature_digest_final),
        ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signature_digest_sign),
        ENTRY(OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, signature_get_params),
        ENTRY(OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, signature_gettable_params),
        { 0, NULL },
};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache)
{
        static const OSSL_ALGORITHM keys[] = {
                { "EC:id-ecPublicKey:1.2.840.10045.2.1", PROPERTIES, key_functions, NULL },
                { NULL, NULL, NULL, NULL },
        };
        static const OSSL_ALGORITHM signatures[] = {
                { "ECDSA", PROPERTIES, signature_functions, NULL },
                { NULL, NULL, NULL, NULL },
        };
        *no_cache = 0;
        if (operation == OSSL_OP_KEYMGMT)
                return keys;
        return operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **out, void **context)
{
        static const OSSL_DISPATCH functions[] = {
                ENTRY(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query),
                { 0, NULL },
        };
        static char self;
        *out = functions;
        *context = &self;
        return 1;
}

/* In a library context of its own: a second provider that knows "EC" makes OpenSSL try twice as
 * much for every peer's key that it decodes, and it decodes one in each handshake. Keys carry their
 * provider with them; nobody has to look for it. What else is done with such a key, like writing
 * its public half, is the default provider's. */
static OSSL_LIB_CTX *library(void)
{
        /* Held for the life of the process; volatile, or they would be optimised away and look
         * like a leak. */
        static OSSL_LIB_CTX *volatile ours;
        static OSSL_PROVIDER *volatile standard, *volatile own;
        static bool loaded;
        if (loaded)
                return ours;
        if (!ours && !(ours = OSSL_LIB_CTX_new()))
                return NULL;
        if (OSSL_PROVIDER_add_builtin(ours, PROVIDER_NAME, provider_init) != 1)
                return NULL;
        standard = OSSL_PROVIDER_load(ours, "default");
        own = OSSL_PROVIDER_load(ours, PROVIDER_NAME);
        loaded = standard && own && EVP_set_default_properties(ours, "?provider=default") == 1;
        return loaded ? ours : NULL;
}

int tpm_provider_key(const uint8_t point[static P256_POINT_SIZE], TpmProviderSign sign,
                     void *userdata, EVP_PKEY **ret, Reason *reason)
{
        Holder holder = { .sign = sign, .userdata = userdata };
        uint8_t copy[P256_POINT_SIZE];
        memcpy(copy, point, sizeof(copy));
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)GROUP, 0),
                OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof(copy)),
                OSSL_PARAM_construct_octet_string(PARAM_HOLDER, &holder, sizeof(holder)),
                OSSL_PARAM_construct_end(),
        };
        EVP_PKEY *key = NULL;
        OSSL_LIB_CTX *in = library();
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx =
                in ? EVP_PKEY_CTX_new_from_name(in, "EC", PROPERTIES) : NULL;
        if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
            EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
                return reason_set(reason, -EIO, "Cannot hand the TPM's key to OpenSSL: %s",
                                  ossl_error());
        *ret = key;
        return 0;
}
