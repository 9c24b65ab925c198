/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/trust.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <string.h>

#include "platform/crl.h"
#include "platform/file.h"
#include "platform/ossl.h"

/* What the lists of one file say of themselves. */
typedef struct List {
        char *path;
        CrlFacts facts;
} List;

struct Trust {
        atomic_uint refs;
        X509_STORE *store;
        STACK_OF(X509_NAME) * names;
        uint8_t (*anchors)[PEER_ID_SIZE]; /* sorted */
        size_t n_anchors;
        Revoked revoked; /* sorted */
        List *lists;
        size_t n_lists;
        const List *fetched; /* one of them, or NULL */
};

static void list_done(List *l)
{
        crl_facts_done(&l->facts);
        free(l->path);
}

Trust *trust_ref(Trust *t)
{
        if (t)
                atomic_fetch_add(&t->refs, 1);
        return t;
}

Trust *trust_unref(Trust *t)
{
        if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
                return NULL;
        X509_STORE_free(t->store);
        sk_X509_NAME_pop_free(t->names, X509_NAME_free);
        for (size_t i = 0; i < t->n_lists; i++)
                list_done(&t->lists[i]);
        free(t->lists);
        free(t->anchors);
        revoked_done(&t->revoked);
        free(t);
        return NULL;
}

static int compare_ids(const void *a, const void *b)
{
        return memcmp(a, b, PEER_ID_SIZE);
}

static void sort_ids(uint8_t (*ids)[PEER_ID_SIZE], size_t n)
{
        if (n > 0)
                qsort(ids, n, PEER_ID_SIZE, compare_ids);
}

static bool has_id(const uint8_t (*ids)[PEER_ID_SIZE], size_t n, const uint8_t *id)
{
        return n > 0 && bsearch(id, ids, n, PEER_ID_SIZE, compare_ids);
}

/* ---- making one ---- */

static int add_authority(Trust *t, X509 *x)
{
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));
        if (!name || sk_X509_NAME_push(t->names, name) <= 0) {
                X509_NAME_free(name);
                return -ENOMEM;
        }
        if (X509_STORE_add_cert(t->store, x) != 1)
                return -ENOMEM;
        return x509_authority_id(x, t->anchors[t->n_anchors++]);
}

static int add_authorities(Trust *t, const char *path, const STACK_OF(X509) * all, Reason *reason)
{
        int n = sk_X509_num(all);
        t->store = X509_STORE_new();
        t->names = sk_X509_NAME_new_null();
        t->anchors = calloc((size_t)n, sizeof(*t->anchors));
        if (!t->store || !t->names || !t->anchors)
                return reason_set(reason, -ENOMEM, "Out of memory");
        /* An intermediate authority in the file is an anchor without its root. */
        X509_STORE_set_flags(t->store, X509_V_FLAG_PARTIAL_CHAIN);
        for (int i = 0; i < n; i++) {
                int r = add_authority(t, sk_X509_value(all, i));
                if (r < 0)
                        return reason_set(reason, r, "%s: certificate %d in it cannot be used: %s",
                                          path, i + 1, strerror(-r));
        }
        sort_ids(t->anchors, t->n_anchors);
        return 0;
}

static int add_list(Trust *t, const char *path, const STACK_OF(X509) * authorities,
                    bool pass_foreign, Reason *reason)
{
        _cleanup_free_ uint8_t *content = NULL;
        size_t len;
        CrlFacts facts;
        int r = file_read(path, CRL_SIZE_MAX, &content, &len);
        if (r < 0)
                return reason_set(reason, r, "%s: %s", path, strerror(-r));
        r = crl_read(path, BYTES(content, len), authorities, pass_foreign, &t->revoked, reason,
                     &facts);
        if (r < 0)
                return r;
        List *l = &t->lists[t->n_lists++];
        l->facts = facts;
        l->path = strdup(path);
        return l->path ? 0 : reason_set(reason, -ENOMEM, "Out of memory");
}

static int add_fetched(Trust *t, const TrustFiles *files, const STACK_OF(X509) * authorities,
                       Reason *reason)
{
        int r = add_list(t, files->fetched, authorities, !files->fresh, reason);
        if (r == -ENOENT && !files->fresh)
                return 0;
        if (r == 0)
                t->fetched = &t->lists[t->n_lists - 1];
        return r;
}

