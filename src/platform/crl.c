/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/crl.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/buf.h"
#include "platform/ossl.h"

OSSL_CLEANUP(X509_CRL, X509_CRL_free)
OSSL_CLEANUP(ISSUING_DIST_POINT, ISSUING_DIST_POINT_free)

void revoked_done(Revoked *r)
{
        free(r->ids);
        *r = (Revoked){ 0 };
}

static int make_room(Revoked *r, size_t n)
{
        if (n <= r->room - r->n)
                return 0;
        size_t room = r->n + n;
        uint8_t(*ids)[PEER_ID_SIZE] = reallocarray(r->ids, room, sizeof(*ids));
        if (!ids)
                return -ENOMEM;
        r->ids = ids;
        r->room = room;
        return 0;
}

/* ---- what may stand in a list ---- */

/* Lists of others' certificates name the issuer entry by entry. */
static const char *check_scope(const X509_CRL *crl)
{
        int critical = -1;
        _cleanup_(ISSUING_DIST_POINT_freep) ISSUING_DIST_POINT *point =
                X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &critical, NULL);
        if (!point)
                return critical == -1 ? NULL : "its distribution point cannot be read";
        return point->indirectCRL > 0 ? "it lists certificates of other issuers (indirect)" : NULL;
}

static const char *check_extensions(const X509_CRL *crl)
{
        if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0)
                return "it holds changes to another list (delta): the whole list is needed";
        for (int i = 0; i < X509_CRL_get_ext_count(crl); i++) {
                X509_EXTENSION *e = X509_CRL_get_ext(crl, i);
                int nid = OBJ_obj2nid(X509_EXTENSION_get_object(e));
                if (X509_EXTENSION_get_critical(e) && nid != NID_issuing_distribution_point &&
                    nid != NID_crl_number && nid != NID_authority_key_identifier)
                        return "it has a critical extension that is not understood";
        }
        return check_scope(crl);
}

static const char *check_entry(const X509_REVOKED *entry)
{
        const STACK_OF(X509_EXTENSION) *all = X509_REVOKED_get0_extensions(entry);
        for (int i = 0; i < sk_X509_EXTENSION_num(all); i++)
                if (X509_EXTENSION_get_critical(sk_X509_EXTENSION_value(all, i)))
                        return "an entry has a critical extension that is not understood";
        return NULL;
}

/* What security level 2 refuses in certificates. */
static bool weak_digest(const X509_CRL *crl)
{
        int digest = NID_undef;
        OBJ_find_sigid_algs(X509_CRL_get_signature_nid(crl), &digest, NULL);
        return digest == NID_sha1 || digest == NID_md5 || digest == NID_md4 ||
               digest == NID_md5_sha1;
}

static int check_signature(X509_CRL *crl, const STACK_OF(X509) * authorities,
                           const char **ret_problem)
{
        bool known = false, may_sign = false;
        for (int i = 0; i < sk_X509_num(authorities); i++) {
                X509 *ca = sk_X509_value(authorities, i);
                if (X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(ca)) != 0)
                        continue;
                known = true;
                if (!(X509_get_key_usage(ca) & X509v3_KU_CRL_SIGN))
                        continue;
                may_sign = true;
                if (X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1)
                        return 0;
        }
        ERR_clear_error();
        *ret_problem = !known     ? "its issuer is not among the authorities of devices"
                       : may_sign ? "its signature is not that of its issuer"
                                  : "its issuer's certificate does not allow it to sign lists";
        return known ? -EBADMSG : -EKEYREJECTED;
}

/* ---- reading ---- */

static int take_entries(X509_CRL *crl, Revoked *revoked, const char **ret_problem)
{
        uint8_t issuer[32];
        STACK_OF(X509_REVOKED) *all = X509_CRL_get_REVOKED(crl);
        int n = sk_X509_REVOKED_num(all);
        if (x509_name_sha256(X509_CRL_get_issuer(crl), issuer) < 0) {
                *ret_problem = "its issuer's name cannot be read";
                return -EBADMSG;
        }
        if (n > 0 && make_room(revoked, (size_t)n) < 0)
                return -ENOMEM;
        for (int i = 0; i < n; i++) {
                const X509_REVOKED *entry = sk_X509_REVOKED_value(all, i);
                *ret_problem = check_entry(entry);
                if (!*ret_problem &&
                    x509_certificate_id(issuer, X509_REVOKED_get0_serialNumber(entry),
                                        revoked->ids[revoked->n]) < 0)
                        *ret_problem = "a serial number in it is too long";
                if (*ret_problem)
                        return -EBADMSG;
                revoked->n++;
        }
        return 0;
}

static int take_list(X509_CRL *crl, const STACK_OF(X509) * authorities, Revoked *revoked,
                     const char **ret_problem)
{
        *ret_problem = weak_digest(crl) ? "it is signed with a digest that is broken"
                                        : check_extensions(crl);
        if (*ret_problem)
                return -EBADMSG;
        int r = check_signature(crl, authorities, ret_problem);
        return r < 0 ? r : take_entries(crl, revoked, ret_problem);
}

/* By its issuer, and the part of what that has issued. */
static int identify(const X509_CRL *crl, uint8_t ret[static CRYPTO_SHA256_SIZE])
{
        _cleanup_buf_ Buf b = BUF_INIT(CRL_SIZE_MAX);
        uint8_t *issuer;
        int i = X509_CRL_get_ext_by_NID(crl, NID_issuing_distribution_point, -1);
        int r = buf_reserve(&b, CRYPTO_SHA256_SIZE, &issuer);
        if (r == 0)
                r = x509_name_sha256(X509_CRL_get_issuer(crl), issuer);
        if (r < 0)
                return r;
        buf_commit(&b, CRYPTO_SHA256_SIZE);
        if (i >= 0) {
                const ASN1_STRING *part = X509_EXTENSION_get_data(X509_CRL_get_ext(crl, i));
                r = buf_append(&b, BYTES(part->data, (size_t)part->length));
        }
        return r < 0 ? r : crypto_sha256(buf_view(&b), ret);
}

