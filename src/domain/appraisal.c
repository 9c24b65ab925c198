/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/appraisal.h"

#include <stdio.h>

#include "base/str.h"

/* AR4SI values (draft-ietf-rats-ar4si section 2.3) that are used here. */
enum {
        TRUSTWORTHY = 2,         /* of any claim: recognised and not compromised */
        EXECUTABLES_UNSAFE = 32, /* recognised, known to have weaknesses */
        EXECUTABLES_UNRECOGNIZED = 33,
        LIFECYCLE_UNTRUSTWORTHY = 96,
        HARDWARE_UNRECOGNIZED = 97,
};

/* PSA security lifecycle, the states by their high byte (RFC 9783 section 4.3.1). */
enum {
        LIFECYCLE_SECURED = 0x30,
        LIFECYCLE_NON_PSA_ROT_DEBUG = 0x40,
};

#define SHOWN_NAME   40 /* bytes of a component's name in a reason */
#define SHOWN_DIGEST 4  /* bytes of a measurement */

bool psa_algorithm_allowed(int alg)
{
        return alg == COSE_ES256 || alg == COSE_ES384 || alg == COSE_ES512;
}

bool psa_evidence_read(Bytes token, PsaEvidence *ret, const char **ret_reason)
{
        PsaEvidence e;

        if (token.len == 0 || token.len > PSA_TOKEN_MAX) {
                *ret_reason = "the token is empty or larger than 4096 bytes";
                return false;
        }
        CoseOutcome cose = cose_sign1_read(token, COSE_TAGGED, &e.envelope);
        if (cose != COSE_OK) {
                *ret_reason = cose_outcome_to_string(cose);
                return false;
        }
        if (!psa_algorithm_allowed(e.envelope.alg)) {
                *ret_reason = "a PSA token is signed with ES256, ES384 or ES512 and nothing else";
                return false;
        }
        EatOutcome eat = eat_psa_read(e.envelope.payload, &e.claims);
        if (eat != EAT_OK) {
                *ret_reason = eat_outcome_to_string(eat);
                return false;
        }
        *ret = e;
        return true;
}

/* Text that stands in reasons; freed by the caller. Never NULL where memory lasts; then "?". */
typedef struct Shown {
        char *name;
        char digest[2 * SHOWN_DIGEST + 1];
} Shown;

static void shown_done(Shown *s)
{
        free(s->name);
}

static Shown show(Bytes name, Bytes digest)
{
        Shown s = { .name = str_escape(name, SHOWN_NAME) };
        hex_encode(BYTES(digest.data, MIN(digest.len, (size_t)SHOWN_DIGEST)), s.digest);
        return s;
}

static size_t digest_size(int64_t alg)
{
        switch (alg) {
        case 1:
                return 32;
        case 7:
                return 48;
        case 8:
                return 64;
        default:
                return 0;
        }
}

static bool digest_matches(const CorimMeasurement *m, const PsaComponent *c)
{
        for (size_t i = 0; i < m->n_digests; i++)
                if (digest_size(m->digests[i].alg) == c->value.len &&
                    bytes_equal(m->digests[i].value, c->value))
                        return true;
        return false;
}

/* Everything that the reference states has to hold; what it states and a PSA token cannot show
 * (a security version, registers) never holds. */
static bool measurement_matches(const CorimMeasurement *m, const PsaComponent *c)
{
        if (m->incomparable || m->has_svn || m->registers.data || !digest_matches(m, c))
                return false;
        if (m->name.data && !bytes_equal(m->name, c->type))
                return false;
        if (m->version.data && !bytes_equal(m->version, c->version))
                return false;
        for (size_t i = 0; i < m->n_signers; i++)
                if (!bytes_equal(m->signers[i], c->signer))
                        return false;
        return true;
}

/* The references of one implementation, one measurement after the other. */
typedef struct Walk {
        const ReferenceSet *set;
        Bytes implementation_id;
        usec_t now;
        size_t next;
        const CorimReference *reference;
        size_t i;
} Walk;

static const CorimMeasurement *walk_next(Walk *w)
{
        while (!w->reference || w->i >= w->reference->n_measurements) {
                w->reference = reference_set_next(w->set, w->implementation_id, w->now, &w->next);
                w->i = 0;
                if (!w->reference)
                        return NULL;
        }
        return &w->reference->measurements[w->i++];
}

static void appraise_component(Verdict *v, const PsaComponent *c, Walk walk)
{
        const CorimMeasurement *m;
        bool digest_known = false;

        while ((m = walk_next(&walk))) {
                if (measurement_matches(m, c))
                        return;
                digest_known = digest_known || digest_matches(m, c);
        }
        _cleanup_(shown_done) Shown s = show(c->type, c->value);
        if (digest_known)
                verdict_claim(v, AR4SI_EXECUTABLES, EXECUTABLES_UNRECOGNIZED,
                              "component \"%s\" measurement %s… is known, but under another "
                              "name, version or signer",
                              strempty(s.name), s.digest);
        else
                verdict_claim(v, AR4SI_EXECUTABLES, EXECUTABLES_UNRECOGNIZED,
                              "component \"%s\" measurement %s… matches no reference value",
                              strempty(s.name), s.digest);
}

