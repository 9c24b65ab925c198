/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/eat.h"

#include "proto/cbor.h"

/* The same claims under the keys of the three dialects (RFC 9783 section 4, and the drafts that
 * came before it). */
typedef struct Dialect {
        const char *profile;
        int64_t profile_key, nonce, instance_id, implementation_id, client_id, lifecycle, boot_seed,
                components, no_components;
        size_t boot_seed_min, boot_seed_max;
} Dialect;

#define NO_KEY INT64_MIN

static const Dialect dialects[] = {
        [PSA_DIALECT_PROFILE_1] = { "PSA_IOT_PROFILE_1", -75000, -75008, -75009, -75003, -75001,
                                    -75002, -75004, -75006, -75007, 32, 32 },
        [PSA_DIALECT_2_0_0] = { "http://arm.com/psa/2.0.0", 265, 10, 256, 2396, 2394, 2395, 2397,
                                2399, NO_KEY, 32, 32 },
        [PSA_DIALECT_TFM] = { "tag:psacertified.org,2023:psa#tfm", 265, 10, 256, 2396, 2394, 2395,
                              268, 2399, NO_KEY, 8, 32 },
};

const char *psa_dialect_to_string(PsaDialect d)
{
        return dialects[d].profile;
}

const char *eat_outcome_to_string(EatOutcome o)
{
        switch (o) {
        case EAT_OK:
                return "well-formed PSA claims";
        case EAT_E_MALFORMED:
                return "the payload is not a CBOR map of claims";
        case EAT_E_PROFILE:
                return "the profile claim names no PSA profile that is known";
        case EAT_E_NONCE:
                return "the nonce claim is missing or is not 32, 48 or 64 bytes";
        case EAT_E_INSTANCE_ID:
                return "the Instance ID is missing or is not 33 bytes that begin with 01";
        case EAT_E_IMPLEMENTATION_ID:
                return "the Implementation ID is missing or is not 32 bytes";
        case EAT_E_CLIENT_ID:
                return "the client id is missing, zero or not a 32-bit integer";
        case EAT_E_LIFECYCLE:
                return "the security lifecycle is missing or not a value of the profile";
        case EAT_E_BOOT_SEED:
                return "the boot seed has a wrong length";
        case EAT_E_COMPONENTS:
                return "the software components are missing or not well-formed";
        }
        return "unknown";
}

static bool hash_sized(Bytes b)
{
        return b.len == 32 || b.len == 48 || b.len == 64;
}

static bool find_text(Bytes map, int64_t key, Bytes *ret)
{
        Reader r = cbor_map_find(map, key);
        if (!reader_ok(&r))
                return false;
        *ret = cbor_text(&r);
        return reader_ok(&r);
}

static bool find_bytes(Bytes map, int64_t key, Bytes *ret)
{
        Reader r = cbor_map_find(map, key);
        if (!reader_ok(&r))
                return false;
        *ret = cbor_bytes(&r);
        return reader_ok(&r);
}

static bool find_int(Bytes map, int64_t key, int64_t *ret)
{
        Reader r = cbor_map_find(map, key);
        if (!reader_ok(&r))
                return false;
        *ret = cbor_int(&r);
        return reader_ok(&r);
}

static bool present(Bytes map, int64_t key)
{
        Reader r = cbor_map_find(map, key);
        return reader_ok(&r);
}

/* The profile claim decides; only the first profile allows it to be absent. */
static bool find_dialect(Bytes map, PsaDialect *ret)
{
        Bytes profile;

        if (!present(map, dialects[PSA_DIALECT_TFM].profile_key)) {
                *ret = PSA_DIALECT_PROFILE_1;
                return !present(map, dialects[*ret].profile_key) ||
                       (find_text(map, dialects[*ret].profile_key, &profile) &&
                        bytes_equal(profile, bytes_from_str(dialects[*ret].profile)));
        }
        if (!find_text(map, dialects[PSA_DIALECT_TFM].profile_key, &profile))
                return false;
        for (PsaDialect d = PSA_DIALECT_2_0_0; d <= PSA_DIALECT_TFM; d++)
                if (bytes_equal(profile, bytes_from_str(dialects[d].profile))) {
                        *ret = d;
                        return true;
                }
        return false;
}

/* An optional text member: absent is fine, another type is not. */
static bool optional_text(Bytes map, int64_t key, Bytes *ret)
{
        return !present(map, key) || find_text(map, key, ret);
}

static bool read_component(Bytes map, PsaComponent *ret)
{
        *ret = (PsaComponent){ 0 };
        return find_bytes(map, 2, &ret->value) && hash_sized(ret->value) &&
               find_bytes(map, 5, &ret->signer) && hash_sized(ret->signer) &&
               optional_text(map, 1, &ret->type) && optional_text(map, 4, &ret->version) &&
               optional_text(map, 6, &ret->description);
}

static bool read_components(Bytes map, const Dialect *d, PsaClaims *ret)
{
        Reader r = cbor_map_find(map, d->components);
        int64_t none;

        if (d->no_components != NO_KEY && present(map, d->no_components)) {
                ret->n_components = 0;
                return !reader_ok(&r) && find_int(map, d->no_components, &none) && none == 1;
        }
        ret->n_components = cbor_array(&r);
        if (!reader_ok(&r) || ret->n_components == 0 || ret->n_components > PSA_COMPONENTS_MAX)
                return false;
        for (size_t i = 0; i < ret->n_components; i++) {
                if (cbor_peek(&r) != CBOR_MAP)
                        return false;
                if (!read_component(cbor_item(&r), &ret->components[i]))
                        return false;
        }
        return cbor_done(&r);
}

static EatOutcome read_claims(Bytes map, const Dialect *d, PsaClaims *c)
{
        int64_t v;

        if (!find_bytes(map, d->nonce, &c->nonce) || !hash_sized(c->nonce))
                return EAT_E_NONCE;
        if (!find_bytes(map, d->instance_id, &c->instance_id) || c->instance_id.len != 33 ||
            c->instance_id.data[0] != 0x01)
                return EAT_E_INSTANCE_ID;
        if (!find_bytes(map, d->implementation_id, &c->implementation_id) ||
            c->implementation_id.len != 32)
                return EAT_E_IMPLEMENTATION_ID;
        if (!find_int(map, d->client_id, &v) || v == 0 || v < INT32_MIN || v > INT32_MAX)
                return EAT_E_CLIENT_ID;
        c->client_id = (int32_t)v;
        if (!find_int(map, d->lifecycle, &v) || v < 0 || v > 0x60ff || (v & 0x0f00) != 0)
                return EAT_E_LIFECYCLE;
        c->lifecycle = (uint16_t)v;
        if (present(map, d->boot_seed) &&
            (!find_bytes(map, d->boot_seed, &c->boot_seed) || c->boot_seed.len < d->boot_seed_min ||
             c->boot_seed.len > d->boot_seed_max))
                return EAT_E_BOOT_SEED;
        return read_components(map, d, c) ? EAT_OK : EAT_E_COMPONENTS;
}

EatOutcome eat_psa_read(Bytes payload, PsaClaims *ret)
{
        PsaClaims c = { 0 };

        Reader r = cbor_open(payload, CBOR_DEPTH);
        if (cbor_peek(&r) != CBOR_MAP)
                return EAT_E_MALFORMED;
        if (!find_dialect(payload, &c.dialect))
                return EAT_E_PROFILE;
        EatOutcome o = read_claims(payload, &dialects[c.dialect], &c);
        if (o == EAT_OK)
                *ret = c;
        return o;
}
