/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/corim-profile.h"

#include "proto/corim.h"

#define PCR_MAX 31

static bool is_implementation_id(const CorimId *id)
{
        return (id->type == CORIM_ID_BYTES || id->type == CORIM_ID_IMPLEMENTATION_ID) &&
               id->value.len == 32;
}

static bool is_ueid(const CorimId *id)
{
        return id->type == CORIM_ID_UEID && id->value.len == 33 && id->value.data[0] == 0x01;
}

/* One key in a triple, as a SubjectPublicKeyInfo. */
static bool is_single_key(const CorimAttestKey *k)
{
        return k->n_in_triple == 1 && k->spki;
}

/* draft-fdb-rats-psa-endorsements: software components under one name, by digest. */
static bool psa_measurement_ok(const CorimMeasurement *m)
{
        return m->key_type == CORIM_KEY_TEXT &&
               bytes_equal(m->key_text, BYTES_LITERAL("psa.software-component")) &&
               m->n_digests > 0 && m->n_signers <= 1;
}

static bool psa_reference_ok(const CorimReference *reference)
{
        if (!is_implementation_id(&reference->environment.class_id) ||
            reference->environment.instance.type != CORIM_ID_NONE)
                return false;
        for (size_t i = 0; i < reference->n_measurements; i++)
                if (!psa_measurement_ok(&reference->measurements[i]))
                        return false;
        return true;
}

static bool psa_key_ok(const CorimAttestKey *k)
{
        return is_implementation_id(&k->environment.class_id) &&
               is_ueid(&k->environment.instance) && is_single_key(k);
}

/* The Parsec TPM profile: a class by UUID, PCRs by number. */
static bool parsec_reference_ok(const CorimReference *reference)
{
        if (reference->environment.class_id.type != CORIM_ID_UUID)
                return false;
        for (size_t i = 0; i < reference->n_measurements; i++) {
                const CorimMeasurement *m = &reference->measurements[i];
                if (m->key_type != CORIM_KEY_UINT || m->key_uint > PCR_MAX || m->n_digests == 0)
                        return false;
        }
        return true;
}

static bool parsec_key_ok(const CorimAttestKey *k)
{
        const CorimId *instance = &k->environment.instance;
        return k->environment.class_id.type == CORIM_ID_UUID &&
               (instance->type == CORIM_ID_UEID || instance->type == CORIM_ID_BYTES) &&
               is_single_key(k);
}

bool corim_profile_ok(const Corim *c)
{
        bool psa = c->profile == CORIM_PROFILE_PSA;

        if (!psa && c->profile != CORIM_PROFILE_PARSEC_TPM)
                return true;
        for (size_t i = 0; i < c->n_references; i++)
                if (!(psa ? psa_reference_ok : parsec_reference_ok)(&c->references[i]))
                        return false;
        for (size_t i = 0; i < c->n_keys; i++)
                if (!(psa ? psa_key_ok : parsec_key_ok)(&c->keys[i]))
                        return false;
        return true;
}
