/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/corim-comid.h"

#include <errno.h>

#include "base/str.h"
#include "proto/cbor.h"

enum {
        TAG_UUID = 37,
        TAG_OID = 111,
        TAG_UEID = 550,
        TAG_SVN = 552,
        TAG_SVN_MINIMUM = 553,
        TAG_PKIX_KEY = 554,
        TAG_BYTES = 560,
        TAG_IMPLEMENTATION_ID = 600,
        TAG_PSA_COMPONENT = 601,
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

static void read_digest(Reader *r, CorimDigest *ret)
{
        if (cbor_array(r) != 2)
                reader_fail(r);
        if (cbor_peek(r) == CBOR_TEXT)
                (void)cbor_text(r);
        else
                ret->alg = cbor_int(r);
        ret->value = cbor_bytes(r);
        if (ret->value.len == 0)
                reader_fail(r);
}

static void read_digests(Reader *r, CorimMeasurement *m)
{
        size_t n = cbor_array(r);
        if (n == 0 || n > CORIM_DIGESTS_MAX) {
                reader_fail(r);
                return;
        }
        for (m->n_digests = 0; m->n_digests < n; m->n_digests++)
                read_digest(r, &m->digests[m->n_digests]);
}

/* {register: [digest, ...], ...}: checked for shape, kept as it is. */
static void read_registers(Reader *r, CorimMeasurement *m)
{
        Reader start = *r;
        for (size_t n = cbor_map(r); n > 0 && reader_ok(r); n--) {
                if (cbor_peek(r) == CBOR_TEXT)
                        (void)cbor_text(r);
                else
                        (void)cbor_uint(r);
                CorimMeasurement scratch = { 0 };
                read_digests(r, &scratch);
        }
        if (reader_ok(r))
                m->registers = cbor_item(&start);
}

/* A measurement's key and its values may state the same thing. Where they disagree nothing can
 * match. */
static void state(Bytes *field, Bytes v, CorimMeasurement *m)
{
        if (field->data && !bytes_equal(*field, v))
                m->incomparable = true;
        *field = v;
}

static void add_signer(Reader *r, CorimMeasurement *m)
{
        Bytes signer = cbor_bytes(r);
        if (m->n_signers == CORIM_SIGNERS_MAX)
                reader_fail(r);
        if (reader_ok(r))
                m->signers[m->n_signers++] = signer;
}

static void read_signers(Reader *r, CorimMeasurement *m)
{
        size_t n = cbor_array(r);
        if (n == 0)
                reader_fail(r);
        for (; n > 0 && reader_ok(r); n--) {
                if (cbor_tag(r) == TAG_BYTES) {
                        add_signer(r, m);
                } else {
                        m->incomparable = true;
                        cbor_skip(r);
                }
        }
}

/* {0: version, ?1: scheme}: the scheme matters for an order, and here versions are only equal. */
static void read_version(Reader *r, CorimMeasurement *m)
{
        for (size_t n = cbor_map(r); n > 0 && reader_ok(r); n--) {
                if (cbor_int(r) == 0)
                        state(&m->version, cbor_text(r), m);
                else
                        cbor_skip(r);
        }
        if (!m->version.data)
                reader_fail(r);
}

static void read_svn(Reader *r, CorimMeasurement *m)
{
        if (cbor_peek(r) == CBOR_TAG) {
                uint64_t tag = cbor_tag(r);
                m->svn_is_minimum = tag == TAG_SVN_MINIMUM;
                if (tag != TAG_SVN && tag != TAG_SVN_MINIMUM)
                        reader_fail(r);
        }
        m->svn = cbor_uint(r);
        m->has_svn = true;
}

static void read_values(Reader *r, CorimMeasurement *m)
{
        size_t n = cbor_map(r);
        if (n == 0)
                reader_fail(r);
        for (; n > 0 && reader_ok(r); n--) {
                switch (cbor_int(r)) {
                case 0:
                        read_version(r, m);
                        break;
                case 1:
                        read_svn(r, m);
                        break;
                case 2:
                        read_digests(r, m);
                        break;
                case 11:
                        state(&m->name, cbor_text(r), m);
                        break;
                case 13:
                        read_signers(r, m);
                        break;
                case 14:
                        read_registers(r, m);
                        break;
                default:
                        m->incomparable = true;
                        cbor_skip(r);
                }
        }
}

/* The older PSA profile names a component by its key: {1: label, 4: version, 5: signer}. */
static void read_psa_component(Reader *r, CorimMeasurement *m)
{
        m->key_type = CORIM_KEY_PSA_COMPONENT;
        for (size_t n = cbor_map(r); n > 0 && reader_ok(r); n--) {
                switch (cbor_int(r)) {
                case 1:
                        state(&m->name, cbor_text(r), m);
                        break;
                case 4:
                        state(&m->version, cbor_text(r), m);
                        break;
                case 5:
                        add_signer(r, m);
                        break;
                default:
                        m->incomparable = true;
                        cbor_skip(r);
                }
        }
}

static void read_key(Reader *r, CorimMeasurement *m)
{
        CborType type = cbor_peek(r);
        if (type == CBOR_TEXT) {
                m->key_type = CORIM_KEY_TEXT;
                m->key_text = cbor_text(r);
        } else if (type == CBOR_UINT) {
                m->key_type = CORIM_KEY_UINT;
                m->key_uint = cbor_uint(r);
        } else if (cbor_tag(r) == TAG_PSA_COMPONENT) {
                read_psa_component(r, m);
        } else {
                m->key_type = CORIM_KEY_OTHER;
                cbor_skip(r);
        }
}

static void read_measurement(Reader *r, CorimMeasurement *m)
{
        bool values = false;
        for (size_t n = cbor_map(r); n > 0 && reader_ok(r); n--) {
                switch (cbor_int(r)) {
                case 0:
                        read_key(r, m);
                        break;
                case 1:
                        read_values(r, m);
                        values = true;
                        break;
                default: /* authorized-by, extensions */
                        m->incomparable = true;
                        cbor_skip(r);
                }
        }
        if (!values)
                reader_fail(r);
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
                read_measurement(r, m);
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
