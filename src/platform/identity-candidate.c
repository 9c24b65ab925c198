/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/identity-candidate.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>

#include "base/str.h"
#include "platform/file.h"
#include "platform/identity-internal.h"
#include "platform/owner.h"

/* What an EST server may send of a chain, and of its authorities, and the leaf. */
#define PEM_MAX 40

#define IN_FORCE  "identity.crt"
#define CANDIDATE "candidate.crt"
#define REFUSED   "refused.crt"

/* What the first line of the latter begins with. */
#define REFUSED_LINE "# Not taken at "

struct IdentityCandidate {
        Identity *id;
        STACK_OF(X509) * chain; /* leaf first */
};

IdentityCandidate *identity_candidate_free(IdentityCandidate *c)
{
        if (!c)
                return NULL;
        sk_X509_pop_free(c->chain, X509_free);
        free(c);
        return NULL;
}

static bool has_anchor(STACK_OF(X509) * list)
{
        bool found = false;
        for (int i = 0; i < sk_X509_num(list) && !found; i++)
                found = X509_self_signed(sk_X509_value(list, i), 1) == 1;
        ERR_clear_error();
        return found;
}

static int check_use(X509 *leaf, bool must_certify, Reason *reason)
{
        usec_t now = now_realtime();
        if (now < ossl_time(X509_get0_notBefore(leaf)))
                return reason_set(reason, -EBADMSG, "The certificate is not valid yet");
        if (now >= ossl_time(X509_get0_notAfter(leaf)))
                return reason_set(reason, -EBADMSG, "The certificate has expired");
        if (must_certify && !identity_may_certify(leaf))
                return reason_set(reason, -EBADMSG,
                                  "The certificate is not that of a CA, so it cannot certify TLS "
                                  "keys, which TLSKey= needs");
        return 0;
}

/* Takes `chain` over when all is well. */
static int take(Identity *id, STACK_OF(X509) * *chain, IdentityCandidate **ret, Reason *reason)
{
        IdentityCandidate *c = calloc(1, sizeof(*c));
        if (!c)
                return reason_set(reason, -ENOMEM, "Out of memory");
        c->id = id;
        c->chain = TAKE_PTR(*chain);
        *ret = c;
        return 0;
}

int identity_candidate_new(Identity *id, Bytes pem, const char *ca_path, bool must_certify,
                           IdentityCandidate **ret, Reason *reason)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *list = NULL, *chain = NULL;
        int r = identity_parse_certificates(pem, "The answer", PEM_MAX, &list, reason);
        if (r == 0)
                r = identity_check_key(id, sk_X509_value(list, 0), "the answer", reason);
        if (r == 0)
                r = identity_verify_chain(list, has_anchor(list) ? NULL : ca_path, &chain, reason);
        if (r == 0)
                r = check_use(sk_X509_value(list, 0), must_certify, reason);
        return r < 0 ? r : take(id, &chain, ret, reason);
}

static int read_file(Identity *id, const char *name, STACK_OF(X509) * *ret, Reason *reason)
{
        _cleanup_free_ char *path = identity_path(id->directory, name);
        if (!path)
                return reason_set(reason, -ENOMEM, "Out of memory");
        return identity_read_certificates(path, ret, reason);
}

/* The chain was verified before it was written; what has passed since is looked at. */
static int check_again(Identity *id, STACK_OF(X509) * chain, const char *name, bool must_certify,
                       Reason *reason)
{
        int r = identity_check_key(id, sk_X509_value(chain, 0), name, reason);
        return r < 0 ? r : check_use(sk_X509_value(chain, 0), must_certify, reason);
}

/* NULL without one, too. */
static STACK_OF(X509) * whole_chain(const Identity *id)
{
        STACK_OF(X509) *chain = id->leaf ? X509_chain_up_ref(id->chain) : NULL;
        if (!chain)
                return NULL;
        X509_up_ref(id->leaf);
        if (sk_X509_unshift(chain, id->leaf) > 0)
                return chain;
        X509_free(id->leaf);
        sk_X509_pop_free(chain, X509_free);
        return NULL;
}

static bool same_chain(STACK_OF(X509) * a, STACK_OF(X509) * b)
{
        bool same = sk_X509_num(a) == sk_X509_num(b);
        for (int i = 0; same && i < sk_X509_num(a); i++)
                same = X509_cmp(sk_X509_value(a, i), sk_X509_value(b, i)) == 0;
        return same;
}

static int forget_file(const Identity *id, Reason *reason)
{
        _cleanup_owner_ Owner owner = { 0 };
        _cleanup_free_ char *path = identity_path(id->directory, CANDIDATE);
        int r = path ? owner_begin(id->state_directory, &owner, reason)
                     : reason_set(reason, -ENOMEM, "Out of memory");
        if (r == 0 && unlink(path) < 0 && errno != ENOENT)
                r = reason_set(reason, -errno, "Cannot remove %s: %s", path, strerror(errno));
        return r;
}

