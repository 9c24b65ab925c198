/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The certificate of the identity: read, checked, put into use. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "platform/file-waiting.h"
#include "platform/file.h"
#include "platform/identity-internal.h"
#include "platform/owner.h"

#define FILE_MAX  ((size_t)128 * 1024)
#define CHAIN_MAX 10

int identity_parse_certificates(Bytes pem, const char *name, int max, STACK_OF(X509) * *ret,
                                Reason *reason)
{
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
        _cleanup_(x509_stack_freep) STACK_OF(X509) *list = sk_X509_new_null();
        X509 *x;
        if (!bio || !list)
                return reason_set(reason, -ENOMEM, "Out of memory");
        while ((x = PEM_read_bio_X509(bio, NULL, ossl_no_pass_phrase, NULL))) {
                if (sk_X509_push(list, x) == 0) {
                        X509_free(x);
                        return reason_set(reason, -ENOMEM, "Out of memory");
                }
                if (sk_X509_num(list) > max)
                        return reason_set(reason, -EBADMSG, "%s holds too many certificates", name);
        }
        bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
        ERR_clear_error();
        if (!at_end || sk_X509_num(list) == 0)
                return reason_set(reason, -EBADMSG, "%s holds no certificate in PEM", name);
        *ret = TAKE_PTR(list);
        return 0;
}

/* All certificates of a PEM file, in order. */
int identity_read_certificates(const char *path, STACK_OF(X509) * *ret, Reason *reason)
{
        _cleanup_free_ uint8_t *pem = NULL;
        size_t len;
        int r = file_read(path, FILE_MAX, &pem, &len);
        if (r < 0)
                return reason_set(reason, r, "Cannot read %s: %s", path, strerror(-r));
        return identity_parse_certificates(BYTES(pem, len), path, CHAIN_MAX, ret, reason);
}

int identity_check_key(const Identity *id, const X509 *leaf, const char *path, Reason *reason)
{
        uint8_t point[P256_POINT_SIZE];
        const EVP_PKEY *key = X509_get0_pubkey(leaf);
        if (!key || p256_to_point(key, point) < 0 || memcmp(point, id->point, sizeof(point)) != 0) {
                ERR_clear_error();
                return reason_set(reason, -EBADMSG,
                                  "The first certificate in %s is not for the key of this identity",
                                  path);
        }
        return 0;
}

/* Without anchors of its own the file has to bring a self-signed one. */
static int collect_anchors(STACK_OF(X509) * list, X509_STORE *store)
{
        int n = 0;
        for (int i = 0; i < sk_X509_num(list); i++) {
                X509 *x = sk_X509_value(list, i);
                if (X509_self_signed(x, 1) == 1 && X509_STORE_add_cert(store, x) == 1)
                        n++;
        }
        ERR_clear_error();
        return n;
}

static int make_store(STACK_OF(X509) * list, const char *ca_path, X509_STORE **ret, Reason *reason)
{
        _cleanup_(X509_STORE_freep) X509_STORE *store = X509_STORE_new();
        if (!store)
                return reason_set(reason, -ENOMEM, "Out of memory");
        if (ca_path) {
                _cleanup_(x509_stack_freep) STACK_OF(X509) *anchors = NULL;
                int r = identity_read_certificates(ca_path, &anchors, reason);
                if (r < 0)
                        return r;
                for (int i = 0; i < sk_X509_num(anchors); i++)
                        X509_STORE_add_cert(store, sk_X509_value(anchors, i));
                X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
        } else if (collect_anchors(list, store) == 0) {
                return reason_set(reason, -EBADMSG,
                                  "The file holds no self-signed CA certificate to verify the "
                                  "chain by: name one with --ca");
        }
        *ret = TAKE_PTR(store);
        return 0;
}

/* What is written has to be read again after a restart. */
static int check_size(STACK_OF(X509) * chain, Reason *reason)
{
        size_t size = 0;
        for (int i = 0; i < sk_X509_num(chain); i++)
                size += (size_t)MAX(i2d_X509(sk_X509_value(chain, i), NULL), 0);
        if (sk_X509_num(chain) > CHAIN_MAX)
                return reason_set(reason, -EBADMSG, "The certificate chain is longer than %d",
                                  CHAIN_MAX);
        if (size > FILE_MAX / 2) /* PEM makes three bytes four, and a bit more */
                return reason_set(reason, -EBADMSG, "The certificate chain has more than %zu bytes",
                                  FILE_MAX / 2);
        return 0;
}