/* References of one name are alternatives (releases of one component); of each name one has to be
 * in the report. References without a name are alternatives of anything. */
static void appraise_presence(Verdict *v, const PsaClaims *claims, Walk walk)
{
        const CorimMeasurement *m;

        while ((m = walk_next(&walk))) {
                bool found = !m->name.data;
                for (size_t i = 0; i < claims->n_components && !found; i++)
                        found = bytes_equal(claims->components[i].type, m->name);
                if (found)
                        continue;
                _cleanup_(shown_done) Shown s = show(m->name, BYTES(NULL, 0));
                verdict_claim(v, AR4SI_EXECUTABLES, EXECUTABLES_UNRECOGNIZED,
                              "component \"%s\" is missing from the report", strempty(s.name));
        }
}

static void appraise_lifecycle(Verdict *v, uint16_t lifecycle)
{
        static const Ar4siClaim claims[] = { AR4SI_INSTANCE_IDENTITY, AR4SI_RUNTIME_OPAQUE,
                                             AR4SI_STORAGE_OPAQUE };
        uint8_t state = (uint8_t)(lifecycle >> 8);
        bool trusted = state == LIFECYCLE_SECURED || state == LIFECYCLE_NON_PSA_ROT_DEBUG;

        for (size_t i = 0; i < ELEMENTSOF(claims); i++)
                verdict_claim(v, claims[i], trusted ? TRUSTWORTHY : LIFECYCLE_UNTRUSTWORTHY,
                              "its security lifecycle is 0x%04x, which is not \"secured\"",
                              lifecycle);
        if (state == LIFECYCLE_NON_PSA_ROT_DEBUG)
                verdict_claim(v, AR4SI_EXECUTABLES, EXECUTABLES_UNSAFE,
                              "debugging is enabled on it (security lifecycle 0x%04x)", lifecycle);
}

static void appraise_software(Verdict *v, const PsaClaims *claims, const Walk *walk)
{
        if (claims->n_components == 0)
                verdict_claim(v, AR4SI_EXECUTABLES, EXECUTABLES_UNRECOGNIZED,
                              "the report holds no measurement of its software");
        for (size_t i = 0; i < claims->n_components; i++)
                appraise_component(v, &claims->components[i], *walk);
        appraise_presence(v, claims, *walk);
        verdict_claim(v, AR4SI_EXECUTABLES, TRUSTWORTHY, "no finding");
}

static void appraise_claims(Verdict *v, const PsaClaims *claims, const ReferenceSet *references,
                            usec_t now)
{
        Walk walk = { .set = references,
                      .implementation_id = claims->implementation_id,
                      .now = now };
        Walk probe = walk;

        appraise_lifecycle(v, claims->lifecycle);
        if (!references || !walk_next(&probe)) {
                _cleanup_(shown_done) Shown s = show(BYTES(NULL, 0), claims->implementation_id);
                verdict_claim(v, AR4SI_HARDWARE, HARDWARE_UNRECOGNIZED,
                              "no reference values for implementation %s…", s.digest);
                verdict_claim(v, AR4SI_EXECUTABLES, EXECUTABLES_UNRECOGNIZED,
                              "no reference values for its software");
                return;
        }
        verdict_claim(v, AR4SI_HARDWARE, TRUSTWORTHY, "no finding");
        appraise_software(v, claims, &walk);
        if (v->tier == AR4SI_AFFIRMING)
                snprintf(v->reason, sizeof(v->reason),
                         "all components match their reference values (%zu)", claims->n_components);
}

static bool client_allowed(const Enrolment *e, int32_t client_id)
{
        for (size_t i = 0; i < e->n_client_ids; i++)
                if (e->client_ids[i] == client_id)
                        return true;
        return e->n_client_ids == 0;
}

int appraisal_psa(const PsaEvidence *e, const Enrolment *enrolment, const ReferenceSet *references,
                  usec_t now, Verdict *ret)
{
        Verdict v = { 0 };

        if (enrolment->instance_id.len == 0 || !enrolment->key) {
                verdict_reject(&v, "no attestation identity is enrolled for this device");
        } else if (!bytes_equal(e->claims.instance_id, enrolment->instance_id)) {
                verdict_reject(&v, "the report is of another Instance ID than the enrolled one");
                v.foreign = true;
        } else {
                int good = cose_sign1_verify(&e->envelope, BYTES(NULL, 0), enrolment->verify,
                                             enrolment->key, enrolment->userdata);
                if (good < 0)
                        return good;
                v.authentic = good == 1;
                if (!v.authentic)
                        verdict_reject(&v, "the signature does not hold under the enrolled key");
                else if (!client_allowed(enrolment, e->claims.client_id))
                        verdict_reject(&v, "the client id is not one that may ask for reports");
                else
                        appraise_claims(&v, &e->claims, references, now);
        }
        *ret = v;
        return 0;
}
