/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/cose.h"

#include <errno.h>

#include "proto/cbor-writer.h"
#include "proto/cbor.h"

/* Room for heads around what is copied. */
#define OVERHEAD 128

const char *cose_outcome_to_string(CoseOutcome o)
{
        switch (o) {
        case COSE_OK:
                return "well-formed COSE_Sign1";
        case COSE_E_MALFORMED:
                return "not a well-formed COSE_Sign1 message";
        case COSE_E_TAG:
                return "not tagged as COSE_Sign1";
        case COSE_E_ALGORITHM:
                return "no supported signature algorithm in the protected header";
        case COSE_E_CRITICAL:
                return "a critical header that is not understood";
        case COSE_E_DUPLICATE:
                return "a header label is both protected and unprotected";
        case COSE_E_DETACHED:
                return "the payload is not inside the message";
        case COSE_E_SIGNATURE:
                return "the signature has not the length of its algorithm";
        }
        return "unknown";
}

/* RFC 9053 section 2.1 and 2.2; 0 for an algorithm that is not supported. */
static size_t signature_size(int64_t alg)
{
        switch (alg) {
        case COSE_ES256:
        case COSE_EDDSA:
                return 64;
        case COSE_ES384:
                return 96;
        case COSE_ES512:
                return 132;
        default:
                return 0;
        }
}

static bool has_text_label(Bytes map, Bytes label)
{
        bool found = false;
        Reader r = reader_new(map);
        for (size_t n = cbor_map(&r); n > 0; n--) {
                if (cbor_peek(&r) == CBOR_TEXT)
                        found = bytes_equal(cbor_text(&r), label) || found;
                else
                        cbor_skip(&r);
                cbor_skip(&r);
        }
        return found;
}

static bool has_label(Bytes map, int64_t label, Reader *ret)
{
        *ret = cbor_map_find(map, label);
        return reader_ok(ret);
}

/* True when some label of `a` is one of `b` as well. */
static bool maps_overlap(Bytes a, Bytes b)
{
        Reader r = reader_new(a), value;
        for (size_t n = a.len > 0 ? cbor_map(&r) : 0; n > 0; n--) {
                bool both = cbor_peek(&r) == CBOR_TEXT ? has_text_label(b, cbor_text(&r))
                                                       : has_label(b, cbor_int(&r), &value);
                if (both)
                        return true;
                cbor_skip(&r);
        }
        return false;
}

/* A header map holds integer and text labels only (RFC 9052 section 3). */
static bool labels_ok(Bytes map)
{
        Reader r = reader_new(map);
        for (size_t n = cbor_map(&r); n > 0 && reader_ok(&r); n--) {
                if (cbor_peek(&r) == CBOR_TEXT)
                        (void)cbor_text(&r);
                else
                        (void)cbor_int(&r);
                cbor_skip(&r);
        }
        return reader_done(&r);
}

static CoseOutcome check_headers(CoseSign1 *s)
{
        Reader r;

        if (s->protected_header.len > 0 &&
            (!cbor_check(s->protected_header, CBOR_DEPTH) || !labels_ok(s->protected_header)))
                return COSE_E_MALFORMED;
        if (!labels_ok(s->unprotected))
                return COSE_E_MALFORMED;
        if (has_label(s->protected_header, COSE_HEADER_CRIT, &r) ||
            has_label(s->unprotected, COSE_HEADER_CRIT, &r))
                return COSE_E_CRITICAL;
        if (maps_overlap(s->protected_header, s->unprotected))
                return COSE_E_DUPLICATE;
        if (!has_label(s->protected_header, COSE_HEADER_ALG, &r))
                return COSE_E_ALGORITHM;
        int64_t alg = cbor_int(&r);
        if (!cbor_done(&r) || signature_size(alg) == 0)
                return COSE_E_ALGORITHM;
        s->alg = (int)alg;
        if (has_label(s->protected_header, COSE_HEADER_X5CHAIN, &r) ||
            has_label(s->unprotected, COSE_HEADER_X5CHAIN, &r))
                s->x5chain = reader_rest(&r);
        return COSE_OK;
}

