/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/ear.h"

#include <errno.h>
#include <jansson.h>

#include "base/str.h"
#include "sallyport/attestation.h"

#define JWT_HEADER "{\"alg\":\"ES256\",\"typ\":\"JWT\"}"

static const char *const claim_names[_AR4SI_CLAIM_MAX] = {
        [AR4SI_INSTANCE_IDENTITY] = "instance-identity",
        [AR4SI_CONFIGURATION] = "configuration",
        [AR4SI_EXECUTABLES] = "executables",
        [AR4SI_FILE_SYSTEM] = "file-system",
        [AR4SI_HARDWARE] = "hardware",
        [AR4SI_RUNTIME_OPAQUE] = "runtime-opaque",
        [AR4SI_STORAGE_OPAQUE] = "storage-opaque",
        [AR4SI_SOURCED_DATA] = "sourced-data",
};

const char *ar4si_tier_to_string(Ar4siTier t)
{
        switch (t) {
        case AR4SI_NONE:
                return "none";
        case AR4SI_AFFIRMING:
                return "affirming";
        case AR4SI_WARNING:
                return "warning";
        case AR4SI_CONTRAINDICATED:
                return "contraindicated";
        }
        return "contraindicated";
}

/* draft-ietf-rats-ar4si section 2.3.2; negative values mirror the positive tiers there, but -1..1
 * say nothing about the attester. */
Ar4siTier ar4si_claim_tier(int8_t value)
{
        int v = value;
        if (v >= -1 && v <= 1)
                return AR4SI_NONE;
        if ((v >= 2 && v <= 31) || (v >= -32 && v <= -2))
                return AR4SI_AFFIRMING;
        if ((v >= 32 && v <= 95) || (v >= -96 && v <= -33))
                return AR4SI_WARNING;
        return AR4SI_CONTRAINDICATED;
}

Ar4siTier ar4si_vector_tier(const Ar4siVector *v)
{
        Ar4siTier worst = AR4SI_NONE;
        for (size_t i = 0; i < _AR4SI_CLAIM_MAX; i++)
                worst = MAX(worst, ar4si_claim_tier(v->claims[i]));
        return worst;
}

static void json_unref(json_t **j)
{
        json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_unref)

/* Adds a member; false without memory or for text that is not UTF-8. Takes `value`. */
static bool set(json_t *object, const char *key, json_t *value)
{
        return value && json_object_set_new(object, key, value) == 0;
}

static json_t *vector_json(const Ar4siVector *v)
{
        _cleanup_json_ json_t *o = json_object();
        for (size_t i = 0; o && i < _AR4SI_CLAIM_MAX; i++)
                if (v->claims[i] != 0 && !set(o, claim_names[i], json_integer(v->claims[i])))
                        return NULL;
        return TAKE_PTR(o);
}

static json_t *submod_json(const EarSubmod *s)
{
        _cleanup_json_ json_t *o = json_object();
        if (!o || !set(o, "ear.status", json_string(ar4si_tier_to_string(s->status))) ||
            !set(o, "ear.trustworthiness-vector", vector_json(&s->vector)))
                return NULL;
        if (s->policy_id && !set(o, "ear.appraisal-policy-id", json_string(s->policy_id)))
                return NULL;
        if (s->reason) {
                json_t *claims = json_pack("{s:s}", "reason", s->reason);
                if (!set(o, "ear.veraison.policy-claims", claims))
                        return NULL;
        }
        return TAKE_PTR(o);
}

static json_t *submods_json(const Ear *ear)
{
        _cleanup_json_ json_t *o = json_object();
        for (size_t i = 0; o && i < ear->n_submods; i++)
                if (!set(o, ear->submods[i].name, submod_json(&ear->submods[i])))
                        return NULL;
        return TAKE_PTR(o);
}

static json_t *claims_json(const Ear *ear)
{
        _cleanup_json_ json_t *o = json_object();
        if (!o || !set(o, "eat_profile", json_string(SALLYPORT_EAR_PROFILE)) ||
            !set(o, "iat", json_integer((json_int_t)(ear->issued / USEC_PER_SEC))) ||
            !set(o, "ear.verifier-id",
                 json_pack("{s:s, s:s}", "developer", ear->developer, "build", ear->build)) ||
            !set(o, "submods", submods_json(ear)))
                return NULL;
        if (ear->expires > 0 &&
            !set(o, "exp", json_integer((json_int_t)(ear->expires / USEC_PER_SEC))))
                return NULL;
        if (ear->nonce.len > 0) {
                _cleanup_free_ char *nonce = base64url_encode_new(ear->nonce);
                if (!nonce || !set(o, "eat_nonce", json_string(nonce)))
                        return NULL;
        }
        return TAKE_PTR(o);
}

static int append_base64url(Buf *b, Bytes bytes)
{
        _cleanup_free_ char *text = base64url_encode_new(bytes);
        return text ? buf_append_str(b, text) : -ENOMEM;
}

int ear_signing_input(const Ear *ear, Buf *ret)
{
        if (ear->n_submods == 0)
                return -EINVAL;
        _cleanup_json_ json_t *claims = claims_json(ear);
        _cleanup_free_ char *payload =
                claims ? json_dumps(claims, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
        if (!payload)
                return -EINVAL;
        int r = append_base64url(ret, BYTES_LITERAL(JWT_HEADER));
        if (r < 0 || (r = buf_append_u8(ret, '.')) < 0)
                return r;
        return append_base64url(ret, bytes_from_str(payload));
}

int ear_sign(Buf *ret, Bytes signature)
{
        if (signature.len != 64)
                return -EINVAL;
        int r = buf_append_u8(ret, '.');
        return r < 0 ? r : append_base64url(ret, signature);
}
