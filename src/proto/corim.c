/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/corim.h"

#include <errno.h>

#include "proto/cbor.h"
#include "proto/corim-comid.h"
#include "proto/corim-profile.h"

enum {
        TAG_EPOCH = 1,
        TAG_URI = 32,
        TAG_OID = 111,
        TAG_CORIM = 501,
        TAG_COMID = 506,

        HEADER_CORIM_META = 8,

        CORIM_ID = 0,
        CORIM_TAGS = 1,
        CORIM_PROFILE = 3,
        CORIM_VALIDITY = 4,
};

const char *corim_outcome_to_string(CorimOutcome o)
{
        switch (o) {
        case CORIM_OK:
                return "well-formed CoRIM";
        case CORIM_E_MALFORMED:
                return "not a well-formed CoRIM";
        case CORIM_E_NOT_CORIM:
                return "not a CoRIM";
        case CORIM_E_UNTRUSTED:
                return "not signed by the configured signer";
        case CORIM_E_EXPIRED:
                return "outside its period of validity";
        case CORIM_E_PROFILE:
                return "breaks a rule of its profile";
        case CORIM_E_TOO_LARGE:
                return "larger than reference files may be";
        }
        return "unknown";
}

Corim *corim_free(Corim *c)
{
        if (!c)
                return NULL;
        for (size_t i = 0; i < c->n_references; i++)
                free(c->references[i].measurements);
        for (size_t i = 0; i < c->n_keys; i++)
                free(c->keys[i].spki);
        free(c->references);
        free(c->keys);
        free(c->data);
        free(c);
        return NULL;
}

bool corim_valid_at(const Corim *c, usec_t now)
{
        return !c->has_validity || (now >= c->not_before && now < c->not_after);
}

/* #6.1(int): seconds since 1970. What is before counts as 1970, what is too far as for ever. */
static usec_t read_time(Reader *r)
{
        if (cbor_tag(r) != TAG_EPOCH)
                reader_fail(r);
        int64_t seconds = cbor_int(r);
        if (seconds <= 0)
                return 0;
        return (uint64_t)seconds > USEC_INFINITY / USEC_PER_SEC ? USEC_INFINITY
                                                                : (usec_t)seconds * USEC_PER_SEC;
}

/* {?0: not before, 1: not after}: narrows what was stated before. */
static void read_validity(Reader *r, Corim *c)
{
        bool end = false;
        for (size_t n = cbor_map(r); n > 0 && reader_ok(r); n--) {
                int64_t key = cbor_int(r);
                usec_t t = read_time(r);
                if (key == 0) {
                        c->not_before = MAX(c->not_before, t);
                } else if (key == 1) {
                        c->not_after = c->has_validity ? MIN(c->not_after, t) : t;
                        end = true;
                } else {
                        reader_fail(r);
                }
        }
        if (!end)
                reader_fail(r);
        c->has_validity = true;
}

/* corim-meta: bstr .cbor {0: signer, ?1: validity}. */
static bool read_meta(Reader value, Corim *c)
{
        Reader r = cbor_open(cbor_bytes(&value), CBOR_DEPTH);
        bool signer = false;

        for (size_t n = cbor_map(&r); n > 0 && reader_ok(&r); n--) {
                int64_t key = cbor_int(&r);
                if (key == 1) {
                        read_validity(&r, c);
                        continue;
                }
                signer = signer || key == 0;
                cbor_skip(&r);
        }
        return cbor_done(&r) && signer;
}

static void read_profile(Reader *r, Corim *c)
{
        static const struct {
                const char *uri;
                CorimProfile profile;
        } known[] = {
                { "tag:arm.com,2025:psa#1.0.0", CORIM_PROFILE_PSA },
                { "http://arm.com/psa/iot/1", CORIM_PROFILE_PSA_IOT_1 },
                { "tag:github.com/parallaxsecond,2023-03-03:tpm", CORIM_PROFILE_PARSEC_TPM },
        };

        c->profile = CORIM_PROFILE_UNKNOWN;
        if (cbor_peek(r) == CBOR_TAG) {
                uint64_t tag = cbor_tag(r);
                if (tag == TAG_OID) {
                        (void)cbor_bytes(r);
                        return;
                }
                if (tag != TAG_URI)
                        reader_fail(r);
        }
        Bytes uri = cbor_text(r);
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (bytes_equal(uri, bytes_from_str(known[i].uri)))
                        c->profile = known[i].profile;
}