int identity_candidate_load(Identity *id, bool must_certify, IdentityCandidate **ret,
                            Reason *reason)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *chain = NULL, *old = whole_chain(id);
        int r = read_file(id, CANDIDATE, &chain, reason);
        if (r == 0 && old && same_chain(chain, old)) {
                r = forget_file(id, reason);
                return r < 0 ? r : -ENOENT;
        }
        if (r == 0)
                r = check_again(id, chain, CANDIDATE, must_certify, reason);
        return r < 0 ? r : take(id, &chain, ret, reason);
}

int identity_candidate_adopt(Identity *id, bool must_certify, IdentityCandidate **ret,
                             Reason *reason)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *found = NULL, *old = whole_chain(id);
        _cleanup_(identity_candidate_freep) IdentityCandidate *c = NULL;
        Reason why;
        if (!old)
                return reason_set(reason, id->leaf ? -ENOMEM : -ENOENT,
                                  id->leaf ? "Out of memory" : "No certificate is in force");
        int r = read_file(id, IN_FORCE, &found, reason);
        if (r < 0)
                return r;
        if (same_chain(found, old))
                return 0;
        int good = check_again(id, found, IN_FORCE, must_certify, reason);
        r = take(id, &found, &c, &why);
        if (r == 0 && good == 0)
                r = identity_candidate_save(c, &why);
        else if (r == 0)
                r = identity_candidate_refuse(c, reason->text, &why);
        if (r == 0)
                r = identity_write_chain(id, IN_FORCE, NULL, old, &why);
        if (r < 0) {
                *reason = why;
                return r;
        }
        if (good < 0)
                return good;
        *ret = TAKE_PTR(c);
        return 1;
}

int identity_candidate_save(const IdentityCandidate *c, Reason *reason)
{
        return identity_write_chain(c->id, CANDIDATE, NULL, c->chain, reason);
}

int identity_candidate_credential(const IdentityCandidate *c, Credential **ret, Reason *reason)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *rest = X509_chain_up_ref(c->chain);
        if (!rest)
                return reason_set(reason, -ENOMEM, "Out of memory");
        X509_free(sk_X509_shift(rest));
        int r = credential_new(c->id->pkey, sk_X509_value(c->chain, 0), rest, true, ret);
        return r < 0 ? reason_set(reason, r, "The certificate cannot be used") : 0;
}

/* Should candidate.crt survive, it is found to be in force after a restart. */
int identity_candidate_promote(const IdentityCandidate *c, Reason *reason)
{
        STACK_OF(X509) *chain = X509_chain_up_ref(c->chain);
        int r = chain ? identity_write_chain(c->id, IN_FORCE, NULL, chain, reason)
                      : reason_set(reason, -ENOMEM, "Out of memory");
        if (r < 0) {
                sk_X509_pop_free(chain, X509_free);
                return r;
        }
        identity_put_in_use(c->id, chain);
        forget_file(c->id, reason);
        return 0;
}

int identity_candidate_refuse(const IdentityCandidate *c, const char *why, Reason *reason)
{
        char line[600], at[USEC_FORMAT_MAX];
        snprintf(line, sizeof(line), REFUSED_LINE "%s: %s\n", usec_format_utc(now_realtime(), at),
                 why);
        int r = identity_write_chain(c->id, REFUSED, line, c->chain, reason);
        return r < 0 ? r : forget_file(c->id, reason);
}

usec_t identity_candidate_not_before(const IdentityCandidate *c)
{
        return ossl_time(X509_get0_notBefore(sk_X509_value(c->chain, 0)));
}

usec_t identity_candidate_not_after(const IdentityCandidate *c)
{
        return ossl_time(X509_get0_notAfter(sk_X509_value(c->chain, 0)));
}

static void read_refused(const Identity *id, char *ret, size_t size)
{
        size_t len;
        _cleanup_free_ uint8_t *text = NULL;
        _cleanup_free_ char *path = identity_path(id->directory, REFUSED);
        if (!path || file_read(path, (size_t)128 * 1024, &text, &len) < 0)
                return;
        const char *line = startswith((const char *)text, REFUSED_LINE);
        if (line)
                snprintf(ret, size, "%.*s", (int)strcspn(line, "\n"), line);
}

void identity_pending(Identity *id, IdentityPending *ret)
{
        _cleanup_(x509_stack_freep) STACK_OF(X509) *chain = NULL;
        Reason ignored;
        *ret = (IdentityPending){ 0 };
        ret->candidate = read_file(id, CANDIDATE, &chain, &ignored) == 0;
        if (ret->candidate)
                ret->not_after = ossl_time(X509_get0_notAfter(sk_X509_value(chain, 0)));
        read_refused(id, ret->refused, sizeof(ret->refused));
}
