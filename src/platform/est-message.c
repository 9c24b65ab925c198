/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/est-message.h"

#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "platform/identity-request.h"
#include "platform/ossl.h"

OSSL_CLEANUP(PKCS7, PKCS7_free)
OSSL_CLEANUP(X509_ATTRIBUTE, X509_ATTRIBUTE_free)

static void types_freep(ASN1_SEQUENCE_ANY **p)
{
        sk_ASN1_TYPE_pop_free(*p, ASN1_TYPE_free);
}

static void extensions_freep(X509_EXTENSIONS **p)
{
        sk_X509_EXTENSION_pop_free(*p, X509_EXTENSION_free);
}

/* The alphabets differ in two characters. */
bool est_decode(Bytes body, uint8_t **ret, size_t *ret_len)
{
        _cleanup_free_ uint8_t *text = malloc(body.len + 1);
        size_t n = 0;
        if (!text)
                return false;
        for (size_t i = 0; i < body.len; i++) {
                uint8_t c = body.data[i];
                if (c == '\r' || c == '\n' || c == ' ' || c == '\t')
                        continue;
                if (c == '-' || c == '_')
                        return false;
                text[n++] = c == '+' ? '-' : c == '/' ? '_' : c;
        }
        return n > 0 && n % 4 == 0 && base64url_decode_new(BYTES(text, n), ret, ret_len) == 0;
}

char *est_encode(Bytes der)
{
        size_t room = (der.len + 2) / 3 * 4 + 1;
        char *text = malloc(room);
        if (text)
                EVP_EncodeBlock((uint8_t *)text, der.data, (int)der.len);
        return text;
}

static bool wrong(Reason *reason, const char *what)
{
        ERR_clear_error();
        reason_set(reason, 0, "%s", what);
        return false;
}

static bool take_certificates(const PKCS7 *p, STACK_OF(X509) * *ret, Reason *reason)
{
        STACK_OF(X509) *list = PKCS7_type_is_signed(p) && p->d.sign ? p->d.sign->cert : NULL;
        if (!list || sk_X509_num(list) == 0)
                return wrong(reason, "it holds no certificates");
        if (sk_X509_num(list) > EST_CERTIFICATES_MAX)
                return wrong(reason, "it holds too many certificates");
        *ret = X509_chain_up_ref(list);
        return *ret ? true : wrong(reason, "out of memory");
}

bool est_read_certificates(Bytes body, STACK_OF(X509) * *ret, Reason *reason)
{
        _cleanup_free_ uint8_t *der = NULL;
        size_t len;
        if (!est_decode(body, &der, &len))
                return wrong(reason, "it is not base64");
        const uint8_t *p = der;
        _cleanup_(PKCS7_freep) PKCS7 *message = d2i_PKCS7(NULL, &p, (long)len);
        ERR_clear_error();
        if (!message || p != der + len)
                return wrong(reason, "it is no CMS message");
        return take_certificates(message, ret, reason);
}

/* What was asked for of each kind, and whether ours is among it. */
typedef struct Wants {
        bool key, our_key, signature, our_signature;
        char other[64];
} Wants;

static void note_key(Wants *w, bool ours, const char *name)
{
        w->key = true;
        w->our_key = w->our_key || ours;
        if (!ours && !w->other[0])
                snprintf(w->other, sizeof(w->other), "%s", name);
}

static const char *short_name(int nid)
{
        return nid == NID_undef ? "a curve that is not known" : OBJ_nid2sn(nid);
}

/* libcrypto has no number for it. */
static bool is_attestation(const ASN1_OBJECT *oid)
{
        char text[64];
        int len = OBJ_obj2txt(text, sizeof(text), oid, 1);
        return len > 0 && (size_t)len < sizeof(text) && streq(text, IDENTITY_ATTESTATION_OID);
}

static bool take_oid(const ASN1_OBJECT *oid, Wants *w, EstAttributes *a)
{
        int nid = OBJ_obj2nid(oid), digest, key;
        if (is_attestation(oid))
                a->attestation = true;
        else if (nid == NID_pkcs9_challengePassword) {
                a->linking = true;
        } else if (nid == NID_X9_62_id_ecPublicKey) {
                note_key(w, true, "");
        } else if (nid == NID_rsaEncryption) {
                note_key(w, false, "RSA");
        } else if (nid != NID_undef && OBJ_find_sigid_algs(nid, &digest, &key) == 1) {
                w->signature = true;
                w->our_signature = w->our_signature ||
                                   (digest == NID_sha256 && key == NID_X9_62_id_ecPublicKey);
        }
        return true;
}

