/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/cmw.h"

#include <errno.h>

#include "base/str.h"
#include "proto/cbor-writer.h"
#include "proto/cbor.h"
#include "sallyport/attestation.h"

#define TYPE_LABEL "__cmwc_t"

const char *cmw_outcome_to_string(CmwOutcome o)
{
        switch (o) {
        case CMW_OK:
                return "well-formed CMW";
        case CMW_E_MALFORMED:
                return "the wrapper is not well-formed";
        case CMW_E_SHAPE:
                return "the wrapper is neither a record nor a tag nor a collection";
        case CMW_E_TYPE:
                return "the wrapper names no type";
        case CMW_E_LABEL:
                return "the collection is empty or has a label that is neither text nor integer";
        }
        return "unknown";
}

uint16_t cmw_content_format(Bytes media_type)
{
        static const struct {
                const char *media_type;
                uint16_t content_format;
        } types[] = {
                { SALLYPORT_MEDIA_PSA_TFM, SALLYPORT_CF_PSA_TOKEN },
                { SALLYPORT_MEDIA_PSA_LEGACY, SALLYPORT_CF_PSA_TOKEN_OLD },
                { SALLYPORT_MEDIA_EAT_CWT, SALLYPORT_CF_EAT_CWT },
                { SALLYPORT_MEDIA_CMW_CBOR, SALLYPORT_CF_CMW_CBOR },
        };
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (bytes_equal(media_type, bytes_from_str(types[i].media_type)))
                        return types[i].content_format;
        return 0;
}

/* RFC 9277 appendix B, backwards: tags come in blocks of 256 of which the last is left out. */
static bool content_format_of_tag(uint64_t tag, uint16_t *ret)
{
        if (tag < CMW_TAG_FIRST)
                return false;
        uint64_t offset = tag - CMW_TAG_FIRST;
        uint64_t format = offset / 256 * 255 + offset % 256;
        if (offset % 256 == 255 || format > UINT16_MAX)
                return false;
        *ret = (uint16_t)format;
        return true;
}

static CmwOutcome read_tag_form(Reader *r, CmwRecord *ret)
{
        CmwRecord record = { 0 };
        if (!content_format_of_tag(cbor_tag(r), &record.content_format))
                return CMW_E_TYPE;
        record.value = cbor_bytes(r);
        if (!cbor_done(r))
                return CMW_E_SHAPE;
        *ret = record;
        return CMW_OK;
}

static CmwOutcome read_array_form(Reader *r, CmwRecord *ret)
{
        CmwRecord record = { 0 };
        size_t n = cbor_array(r);
        if (n < 2 || n > 3)
                return CMW_E_SHAPE;
        if (cbor_peek(r) == CBOR_TEXT) {
                record.media_type = cbor_text(r);
                if (!record.media_type.len ||
                    !memchr(record.media_type.data, '/', record.media_type.len))
                        return CMW_E_TYPE;
        } else {
                uint64_t format = cbor_uint(r);
                if (!reader_ok(r) || format > UINT16_MAX)
                        return CMW_E_TYPE;
                record.content_format = (uint16_t)format;
        }
        record.value = cbor_bytes(r);
        if (n == 3) {
                uint64_t indicator = cbor_uint(r);
                if (indicator == 0 || indicator > UINT32_MAX)
                        return CMW_E_SHAPE;
                record.indicator = (uint32_t)indicator;
        }
        if (!cbor_done(r))
                return CMW_E_SHAPE;
        *ret = record;
        return CMW_OK;
}

static CmwOutcome read_record(Bytes checked, CmwRecord *ret)
{
        Reader r = reader_new(checked);
        if (cbor_peek(&r) == CBOR_TAG)
                return read_tag_form(&r, ret);
        if (cbor_peek(&r) == CBOR_ARRAY)
                return read_array_form(&r, ret);
        return CMW_E_SHAPE;
}

CmwOutcome cmw_record_read(Bytes message, CmwRecord *ret)
{
        if (!cbor_check(message, CMW_DEPTH))
                return CMW_E_MALFORMED;
        return read_record(message, ret);
}

static bool is_type_label(Reader r)
{
        return cbor_peek(&r) == CBOR_TEXT && bytes_equal(cbor_text(&r), BYTES_LITERAL(TYPE_LABEL));
}

static CmwOutcome check_collection(Bytes checked);

/* Reads label and item; a nested collection is checked as well. The recursion goes no deeper than
 * CMW_DEPTH, because the message was checked for that. */