static int note(const X509_CRL *crl, CrlFacts *facts)
{
        usec_t last = ossl_time(X509_CRL_get0_lastUpdate(crl));
        const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
        CrlMade *made = facts->made;
        if ((facts->n & (facts->n - 1)) == 0) { /* a power of two: full */
                made = reallocarray(made, MAX(2 * facts->n, (size_t)1), sizeof(*made));
                if (!made)
                        return -ENOMEM;
                facts->made = made;
        }
        made[facts->n].at = last;
        int r = identify(crl, made[facts->n].list);
        if (r < 0)
                return r;
        facts->n++;
        facts->newest = MAX(facts->newest, last);
        if (next)
                facts->next_update = MIN(facts->next_update, ossl_time(next));
        return 0;
}

void crl_facts_done(CrlFacts *f)
{
        free(f->made);
        *f = (CrlFacts){ 0 };
}

/* The newest of a list comes first. */
static int compare_made(const void *a, const void *b)
{
        const CrlMade *x = a, *y = b;
        int c = memcmp(x->list, y->list, CRYPTO_SHA256_SIZE);
        return c != 0 ? c : (x->at < y->at) - (x->at > y->at);
}

static void keep_newest(CrlFacts *f)
{
        size_t n = 0;
        if (f->n > 0)
                qsort(f->made, f->n, sizeof(*f->made), compare_made);
        for (size_t i = 0; i < f->n; i++)
                if (n == 0 || memcmp(f->made[i].list, f->made[n - 1].list, CRYPTO_SHA256_SIZE) != 0)
                        f->made[n++] = f->made[i];
        f->n_made = n;
}

const char *crl_goes_back(const CrlFacts *now, const CrlFacts *before)
{
        for (size_t i = 0, j = 0; i < before->n_made; i++) {
                const CrlMade *was = &before->made[i];
                while (j < now->n_made &&
                       memcmp(now->made[j].list, was->list, CRYPTO_SHA256_SIZE) < 0)
                        j++;
                if (j == now->n_made ||
                    memcmp(now->made[j].list, was->list, CRYPTO_SHA256_SIZE) != 0)
                        return "lacks a list that is in force";
                if (now->made[j].at < was->at)
                        return "is older than the list that is in force";
        }
        return NULL;
}

/* The next list; NULL at the end and on errors, which `ret_problem` tells apart. */
static X509_CRL *next_list(Bytes *der, BIO *pem, size_t n, const char **ret_problem)
{
        X509_CRL *crl = NULL;
        ERR_clear_error();
        if (pem) {
                crl = PEM_read_bio_X509_CRL(pem, NULL, ossl_no_pass_phrase, NULL);
                if (!crl && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
                        *ret_problem = "a list in it is damaged";
        } else if (n == 0) {
                const uint8_t *p = der->data;
                crl = d2i_X509_CRL(NULL, &p, (long)der->len);
                if (!crl)
                        *ret_problem = "it is damaged";
                else if (p != der->data + der->len)
                        *ret_problem = "something follows after the list";
        }
        ERR_clear_error();
        if (!crl && n == 0 && !*ret_problem)
                *ret_problem = "there is no list in it";
        return crl;
}

/* One list of the file: 1, or 0 when it is passed over. */
static int read_list(X509_CRL *crl, const STACK_OF(X509) * authorities, bool pass_foreign,
                     Revoked *revoked, const char **ret_problem)
{
        int r = take_list(crl, authorities, revoked, ret_problem);
        if (r == -EKEYREJECTED && pass_foreign) {
                *ret_problem = NULL;
                return 0;
        }
        return r < 0 ? r : 1;
}

int crl_read(const char *name, Bytes file, const STACK_OF(X509) * authorities, bool pass_foreign,
             Revoked *revoked, Reason *reason, CrlFacts *ret)
{
        _cleanup_(crl_facts_done) CrlFacts facts = { .next_update = USEC_INFINITY };
        const char *problem = NULL;
        bool is_der = file.len > 0 && file.data[0] == (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED);
        if (file.len > CRL_SIZE_MAX)
                return reason_set(reason, -EFBIG, "%s: %s", name, strerror(EFBIG));
        _cleanup_(BIO_freep) BIO *pem = is_der ? NULL : BIO_new_mem_buf(file.data, (int)file.len);
        for (int r = 0;;) {
                _cleanup_(X509_CRL_freep) X509_CRL *crl =
                        next_list(&file, pem, facts.n + facts.n_foreign, &problem);
                if (crl && !problem)
                        r = read_list(crl, authorities, pass_foreign, revoked, &problem);
                if (r == -ENOMEM)
                        return reason_set(reason, r, "Out of memory");
                if (problem)
                        return reason_set(reason, r < 0 ? r : -EBADMSG,
                                          "%s: not a usable revocation list: %s", name, problem);
                if (!crl)
                        break;
                if (r == 0)
                        facts.n_foreign++;
                else if (note(crl, &facts) < 0)
                        return reason_set(reason, -ENOMEM, "Out of memory");
        }
        keep_newest(&facts);
        *ret = facts;
        facts = (CrlFacts){ 0 };
        return 0;
}