/* The tags of a CoRIM: those that are CoMIDs, the others are counted. */
static int read_tags(Reader *r, Corim *c)
{
        size_t n = cbor_array(r);
        if (n == 0)
                return CORIM_E_MALFORMED;
        for (; n > 0; n--) {
                uint64_t tag = cbor_tag(r);
                Bytes content = cbor_bytes(r);
                if (!reader_ok(r))
                        return CORIM_E_MALFORMED;
                if (tag != TAG_COMID) {
                        c->n_skipped++;
                        continue;
                }
                int error = corim_comid_read(content, c);
                if (error != CORIM_OK)
                        return error;
        }
        return CORIM_OK;
}

static int read_corim_map(Bytes map, Corim *c)
{
        bool id = false, tags = false;
        Reader r = reader_new(map);

        for (size_t n = cbor_map(&r); n > 0 && reader_ok(&r); n--) {
                int error = CORIM_OK;
                switch (cbor_int(&r)) {
                case CORIM_ID:
                        id = cbor_peek(&r) == CBOR_TEXT || cbor_peek(&r) == CBOR_BYTES;
                        cbor_skip(&r);
                        break;
                case CORIM_TAGS:
                        error = read_tags(&r, c);
                        tags = true;
                        break;
                case CORIM_PROFILE:
                        read_profile(&r, c);
                        break;
                case CORIM_VALIDITY:
                        read_validity(&r, c);
                        break;
                default:
                        c->n_skipped++;
                        cbor_skip(&r);
                }
                if (error != CORIM_OK)
                        return error;
        }
        if (!cbor_done(&r) || !id || !tags)
                return CORIM_E_MALFORMED;
        return corim_profile_ok(c) ? CORIM_OK : CORIM_E_PROFILE;
}

static int read_unsigned(Bytes document, Corim *c)
{
        Reader r = cbor_open(document, CBOR_DEPTH_MAX);
        if (!reader_ok(&r))
                return CORIM_E_MALFORMED;
        if (cbor_peek(&r) != CBOR_TAG || cbor_tag(&r) != TAG_CORIM || cbor_peek(&r) != CBOR_MAP)
                return CORIM_E_NOT_CORIM;
        return read_corim_map(reader_rest(&r), c);
}

static int read_signed(const CorimTrust *trust, Corim *c)
{
        CoseSign1 s;
        if (cose_sign1_read(BYTES(c->data, c->len), COSE_TAGGED, &s) != COSE_OK)
                return CORIM_E_MALFORMED;
        Reader type = cose_protected_find(&s, COSE_HEADER_CONTENT_TYPE);
        if (!bytes_equal(cbor_text(&type), BYTES_LITERAL("application/rim+cbor")))
                return CORIM_E_NOT_CORIM;
        if (!trust->key)
                return CORIM_E_UNTRUSTED;
        int good =
                cose_sign1_verify(&s, BYTES(NULL, 0), trust->verify, trust->key, trust->userdata);
        if (good < 0)
                return good;
        if (good == 0)
                return CORIM_E_UNTRUSTED;
        c->is_signed = true;
        if (!read_meta(cose_protected_find(&s, HEADER_CORIM_META), c))
                return CORIM_E_MALFORMED;
        return read_unsigned(s.payload, c);
}

int corim_read(Bytes file, const CorimTrust *trust, usec_t now, Corim **ret)
{
        if (file.len > CORIM_SIZE_MAX)
                return CORIM_E_TOO_LARGE;
        _cleanup_(corim_freep) Corim *c = calloc(1, sizeof(*c));
        if (!c || !(c->data = malloc(file.len + 1)))
                return -ENOMEM;
        if (file.len > 0)
                memcpy(c->data, file.data, file.len);
        c->len = file.len;

        Reader r = reader_new(file);
        int error;
        if (cbor_peek(&r) == CBOR_TAG && cbor_tag(&r) == COSE_TAG_SIGN1)
                error = read_signed(trust, c);
        else
                error = trust->key ? CORIM_E_UNTRUSTED : read_unsigned(BYTES(c->data, c->len), c);
        if (error != CORIM_OK)
                return error;
        if (!corim_valid_at(c, now))
                return CORIM_E_EXPIRED;
        *ret = TAKE_PTR(c);
        return CORIM_OK;
}
