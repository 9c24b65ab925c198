/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/minter.h"

#include <errno.h>
#include <openssl/ec.h>

#include "base/log.h"
#include "platform/crypto.h"
#include "platform/fiber.h"
#include "platform/ossl.h"
#include "platform/san.h"

/* The wall clock may jump: it is looked at this often, and at least so often in a lifetime. */
#define TICK_MAX    USEC_PER_MIN
#define TICKS       12
#define BACKDATE    (5 * USEC_PER_MIN) /* for devices whose clock is slow */
#define SERIAL_SIZE 16

struct Minter {
        Identity *identity;
        Loop *loop;
        LoopSource *timer;
        char **names;
        size_t n_names;
        GENERAL_NAMES *san;
        usec_t lifetime;
        MinterHandler handler;
        void *userdata;
        usec_t minted_at, renew_at; /* CLOCK_REALTIME */
        bool busy;                  /* a fiber is minting */
        bool again;                 /* what it mints is out of date already */
        bool gone;                  /* freed meanwhile: the fiber does it at its end */
};

/* From the beginning of the issuer's validity, since this clock may be fast, and not beyond its
 * end. When that is over, or has not begun by a clock that is wrong, the leaf lasts as long as any:
 * devices that look at no dates are served on. */
static bool set_validity(const Minter *m, X509 *x, X509 *issuer, usec_t now)
{
        usec_t begin = ossl_time(X509_get0_notBefore(issuer));
        usec_t end = ossl_time(X509_get0_notAfter(issuer));
        usec_t from = now > BACKDATE ? now - BACKDATE : 0, to = usec_add(now, m->lifetime);
        if (now >= begin && now < end) {
                from = begin;
                to = MIN(to, end);
        }
        return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(from / USEC_PER_SEC)) &&
               ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(to / USEC_PER_SEC));
}

static bool set_serial(X509 *x)
{
        uint8_t bytes[SERIAL_SIZE];
        if (crypto_random(bytes, sizeof(bytes)) < 0)
                return false;
        bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and never shorter: RFC 5280 4.1.2.2 */
        _cleanup_(BN_freep) BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
        return n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
}

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
        X509V3_CTX ctx;
        X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        bool good = e && X509_add_ext(x, e, -1) == 1;
        X509_EXTENSION_free(e);
        return good;
}

static bool set_extensions(const Minter *m, X509 *x, X509 *issuer)
{
        return add_extension(x, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
               add_extension(x, issuer, NID_key_usage, "critical,digitalSignature") &&
               add_extension(x, issuer, NID_ext_key_usage, "serverAuth") &&
               add_extension(x, issuer, NID_subject_key_identifier, "hash") &&
               (!X509_get0_subject_key_id(issuer) ||
                add_extension(x, issuer, NID_authority_key_identifier, "keyid")) &&
               X509_add1_ext_i2d(x, NID_subject_alt_name, m->san, 0, X509V3_ADD_DEFAULT) == 1;
}

static bool fill(const Minter *m, X509 *x, X509 *issuer, EVP_PKEY *key, usec_t now)
{
        return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
               X509_set_issuer_name(x, X509_get_subject_name(issuer)) == 1 &&
               X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_UTF8,
                                          (const uint8_t *)m->names[0], -1, -1, 0) == 1 &&
               set_validity(m, x, issuer, now) && X509_set_pubkey(x, key) == 1 &&
               set_extensions(m, x, issuer);
}

static int check_issuer(const Minter *m, Reason *reason)
{
        IdentityCertificate c;
        int r = identity_certificate(m->identity, &c, reason);
        if (r < 0)
                return r;
        if (!c.is_ca)
                return reason_set(reason, -ENOTSUP,
                                  "The identity's certificate is not that of a CA, so it cannot "
                                  "certify TLS keys: use TLSKey=tpm, or ask the CA for CA:TRUE, "
                                  "pathlen:0 and keyCertSign");
        return 0;
}

