/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Tokens and reference files for tests of what judges them: made with the writer, so that each
 * test says only what is different. The signature is 64 bytes that a fake verifier accepts. */

#include "base/buf.h"
#include "base/util.h"
#include "proto/cbor-writer.h"
#include "proto/corim.h"

#define FIXTURE_MAX 8192

typedef struct FixtureComponent {
        const char *name; /* NULL: not stated */
        uint8_t digest;   /* 32 bytes of this */
        const char *version;
        uint8_t signer; /* 32 bytes of this; in a reference 0: not stated */
        uint8_t alg;    /* in a reference: of the digest; 0: SHA-256 */
} FixtureComponent;

typedef struct FixtureToken {
        uint8_t nonce, instance, implementation;
        int32_t client_id;
        uint16_t lifecycle;
        const FixtureComponent *components;
        size_t n;
        bool unmeasured; /* PSA_IOT_PROFILE_1 without components */
} FixtureToken;

static inline void fixture_fill(CborWriter *w, uint8_t value, size_t len, int first)
{
        uint8_t bytes[64];
        memset(bytes, value, len);
        if (first >= 0)
                bytes[0] = (uint8_t)first;
        cbor_put_bytes(w, BYTES(bytes, len));
}

static inline void fixture_component(CborWriter *w, const FixtureComponent *c)
{
        cbor_put_map(w, 2u + (c->name ? 1u : 0u) + (c->version ? 1u : 0u));
        if (c->name) {
                cbor_put_uint(w, 1);
                cbor_put_str(w, c->name);
        }
        cbor_put_uint(w, 2);
        fixture_fill(w, c->digest, 32, -1);
        if (c->version) {
                cbor_put_uint(w, 4);
                cbor_put_str(w, c->version);
        }
        cbor_put_uint(w, 5);
        fixture_fill(w, c->signer, 32, -1);
}

/* Appends the token to `ret`. */
static inline void fixture_token(const FixtureToken *t, Buf *ret)
{
        static const int64_t modern[] = { 10, 256, 2396, 2394, 2395, 2399 };
        static const int64_t first[] = { -75008, -75009, -75003, -75001, -75002, -75007 };
        const int64_t *keys = t->unmeasured ? first : modern;
        Buf payload = BUF_INIT(FIXTURE_MAX);
        uint8_t signature[64] = { 0 };
        CborWriter w = cbor_writer(&payload);

        cbor_put_map(&w, t->unmeasured ? 6 : 7);
        cbor_put_int(&w, keys[0]);
        fixture_fill(&w, t->nonce, 32, -1);
        cbor_put_int(&w, keys[1]);
        fixture_fill(&w, t->instance, 33, 1);
        cbor_put_int(&w, keys[2]);
        fixture_fill(&w, t->implementation, 32, -1);
        cbor_put_int(&w, keys[3]);
        cbor_put_int(&w, t->client_id);
        cbor_put_int(&w, keys[4]);
        cbor_put_uint(&w, t->lifecycle);
        cbor_put_int(&w, keys[5]);
        if (t->unmeasured) {
                cbor_put_uint(&w, 1);
        } else {
                cbor_put_array(&w, t->n);
                for (size_t i = 0; i < t->n; i++)
                        fixture_component(&w, &t->components[i]);
                cbor_put_int(&w, 265);
                cbor_put_str(&w, "tag:psacertified.org,2023:psa#tfm");
        }
        w = (CborWriter){ ret, w.error };
        cbor_put_tag(&w, 18);
        cbor_put_array(&w, 4);
        cbor_put_bytes(&w, BYTES_LITERAL("\xa1\x01\x26"));
        cbor_put_map(&w, 0);
        cbor_put_bytes(&w, buf_view(&payload));
        cbor_put_bytes(&w, BYTES(signature, sizeof(signature)));
        assert_int_equal(w.error, 0);
        buf_done(&payload);
}

