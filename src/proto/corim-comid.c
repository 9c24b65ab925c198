/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/corim-comid.h"

#include <errno.h>

#include "base/str.h"
#include "proto/cbor.h"
#include "proto/corim-measurement.h"

enum {
        TAG_UUID = 37,
        TAG_OID = 111,
        TAG_UEID = 550,
        TAG_PKIX_KEY = 554,
        TAG_BYTES = 560,
        TAG_IMPLEMENTATION_ID = 600,
};

/* One more zeroed element at the end of an array; NULL without memory. Grows as elements come and
 * not by what a count promises. */
static void *append(void *array, size_t *n, size_t size)
{
        void **p = array;
        if ((*n & (*n - 1)) == 0) { /* 0 or a power of two: full */
                void *bigger = reallocarray(*p, *n > 0 ? 2 * *n : 1, size);
                if (!bigger)
                        return NULL;
                *p = bigger;
        }
        void *element = (uint8_t *)*p + *n * size;
        memset(element, 0, size);
        (*n)++;
        return element;
}

static void read_id(Reader *r, CorimId *ret)
{
        uint64_t tag = cbor_tag(r);
        if (cbor_peek(r) != CBOR_BYTES) {
                ret->type = CORIM_ID_OTHER;
                cbor_skip(r);
                return;
        }
        ret->value = cbor_bytes(r);
        size_t len = ret->value.len;
        bool ok = len > 0;
        switch (tag) {
        case TAG_UUID:
                ret->type = CORIM_ID_UUID;
                ok = len == 16;
                break;
        case TAG_OID:
                ret->type = CORIM_ID_OID;
                break;
        case TAG_UEID:
                ret->type = CORIM_ID_UEID;
                ok = len >= 7 && len <= 33;
                break;
        case TAG_BYTES:
                ret->type = CORIM_ID_BYTES;
                break;
        case TAG_IMPLEMENTATION_ID:
                ret->type = CORIM_ID_IMPLEMENTATION_ID;
                ok = len == 32;
                break;
        default:
                ret->type = CORIM_ID_OTHER;
        }
        if (!ok)
                reader_fail(r);
}

static void read_class(Reader *r, CorimEnvironment *ret)
{
        for (size_t n = cbor_map(r); n > 0 && reader_ok(r); n--) {
                switch (cbor_int(r)) {
                case 0:
                        read_id(r, &ret->class_id);
                        break;
                case 1:
                        ret->vendor = cbor_text(r);
                        break;
                case 2:
                        ret->model = cbor_text(r);
                        break;
                default: /* layer, index, extensions */
                        ret->narrowed = true;
                        cbor_skip(r);
                }
        }
}

static void read_environment(Reader *r, CorimEnvironment *ret)
{
        size_t n = cbor_map(r);
        if (n == 0)
                reader_fail(r);
        for (; n > 0 && reader_ok(r); n--) {
                switch (cbor_int(r)) {
                case 0:
                        read_class(r, ret);
                        break;
                case 1:
                        read_id(r, &ret->instance);
                        break;
                default: /* group, extensions */
                        ret->narrowed = true;
                        cbor_skip(r);
                }
        }
}

static int read_reference_triple(Reader *r, Corim *c)
{
        if (cbor_array(r) != 2)
                return CORIM_E_MALFORMED;
        CorimReference *reference =
                append(&c->references, &c->n_references, sizeof(CorimReference));
        if (!reference)
                return -ENOMEM;
        read_environment(r, &reference->environment);
        size_t n = cbor_array(r);
        if (n == 0)
                return CORIM_E_MALFORMED;
        for (; n > 0; n--) {
                CorimMeasurement *m = append(&reference->measurements, &reference->n_measurements,
                                             sizeof(CorimMeasurement));
                if (!m)
                        return -ENOMEM;
                corim_measurement_read(r, m);
                if (!reader_ok(r))
                        return CORIM_E_MALFORMED;
        }
        return CORIM_OK;
}

#define PEM_BEGIN "-----BEGIN PUBLIC KEY-----"
#define PEM_END   "-----END PUBLIC KEY-----"