/* The chain to show to peers: from the leaf up, without the self-signed anchor. */
int identity_verify_chain(STACK_OF(X509) * list, const char *ca_path, STACK_OF(X509) * *ret,
                          Reason *reason)
{
        _cleanup_(X509_STORE_freep) X509_STORE *store = NULL;
        int r = make_store(list, ca_path, &store, reason);
        if (r < 0)
                return r;
        _cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
        if (!ctx || X509_STORE_CTX_init(ctx, store, sk_X509_value(list, 0), list) != 1)
                return reason_set(reason, -ENOMEM, "Out of memory");
        int good = X509_verify_cert(ctx);
        ERR_clear_error();
        if (good != 1)
                return reason_set(reason, -EBADMSG,
                                  "The certificate chain does not verify: %s (depth %d)",
                                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)),
                                  X509_STORE_CTX_get_error_depth(ctx));
        _cleanup_(x509_stack_freep) STACK_OF(X509) *chain = X509_STORE_CTX_get1_chain(ctx);
        int last = sk_X509_num(chain) - 1;
        if (last > 0 && X509_self_signed(sk_X509_value(chain, last), 0) == 1)
                X509_free(sk_X509_pop(chain));
        r = check_size(chain, reason);
        if (r == 0)
                *ret = TAKE_PTR(chain);
        return r;
}

int identity_write_chain(const Identity *id, const char *name, const char *preamble,
                         STACK_OF(X509) * chain, Reason *reason)
{
        _cleanup_owner_ Owner owner = { 0 };
        _cleanup_free_ char *path = identity_path(id->directory, name);
        int r = path ? owner_begin(id->state_directory, &owner, reason)
                     : reason_set(reason, -ENOMEM, "Out of memory");
        if (r < 0)
                return r;
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        if (bio && preamble)
                BIO_puts(bio, preamble);
        for (int i = 0; bio && i < sk_X509_num(chain); i++)
                if (PEM_write_bio_X509(bio, sk_X509_value(chain, i)) != 1)
                        return reason_set(reason, -ENOMEM, "Out of memory");
        char *text = NULL;
        long len = bio ? BIO_get_mem_data(bio, &text) : 0;
        r = len > 0 ? file_write_waiting(id->loop, path, BYTES(text, (size_t)len), 0600) : -ENOMEM;
        if (r < 0)
                return reason_set(reason, r, "Cannot write %s: %s", path, strerror(-r));
        return 0;
}

/* Takes `chain` over: the leaf apart, the rest as what goes with it. */
void identity_put_in_use(Identity *id, STACK_OF(X509) * chain)
{
        X509_free(id->leaf);
        sk_X509_pop_free(id->chain, X509_free);
        id->leaf = sk_X509_shift(chain);
        id->chain = chain;
        id->certificate_error = 0;
        ossl_time_passed(ossl_time(X509_get0_notBefore(id->leaf)));
}

int identity_install_certificate(Identity *id, const char *path, const char *ca_path,
                                 Reason *reason)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *list = NULL, *chain = NULL;
        int r = identity_read_certificates(path, &list, reason);
        if (r == 0)
                r = identity_check_key(id, sk_X509_value(list, 0), path, reason);
        if (r == 0)
                r = identity_verify_chain(list, ca_path, &chain, reason);
        if (r == 0)
                r = identity_write_chain(id, "identity.crt", NULL, chain, reason);
        if (r == 0)
                identity_put_in_use(id, TAKE_PTR(chain));
        return r;
}

/* At start. Dates are not looked at: a gateway that was off for long still serves its devices,
 * and those who verify it decide. */