static inline void fixture_measurement(CborWriter *w, const FixtureComponent *c, Bytes extra)
{
        cbor_put_map(w, 1);
        cbor_put_uint(w, 1);
        cbor_put_map(w, 1u + (c->name ? 1u : 0u) + (c->version ? 1u : 0u) + (c->signer ? 1u : 0u) +
                                (extra.len > 0 ? 1u : 0u));
        if (c->version) {
                cbor_put_uint(w, 0);
                cbor_put_map(w, 1);
                cbor_put_uint(w, 0);
                cbor_put_str(w, c->version);
        }
        cbor_put_uint(w, 2);
        cbor_put_array(w, 1);
        cbor_put_array(w, 2);
        cbor_put_uint(w, c->alg > 0 ? c->alg : 1);
        fixture_fill(w, c->digest, 32, -1);
        if (c->name) {
                cbor_put_uint(w, 11);
                cbor_put_str(w, c->name);
        }
        if (c->signer) {
                cbor_put_uint(w, 13);
                cbor_put_array(w, 1);
                cbor_put_tag(w, 560);
                fixture_fill(w, c->signer, 32, -1);
        }
        cbor_put_encoded(w, extra);
}

typedef struct FixtureCorim {
        uint8_t implementation;
        uint8_t instance; /* 0: for all instances */
        const FixtureComponent *components;
        size_t n;
        Bytes extra;         /* one more encoded pair among the values of each measurement */
        bool layer;          /* the class states a layer as well */
        uint64_t not_after;  /* seconds, 0: not stated */
        const char *profile; /* URI or NULL */
        const char *key_pem; /* enrols this key for `instance` instead of the components */
} FixtureCorim;

/* Appends the file to `ret`. */
static inline void fixture_corim(const FixtureCorim *f, Buf *ret)
{
        Buf comid = BUF_INIT(FIXTURE_MAX);
        CborWriter w = cbor_writer(&comid);
        uint8_t id[16] = { 0 };

        cbor_put_map(&w, 2);
        cbor_put_uint(&w, 1);
        cbor_put_map(&w, 1);
        cbor_put_uint(&w, 0);
        cbor_put_bytes(&w, BYTES(id, sizeof(id)));
        cbor_put_uint(&w, 4);
        cbor_put_map(&w, 1);
        cbor_put_uint(&w, f->key_pem ? 3 : 0);
        cbor_put_array(&w, 1);
        cbor_put_array(&w, 2);
        cbor_put_map(&w, f->instance ? 2 : 1);
        cbor_put_uint(&w, 0);
        cbor_put_map(&w, f->layer ? 2 : 1);
        cbor_put_uint(&w, 0);
        cbor_put_tag(&w, 560);
        fixture_fill(&w, f->implementation, 32, -1);
        if (f->layer) {
                cbor_put_uint(&w, 3);
                cbor_put_uint(&w, 1);
        }
        if (f->instance) {
                cbor_put_uint(&w, 1);
                cbor_put_tag(&w, 550);
                fixture_fill(&w, f->instance, 33, 1);
        }
        if (f->key_pem) {
                cbor_put_array(&w, 1);
                cbor_put_tag(&w, 554);
                cbor_put_str(&w, f->key_pem);
        } else {
                cbor_put_array(&w, f->n);
                for (size_t i = 0; i < f->n; i++)
                        fixture_measurement(&w, &f->components[i], f->extra);
        }
        w = (CborWriter){ ret, w.error };
        cbor_put_tag(&w, 501);
        cbor_put_map(&w, 2u + (f->not_after ? 1u : 0u) + (f->profile ? 1u : 0u));
        cbor_put_uint(&w, 0);
        cbor_put_str(&w, "test");
        cbor_put_uint(&w, 1);
        cbor_put_array(&w, 1);
        cbor_put_tag(&w, 506);
        cbor_put_bytes(&w, buf_view(&comid));
        if (f->profile) {
                cbor_put_uint(&w, 3);
                cbor_put_tag(&w, 32);
                cbor_put_str(&w, f->profile);
        }
        if (f->not_after) {
                cbor_put_uint(&w, 4);
                cbor_put_map(&w, 1);
                cbor_put_uint(&w, 1);
                cbor_put_tag(&w, 1);
                cbor_put_uint(&w, f->not_after);
        }
        assert_int_equal(w.error, 0);
        buf_done(&comid);
}

/* Not a digest: enough to tell contents apart without a library for it. */
static inline int fixture_sha256(Bytes data, uint8_t *ret)
{
        memset(ret, 0, 32);
        for (size_t i = 0; i < data.len; i++)
                ret[i % 32] = (uint8_t)(ret[i % 32] * 31 + data.data[i]);
        return 0;
}