static CmwOutcome read_item(Reader *r, CmwItem *ret)
{
        CmwItem i = { .is_text = cbor_peek(r) == CBOR_TEXT };
        if (i.is_text)
                i.text = cbor_text(r);
        else
                i.number = cbor_int(r);
        if (!reader_ok(r))
                return CMW_E_LABEL;
        i.kind = cbor_peek(r) == CBOR_MAP ? CMW_COLLECTION : CMW_RECORD;
        i.encoded = cbor_item(r);
        CmwOutcome o = i.kind == CMW_COLLECTION ? check_collection(i.encoded)
                                                : read_record(i.encoded, &i.record);
        if (o == CMW_OK)
                *ret = i;
        return o;
}

static CmwOutcome check_collection(Bytes checked)
{
        size_t items = 0;
        Reader r = reader_new(checked);
        for (size_t n = cbor_map(&r); n > 0; n--) {
                CmwItem item;
                if (is_type_label(r)) {
                        cbor_skip(&r);
                        if (cbor_text(&r).len == 0)
                                return CMW_E_TYPE;
                        continue;
                }
                CmwOutcome o = read_item(&r, &item);
                if (o != CMW_OK)
                        return o;
                items++;
        }
        return items > 0 ? CMW_OK : CMW_E_LABEL;
}

CmwOutcome cmw_check(Bytes message, CmwKind *ret)
{
        CmwRecord record;
        Reader r = cbor_open(message, CMW_DEPTH);
        if (!reader_ok(&r))
                return CMW_E_MALFORMED;
        CmwKind kind = cbor_peek(&r) == CBOR_MAP ? CMW_COLLECTION : CMW_RECORD;
        CmwOutcome o =
                kind == CMW_COLLECTION ? check_collection(message) : read_record(message, &record);
        if (o == CMW_OK)
                *ret = kind;
        return o;
}

CmwOutcome cmw_collection_open(Bytes message, CmwCollection *ret)
{
        CmwKind kind = CMW_RECORD;
        CmwOutcome o = cmw_check(message, &kind);
        if (o != CMW_OK)
                return o;
        if (kind != CMW_COLLECTION)
                return CMW_E_SHAPE;

        CmwCollection c = { .reader = reader_new(message) };
        c.left = cbor_map(&c.reader);
        Reader r = c.reader;
        for (size_t n = c.left; n > 0; n--) {
                bool is_type = is_type_label(r);
                cbor_skip(&r);
                Bytes value = cbor_item(&r);
                if (is_type) {
                        Reader type = reader_new(value);
                        c.type = cbor_text(&type);
                }
        }
        *ret = c;
        return CMW_OK;
}

bool cmw_collection_next(CmwCollection *c, CmwItem *ret)
{
        while (c->left > 0) {
                c->left--;
                if (!is_type_label(c->reader))
                        return read_item(&c->reader, ret) == CMW_OK;
                cbor_skip(&c->reader);
                cbor_skip(&c->reader);
        }
        return false;
}

/* The order of encoded text keys: a shorter one has a smaller head. */
static int compare_labels(const char *a, const char *b)
{
        size_t la = strlen(a), lb = strlen(b);
        return la != lb ? (la < lb ? -1 : 1) : memcmp(a, b, la);
}

static int compare_entries(const void *a, const void *b)
{
        return compare_labels(((const CmwEntry *)a)->label, ((const CmwEntry *)b)->label);
}

static void put_entry(CborWriter *w, const CmwEntry *e)
{
        cbor_put_str(w, e->label);
        cbor_put_array(w, e->indicator != 0 ? 3 : 2);
        if (e->media_type)
                cbor_put_str(w, e->media_type);
        else
                cbor_put_uint(w, e->content_format);
        cbor_put_bytes(w, e->value);
        if (e->indicator != 0)
                cbor_put_uint(w, e->indicator);
}

static void put_type(CborWriter *w, const char *type)
{
        cbor_put_str(w, TYPE_LABEL);
        cbor_put_str(w, type);
}

int cmw_collection_write(const char *type, CmwEntry *entries, size_t n, Buf *ret)
{
        bool type_due = type != NULL;
        size_t total = n + (type_due ? 1 : 0);

        if (n == 0 || total > CBOR_MAP_MAX)
                return -EINVAL;
        qsort(entries, n, sizeof(*entries), compare_entries);
        for (size_t i = 0; i < n; i++)
                if (streq(entries[i].label, TYPE_LABEL) ||
                    (i > 0 && streq(entries[i - 1].label, entries[i].label)))
                        return -EINVAL;

        CborWriter w = cbor_writer(ret);
        cbor_put_map(&w, total);
        for (size_t i = 0; i < n; i++) {
                if (type_due && compare_labels(TYPE_LABEL, entries[i].label) < 0) {
                        put_type(&w, type);
                        type_due = false;
                }
                put_entry(&w, &entries[i]);
        }
        if (type_due)
                put_type(&w, type);
        return w.error;
}