void identity_load_certificate(Identity *id)
{
        _cleanup_free_ char *path = identity_path(id->directory, "identity.crt");
        _cleanup_(x509_stack_freep) STACK_OF(X509) *list = NULL;
        Reason *reason = &id->certificate_reason;
        int r = path ? identity_read_certificates(path, &list, reason)
                     : reason_set(reason, -ENOMEM, "Out of memory");
        if (r == -ENOENT)
                r = reason_set(reason, r,
                               "The identity has no certificate yet: see \"sallyportctl identity "
                               "csr\" and \"identity install\"");
        if (r == 0)
                r = identity_check_key(id, sk_X509_value(list, 0), path, reason);
        id->certificate_error = r;
        if (r == 0)
                identity_put_in_use(id, TAKE_PTR(list));
}

static void print_name(const X509_NAME *name, char *ret, size_t size)
{
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *text = NULL;
        if (!bio || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) < 0)
                return;
        long len = BIO_get_mem_data(bio, &text);
        size_t keep = MIN((size_t)MAX(len, 0L), size - 1);
        memcpy(ret, text, keep);
        ret[keep] = 0;
}

/* libcrypto caches what the extensions say, and so wants to write. */
bool identity_may_certify(X509 *x)
{
        return X509_check_ca(x) == 1 && X509_get_key_usage(x) != UINT32_MAX &&
               X509_get_key_usage(x) & KU_KEY_CERT_SIGN;
}

int identity_certificate(const Identity *id, IdentityCertificate *ret, Reason *reason)
{
        if (!id->leaf) {
                *reason = id->certificate_reason;
                return id->certificate_error;
        }
        *ret = (IdentityCertificate){
                .not_before = ossl_time(X509_get0_notBefore(id->leaf)),
                .not_after = ossl_time(X509_get0_notAfter(id->leaf)),
                .is_ca = identity_may_certify(id->leaf),
                .path_length = X509_get_pathlen(id->leaf),
                .chain_length = 1 + (size_t)sk_X509_num(id->chain),
        };
        print_name(X509_get_subject_name(id->leaf), ret->subject, sizeof(ret->subject));
        print_name(X509_get_issuer_name(id->leaf), ret->issuer, sizeof(ret->issuer));
        return 0;
}

/* A root at the end of the chain is left out: who verifies has that one already, or must not take
 * it from here. */
static size_t chain_without_root(const Identity *id)
{
        size_t n = 1 + (size_t)sk_X509_num(id->chain);
        X509 *last = n > 1 ? sk_X509_value(id->chain, (int)n - 2) : NULL;
        return last && X509_self_signed(last, 0) == 1 ? n - 1 : n;
}

int identity_chain_der(const Identity *id, uint8_t ***ret, size_t **ret_lens, size_t *ret_n)
{
        if (!id->leaf)
                return -ENOENT;
        size_t n = chain_without_root(id);
        uint8_t **ders = calloc(n, sizeof(*ders));
        _cleanup_free_ size_t *lens = calloc(n, sizeof(*lens));
        bool good = ders && lens;
        for (size_t i = 0; good && i < n; i++) {
                X509 *x = i == 0 ? id->leaf : sk_X509_value(id->chain, (int)i - 1);
                int len = i2d_X509(x, NULL);
                uint8_t *p = len > 0 ? ders[i] = malloc((size_t)len) : NULL;
                good = p && i2d_X509(x, &p) == len;
                lens[i] = good ? (size_t)len : 0;
        }
        if (!good) {
                for (size_t i = 0; ders && i < n; i++)
                        free(ders[i]);
                free(ders);
                return -ENOMEM;
        }
        *ret = ders;
        *ret_lens = TAKE_PTR(lens);
        *ret_n = n;
        return 0;
}

int identity_credential(Identity *id, Credential **ret, Reason *reason)
{
        if (!id->leaf) {
                *reason = id->certificate_reason;
                return id->certificate_error;
        }
        int r = credential_new(id->pkey, id->leaf, id->chain, true, ret);
        if (r < 0)
                return reason_set(reason, r, "The identity's certificate is not for its key");
        return 0;
}

struct x509_st *identity_leaf(const Identity *id)
{
        return id->leaf;
}

struct stack_st_X509 *identity_chain(const Identity *id)
{
        return id->chain;
}