CoseOutcome cose_sign1_read(Bytes message, CoseFlags flags, CoseSign1 *ret)
{
        Reader r = cbor_open(message, CBOR_DEPTH);
        if (!reader_ok(&r))
                return COSE_E_MALFORMED;
        bool tagged = cbor_peek(&r) == CBOR_TAG;
        if (tagged == !!(flags & COSE_UNTAGGED))
                return COSE_E_TAG;
        if (tagged && cbor_tag(&r) != COSE_TAG_SIGN1)
                return COSE_E_TAG;
        if (cbor_array(&r) != 4)
                return COSE_E_MALFORMED;

        CoseSign1 s = { .protected_header = cbor_bytes(&r) };
        if (cbor_peek(&r) != CBOR_MAP)
                return COSE_E_MALFORMED;
        s.unprotected = cbor_item(&r);
        if (cbor_null(&r))
                return COSE_E_DETACHED;
        s.payload = cbor_bytes(&r);
        s.signature = cbor_bytes(&r);
        if (!cbor_done(&r))
                return COSE_E_MALFORMED;

        CoseOutcome o = check_headers(&s);
        if (o != COSE_OK)
                return o;
        if (s.signature.len != signature_size(s.alg))
                return COSE_E_SIGNATURE;
        *ret = s;
        return COSE_OK;
}

Reader cose_protected_find(const CoseSign1 *s, int64_t label)
{
        return cbor_map_find(s->protected_header, label);
}

/* COSE_X509 = bstr / [ 2*certs: bstr ] (RFC 9360 section 2). */
Bytes cose_x5chain_at(const CoseSign1 *s, size_t i)
{
        Reader r = reader_new(s->x5chain);
        size_t n = cbor_peek(&r) == CBOR_ARRAY ? cbor_array(&r) : 1;
        Bytes certificate = { 0 };

        if (i >= n)
                return certificate;
        for (size_t k = 0; k <= i; k++)
                certificate = cbor_bytes(&r);
        return certificate;
}

int cose_sign1_tbs(Bytes protected_header, Bytes aad, Bytes payload, Buf *ret)
{
        CborWriter w = cbor_writer(ret);
        cbor_put_array(&w, 4);
        cbor_put_str(&w, "Signature1");
        cbor_put_bytes(&w, protected_header);
        cbor_put_bytes(&w, aad);
        cbor_put_bytes(&w, payload);
        return w.error;
}

int cose_sign1_verify(const CoseSign1 *s, Bytes aad, CoseVerify verify, const void *key,
                      void *userdata)
{
        _cleanup_buf_ Buf tbs =
                BUF_INIT(s->protected_header.len + aad.len + s->payload.len + OVERHEAD);

        int r = cose_sign1_tbs(s->protected_header, aad, s->payload, &tbs);
        if (r < 0)
                return r;
        return verify(key, s->alg, buf_view(&tbs), s->signature, userdata);
}

int cose_protected_write(int alg, uint16_t content_format, const Bytes *chain, size_t n_chain,
                         Buf *ret)
{
        CborWriter w = cbor_writer(ret);
        cbor_put_map(&w, n_chain > 0 ? 3 : 2);
        cbor_put_int(&w, COSE_HEADER_ALG);
        cbor_put_int(&w, alg);
        cbor_put_int(&w, COSE_HEADER_CONTENT_TYPE);
        cbor_put_uint(&w, content_format);
        if (n_chain > 0)
                cbor_put_int(&w, COSE_HEADER_X5CHAIN);
        if (n_chain > 1)
                cbor_put_array(&w, n_chain);
        for (size_t i = 0; i < n_chain; i++)
                cbor_put_bytes(&w, chain[i]);
        return w.error;
}

int cose_sign1_write(Bytes protected_header, Bytes payload, Bytes signature, Buf *ret)
{
        CborWriter w = cbor_writer(ret);
        cbor_put_tag(&w, COSE_TAG_SIGN1);
        cbor_put_array(&w, 4);
        cbor_put_bytes(&w, protected_header);
        cbor_put_map(&w, 0);
        cbor_put_bytes(&w, payload);
        cbor_put_bytes(&w, signature);
        return w.error;
}