static int add_lists(Trust *t, const TrustFiles *files, const STACK_OF(X509) * authorities,
                     Reason *reason)
{
        int r = 0;
        t->lists = calloc(files->n_lists + 1, sizeof(*t->lists));
        if (!t->lists)
                return reason_set(reason, -ENOMEM, "Out of memory");
        for (size_t i = 0; r == 0 && i < files->n_lists; i++)
                r = add_list(t, files->lists[i], authorities, false, reason);
        if (r == 0 && files->fetched)
                r = add_fetched(t, files, authorities, reason);
        sort_ids(t->revoked.ids, t->revoked.n);
        return r;
}

int trust_new(const TrustFiles *files, Reason *reason, Trust **ret)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *authorities = NULL;
        int r = authorities_load(files->authorities, reason, &authorities);
        if (r < 0)
                return r;
        _cleanup_(trust_unrefp) Trust *t = calloc(1, sizeof(*t));
        if (!t)
                return reason_set(reason, -ENOMEM, "Out of memory");
        t->refs = 1;
        r = add_authorities(t, files->authorities, authorities, reason);
        if (r == 0)
                r = add_lists(t, files, authorities, reason);
        if (r == 0)
                *ret = TAKE_PTR(t);
        return r;
}

/* ---- asking it ---- */

const char *trust_outcome_to_string(TrustOutcome o)
{
        switch (o) {
        case TRUST_OK:
                return "ok";
        case TRUST_REVOKED:
                return "revoked";
        case TRUST_NO_ANCHOR:
                return "unknown-ca";
        case TRUST_EXPIRED:
                return "expired";
        }
        return "unknown-ca";
}

TrustOutcome trust_check(const Trust *t, const PeerChain *chain, usec_t now, size_t *ret_link)
{
        bool anchored = false;
        for (size_t i = 0; i < chain->n; i++) {
                const PeerLink *l = &chain->links[i];
                if (has_id((const uint8_t(*)[PEER_ID_SIZE])t->revoked.ids, t->revoked.n,
                           l->certificate)) {
                        if (ret_link)
                                *ret_link = i;
                        return TRUST_REVOKED;
                }
                anchored = anchored || has_id((const uint8_t(*)[PEER_ID_SIZE])t->anchors,
                                              t->n_anchors, l->authority);
        }
        if (!anchored)
                return TRUST_NO_ANCHOR;
        return chain->not_after <= now ? TRUST_EXPIRED : TRUST_OK;
}

void trust_facts(const Trust *t, usec_t now, TrustFacts *ret)
{
        *ret = (TrustFacts){
                .authorities = t->n_anchors,
                .revoked = t->revoked.n,
                .fetched = t->fetched ? t->fetched->facts.newest : 0,
                .next_update = USEC_INFINITY,
        };
        for (size_t i = 0; i < t->n_lists; i++) {
                const List *l = &t->lists[i];
                ret->lists += l->facts.n;
                if (l->facts.newest > now)
                        ret->future = l->path;
                if (l->facts.next_update < ret->next_update) {
                        ret->next_update = l->facts.next_update;
                        ret->oldest = l->path;
                }
        }
}

const char *trust_goes_back(const Trust *t, const Trust *before)
{
        static const CrlFacts none;
        return before->fetched ? crl_goes_back(t->fetched ? &t->fetched->facts : &none,
                                               &before->fetched->facts)
                               : NULL;
}

int trust_use_ctx(const Trust *t, SSL_CTX *ctx)
{
        STACK_OF(X509_NAME) *names = SSL_dup_CA_list(t->names);
        if (!names)
                return -ENOMEM;
        SSL_CTX_set0_CA_list(ctx, names);
        SSL_CTX_set1_cert_store(ctx, t->store);
        return 0;
}

int trust_use_ssl(const Trust *t, SSL *ssl)
{
        STACK_OF(X509_NAME) *names = SSL_dup_CA_list(t->names);
        if (!names)
                return -ENOMEM;
        SSL_set0_CA_list(ssl, names);
        return SSL_set1_verify_cert_store(ssl, t->store) == 1 ? 0 : -ENOMEM;
}

int trust_verify(const Trust *t, X509_STORE_CTX *ctx)
{
        PeerChain chain;
        if (X509_verify_cert(ctx) != 1)
                return 0;
        if (peer_chain_read(X509_STORE_CTX_get0_chain(ctx), &chain) < 0) {
                X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_REJECTED);
                return 0;
        }
        if (trust_check(t, &chain, 0, NULL) != TRUST_REVOKED)
                return 1;
        X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_REVOKED);
        return 0;
}
