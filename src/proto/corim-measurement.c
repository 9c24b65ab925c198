/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/corim-measurement.h"

#include "proto/cbor.h"

enum {
        TAG_SVN = 552,
        TAG_SVN_MINIMUM = 553,
        TAG_BYTES = 560,
        TAG_PSA_COMPONENT = 601,
};

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

void corim_measurement_read(Reader *r, CorimMeasurement *m)
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