static void take_curves(X509_ATTRIBUTE *attribute, Wants *w)
{
        for (int i = 0; i < X509_ATTRIBUTE_count(attribute); i++) {
                const ASN1_TYPE *v = X509_ATTRIBUTE_get0_type(attribute, i);
                int nid = v && v->type == V_ASN1_OBJECT ? OBJ_obj2nid(v->value.object) : NID_undef;
                note_key(w, nid == NID_X9_62_prime256v1, short_name(nid));
        }
}

/* The names are ours to say. */
static bool add_extension(EstAttributes *a, const X509_EXTENSION *e)
{
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)e));
        if (nid == NID_subject_alt_name || nid == NID_subject_key_identifier ||
            X509v3_get_ext_by_NID(a->extensions, nid, -1) >= 0)
                return true;
        if (a->extensions && sk_X509_EXTENSION_num(a->extensions) >= EST_EXTENSIONS_MAX)
                return false;
        return X509v3_add_ext(&a->extensions, (X509_EXTENSION *)e, -1) != NULL;
}

/* RFC 8951 and 9908 put Extensions there; older servers bare object identifiers, which say
 * nothing of a value. */
static bool take_extensions(X509_ATTRIBUTE *attribute, EstAttributes *a)
{
        for (int i = 0; i < X509_ATTRIBUTE_count(attribute); i++) {
                const ASN1_TYPE *v = X509_ATTRIBUTE_get0_type(attribute, i);
                if (!v || v->type != V_ASN1_SEQUENCE)
                        continue;
                const uint8_t *p = v->value.sequence->data, *end = p + v->value.sequence->length;
                _cleanup_(extensions_freep) X509_EXTENSIONS *list =
                        d2i_X509_EXTENSIONS(NULL, &p, end - p);
                if (!list || p != end)
                        return false;
                for (int j = 0; j < sk_X509_EXTENSION_num(list); j++)
                        if (!add_extension(a, sk_X509_EXTENSION_value(list, j)))
                                return false;
        }
        return true;
}

static bool take_attribute(const ASN1_STRING *der, Wants *w, EstAttributes *a)
{
        const uint8_t *p = der->data, *end = p + der->length;
        _cleanup_(X509_ATTRIBUTE_freep) X509_ATTRIBUTE *attribute =
                d2i_X509_ATTRIBUTE(NULL, &p, der->length);
        if (!attribute || p != end)
                return false;
        a->attestation = a->attestation || is_attestation(X509_ATTRIBUTE_get0_object(attribute));
        switch (OBJ_obj2nid(X509_ATTRIBUTE_get0_object(attribute))) {
        case NID_X9_62_id_ecPublicKey:
                take_curves(attribute, w);
                return true;
        case NID_rsaEncryption:
                note_key(w, false, "RSA");
                return true;
        case NID_pkcs9_challengePassword:
                a->linking = true;
                return true;
        case NID_ext_req:
                return take_extensions(attribute, a);
        default:
                return true;
        }
}

static bool take_all(const ASN1_SEQUENCE_ANY *list, Wants *w, EstAttributes *a)
{
        if (sk_ASN1_TYPE_num(list) > EST_ATTRIBUTES_MAX)
                return false;
        for (int i = 0; i < sk_ASN1_TYPE_num(list); i++) {
                const ASN1_TYPE *t = sk_ASN1_TYPE_value(list, i);
                bool good = t->type == V_ASN1_OBJECT     ? take_oid(t->value.object, w, a)
                            : t->type == V_ASN1_SEQUENCE ? take_attribute(t->value.sequence, w, a)
                                                         : false;
                if (!good)
                        return false;
        }
        return true;
}

static void judge(const Wants *w, EstAttributes *a)
{
        if (w->key && !w->our_key)
                snprintf(a->cannot, sizeof(a->cannot),
                         "a key of another kind (%s); the gateway's is of P-256", w->other);
        else if (w->signature && !w->our_signature)
                snprintf(
                        a->cannot, sizeof(a->cannot),
                        "another signature than ECDSA with SHA-256, which the gateway's key makes");
}

bool est_read_attributes(Bytes body, EstAttributes *ret, Reason *reason)
{
        _cleanup_free_ uint8_t *der = NULL;
        size_t len;
        EstAttributes a = { 0 };
        Wants w = { 0 };
        if (!est_decode(body, &der, &len))
                return wrong(reason, "it is not base64");
        const uint8_t *p = der;
        _cleanup_(types_freep) ASN1_SEQUENCE_ANY *list = d2i_ASN1_SEQUENCE_ANY(NULL, &p, (long)len);
        if (!list || p != der + len || !take_all(list, &w, &a)) {
                est_attributes_done(&a);
                return wrong(reason, "it is no list of attributes");
        }
        ERR_clear_error();
        judge(&w, &a);
        *ret = a;
        return true;
}

void est_attributes_done(EstAttributes *a)
{
        sk_X509_EXTENSION_pop_free(a->extensions, X509_EXTENSION_free);
        a->extensions = NULL;
}