/* The base64 text between the PEM lines, in the alphabet of base64url. */
static char *pem_body(Bytes pem)
{
        static const Bytes begin = { (const uint8_t *)PEM_BEGIN, sizeof(PEM_BEGIN) - 1 };
        const uint8_t *end = memmem(pem.data, pem.len, PEM_END, sizeof(PEM_END) - 1);

        if (!end || pem.len < begin.len || memcmp(pem.data, begin.data, begin.len) != 0)
                return NULL;
        const uint8_t *start = pem.data + begin.len;
        if (start > end)
                return NULL;
        char *body = malloc((size_t)(end - start) + 1);
        size_t n = 0;
        for (const uint8_t *p = start; body && p < end; p++)
                if (*p != '\n' && *p != '\r')
                        body[n++] = *p == '+' ? '-' : *p == '/' ? '_' : (char)*p;
        if (body)
                body[n] = '\0';
        return body;
}

/* Tag 554 is a SubjectPublicKeyInfo as PEM text. Other forms of keys are left without one. */
static int read_attest_key(Reader *r, CorimAttestKey *k)
{
        uint64_t tag = cbor_tag(r);
        if (tag != TAG_PKIX_KEY) {
                cbor_skip(r);
                return reader_ok(r) ? CORIM_OK : CORIM_E_MALFORMED;
        }
        Bytes pem = cbor_text(r);
        if (!reader_ok(r) || pem.len == 0)
                return CORIM_E_MALFORMED;
        _cleanup_free_ char *body = pem_body(pem);
        if (!body)
                return CORIM_E_MALFORMED;
        int error = base64url_decode_new(bytes_from_str(body), &k->spki, &k->spki_len);
        return error == -ENOMEM ? error : error < 0 ? CORIM_E_MALFORMED : CORIM_OK;
}

/* A third element binds the keys to conditions, which are not evaluated here: skipped. */
static int read_key_triple(Reader *r, Corim *c)
{
        size_t n_elements = cbor_array(r);
        if (n_elements < 2 || n_elements > 3)
                return CORIM_E_MALFORMED;
        if (n_elements == 3) {
                for (size_t i = 0; i < n_elements; i++)
                        cbor_skip(r);
                c->n_skipped++;
                return CORIM_OK;
        }
        CorimEnvironment environment = { 0 };
        read_environment(r, &environment);
        size_t n = cbor_array(r);
        if (n == 0)
                return CORIM_E_MALFORMED;
        for (size_t i = 0; i < n; i++) {
                CorimAttestKey *k = append(&c->keys, &c->n_keys, sizeof(CorimAttestKey));
                if (!k)
                        return -ENOMEM;
                k->environment = environment;
                k->n_in_triple = n;
                int error = read_attest_key(r, k);
                if (error != CORIM_OK)
                        return error;
        }
        return CORIM_OK;
}

static int read_list(Reader *r, Corim *c, int (*read)(Reader *r, Corim *c))
{
        size_t n = cbor_array(r);
        if (n == 0)
                return CORIM_E_MALFORMED;
        for (; n > 0; n--) {
                int error = read(r, c);
                if (error != CORIM_OK)
                        return error;
                if (!reader_ok(r))
                        return CORIM_E_MALFORMED;
        }
        return CORIM_OK;
}

static int read_triples(Reader *r, Corim *c)
{
        size_t n = cbor_map(r);
        if (n == 0)
                return CORIM_E_MALFORMED;
        for (; n > 0; n--) {
                int error = CORIM_OK;
                switch (cbor_int(r)) {
                case 0:
                        error = read_list(r, c, read_reference_triple);
                        break;
                case 3:
                        error = read_list(r, c, read_key_triple);
                        break;
                default:
                        c->n_skipped++;
                        cbor_skip(r);
                }
                if (error != CORIM_OK)
                        return error;
                if (!reader_ok(r))
                        return CORIM_E_MALFORMED;
        }
        return CORIM_OK;
}

int corim_comid_read(Bytes comid, Corim *c)
{
        Reader r = cbor_open(comid, CBOR_DEPTH_MAX);
        bool identity = false, triples = false;

        for (size_t n = cbor_map(&r); n > 0 && reader_ok(&r); n--) {
                int64_t key = cbor_int(&r);
                if (key == 4) {
                        int error = read_triples(&r, c);
                        if (error != CORIM_OK)
                                return error;
                        triples = true;
                        continue;
                }
                identity = identity || key == 1;
                cbor_skip(&r);
        }
        return cbor_done(&r) && identity && triples ? CORIM_OK : CORIM_E_MALFORMED;
}