static int mint(Minter *m, Credential **ret, Reason *reason)
{
        usec_t now = now_realtime();
        int r = check_issuer(m, reason);
        if (r == 0)
                r = identity_check(m->identity, reason); /* the sentence, if it may not sign */
        if (r < 0)
                return r;
        /* While the TPM signs, the identity may get another certificate. */
        _cleanup_(X509_freep) X509 *issuer = identity_leaf(m->identity);
        X509_up_ref(issuer);
        _cleanup_(x509_stack_freep) STACK_OF(X509) *chain =
                X509_chain_up_ref(identity_chain(m->identity));
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
        _cleanup_(X509_freep) X509 *x = X509_new();
        if (!chain || !key || !x || !fill(m, x, issuer, key, now) ||
            X509_sign(x, identity_pkey(m->identity), EVP_sha256()) <= 0)
                return reason_set(reason, -EIO, "Cannot mint a TLS certificate: %s", ossl_error());
        X509_up_ref(issuer);
        if (sk_X509_unshift(chain, issuer) == 0) {
                X509_free(issuer);
                return reason_set(reason, -ENOMEM, "Out of memory");
        }
        r = credential_new(key, x, chain, false, ret);
        if (r < 0)
                return reason_set(reason, r, "The minted certificate cannot be used");
        usec_t end = credential_not_after(*ret);
        m->minted_at = now;
        m->renew_at = now + (end > now ? end - now : 0) * 2 / 3;
        return 0;
}

static void minter_destroy(Minter *m)
{
        loop_source_free(m->timer);
        for (size_t i = 0; i < m->n_names; i++)
                free(m->names[i]);
        free(m->names);
        GENERAL_NAMES_free(m->san);
        free(m);
}

Minter *minter_free(Minter *m)
{
        if (!m)
                return NULL;
        m->gone = true;
        if (!m->busy)
                minter_destroy(m);
        return NULL;
}

static void mint_on_fiber(void *userdata)
{
        Minter *m = userdata;
        _cleanup_(credential_unrefp) Credential *c = NULL;
        Reason reason;
        int r = mint(m, &c, &reason);
        if (r < 0 && !m->gone)
                log_message(LOG_WARNING, LOG_FIELDS({ "REASON", "mint" }),
                            "The TLS certificate is not renewed yet, trying again: %s",
                            reason.text);
        if (r == 0 && !m->gone)
                m->handler(c, m->userdata);
        m->busy = false;
        if (m->gone)
                minter_destroy(m);
        else if (m->again)
                minter_renew(m);
}

static usec_t tick(const Minter *m)
{
        return MIN(TICK_MAX, m->lifetime / TICKS);
}

/* A clock that went backwards makes the leaf one of the future: mint anew then, too. */
static int on_tick(void *userdata)
{
        Minter *m = userdata;
        usec_t now = now_realtime();
        int r = loop_timer_arm_relative(m->timer, tick(m));
        if (r < 0)
                return r;
        if (m->busy || (now >= m->minted_at && now < m->renew_at))
                return 0;
        m->busy = true;
        r = fiber_spawn(mint_on_fiber, m);
        if (r < 0)
                m->busy = false;
        return r;
}

void minter_renew(Minter *m)
{
        m->again = m->busy;
        m->renew_at = 0;
        int r = loop_timer_arm_relative(m->timer, 0);
        if (r < 0)
                log_warning_errno(r, "Cannot renew the TLS certificate now, ignoring");
}

static int copy_names(Minter *m, const MinterParams *p)
{
        m->names = calloc(p->n_names, sizeof(*m->names));
        if (!m->names)
                return -ENOMEM;
        for (; m->n_names < p->n_names; m->n_names++)
                if (!(m->names[m->n_names] = strdup(p->names[m->n_names])))
                        return -ENOMEM;
        return 0;
}

static int first(Minter *m, Reason *reason)
{
        _cleanup_(credential_unrefp) Credential *c = NULL;
        int r = mint(m, &c, reason);
        if (r < 0)
                return r;
        r = loop_add_timer(m->loop, &m->timer, LOOP_FATAL, on_tick, m);
        if (r == 0)
                r = loop_timer_arm_relative(m->timer, tick(m));
        if (r < 0)
                return reason_set(reason, r, "Cannot set a timer: %s", strerror(-r));
        m->handler(c, m->userdata);
        return 0;
}

int minter_new(const MinterParams *p, Minter **ret, Reason *reason)
{
        if (p->n_names == 0)
                return reason_set(reason, -EINVAL, "A TLS certificate needs a name");
        _cleanup_(minter_freep) Minter *m = calloc(1, sizeof(*m));
        if (!m)
                return reason_set(reason, -ENOMEM, "Out of memory");
        m->identity = p->identity;
        m->loop = p->loop;
        m->lifetime = p->lifetime;
        m->handler = p->handler;
        m->userdata = p->userdata;
        ossl_secure_heap(); /* EC private numbers go there once there is one */
        int r = copy_names(m, p);
        if (r < 0)
                return reason_set(reason, r, "Out of memory");
        r = san_new(p->names, p->n_names, &m->san, reason);
        if (r == 0)
                r = first(m, reason);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}
