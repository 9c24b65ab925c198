/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/cbor.h"

#include "base/str.h"
#include "base/util.h"

enum {
        AI_1 = 24,
        AI_2 = 25,
        AI_4 = 26,
        AI_8 = 27,
        SIMPLE_NULL = 22,
};

typedef struct Head {
        CborType type;
        uint64_t arg; /* value, length, count, tag or simple value */
} Head;

static uint64_t read_argument(Reader *r, uint8_t info)
{
        if (info < AI_1)
                return info;
        switch (info) {
        case AI_1:
                return reader_u8(r);
        case AI_2:
                return reader_u16(r);
        case AI_4:
                return reader_u32(r);
        case AI_8:
                return reader_u64(r);
        default: /* 28 to 30 are reserved, 31 is an indefinite length or a break */
                reader_fail(r);
                return 0;
        }
}

/* Whether what the head announces can be there at all: nothing is believed beyond the input. */
static bool head_plausible(const Head *h, uint8_t info, size_t left)
{
        switch (h->type) {
        case CBOR_BYTES:
        case CBOR_TEXT:
        case CBOR_ARRAY:
                return h->arg <= left;
        case CBOR_MAP:
                return h->arg <= left / 2 && h->arg <= CBOR_MAP_MAX;
        case CBOR_SIMPLE:
                return info != AI_1 || h->arg >= 32;
        case CBOR_UINT:
        case CBOR_NINT:
        case CBOR_TAG:
        case CBOR_END:
                return true;
        }
        return false;
}

static Head read_head(Reader *r)
{
        uint8_t first = reader_u8(r);
        Head h = { .type = (CborType)(first >> 5) };
        h.arg = read_argument(r, first & 0x1f);
        if (reader_ok(r) && !head_plausible(&h, first & 0x1f, r->left))
                reader_fail(r);
        return h;
}

/* Items that directly follow a head as its content. */
static uint64_t head_children(const Head *h)
{
        switch (h->type) {
        case CBOR_ARRAY:
                return h->arg;
        case CBOR_MAP:
                return 2 * h->arg;
        case CBOR_TAG:
                return 1;
        case CBOR_UINT:
        case CBOR_NINT:
        case CBOR_BYTES:
        case CBOR_TEXT:
        case CBOR_SIMPLE:
        case CBOR_END:
                return 0;
        }
        return 0;
}

/* Consumes the content of a string; text has to be UTF-8. */
static void read_content(Reader *r, const Head *h)
{
        if (h->type != CBOR_BYTES && h->type != CBOR_TEXT)
                return;
        Bytes content = reader_bytes(r, (size_t)h->arg);
        if (h->type == CBOR_TEXT && !utf8_valid(content))
                reader_fail(r);
}

/* Equal as values: the same head, whatever its length, and the same content. */
static bool keys_equal(Bytes a, Bytes b)
{
        Reader ra = reader_new(a), rb = reader_new(b);
        Head ha = read_head(&ra), hb = read_head(&rb);
        return ha.type == hb.type && ha.arg == hb.arg &&
               bytes_equal(reader_rest(&ra), reader_rest(&rb));
}

typedef struct Frame {
        uint64_t left; /* items to come */
        bool is_map;
        uint8_t n_keys;
        const uint8_t *key; /* where the last key began */
        Bytes keys[CBOR_MAP_MAX];
} Frame;

/* Notes the key that ends at `end`; false when the map has it already. */
static bool frame_add_key(Frame *f, const uint8_t *end)
{
        Bytes key = BYTES(f->key, (size_t)(end - f->key));
        for (size_t i = 0; i < f->n_keys; i++)
                if (keys_equal(f->keys[i], key))
                        return false;
        f->keys[f->n_keys++] = key;
        return true;
}

/* An item ended: so may the containers around it. Returns the number of open ones. */
static unsigned close_frames(Frame *stack, unsigned top, Reader *r)
{
        while (top > 0) {
                Frame *f = &stack[top - 1];
                f->left--;
                if (f->is_map && f->left % 2 == 1 && !frame_add_key(f, r->p))
                        reader_fail(r);
                if (f->left > 0)
                        break;
                top--;
        }
        return top;
}

bool cbor_check(Bytes document, unsigned depth)
{
        Frame stack[CBOR_DEPTH_MAX];
        unsigned top = 0;
        Reader r = reader_new(document);

        if (depth > CBOR_DEPTH_MAX)
                depth = CBOR_DEPTH_MAX;
        do {
                if (top > 0 && stack[top - 1].is_map && stack[top - 1].left % 2 == 0)
                        stack[top - 1].key = r.p;
                Head h = read_head(&r);
                read_content(&r, &h);
                uint64_t children = head_children(&h);
                if (!reader_ok(&r))
                        return false;
                if (children == 0) {
                        top = close_frames(stack, top, &r);
                        continue;
                }
                if (top >= depth)
                        return false;
                stack[top].left = children;
                stack[top].is_map = h.type == CBOR_MAP;
                stack[top].n_keys = 0;
                top++;
        } while (top > 0);
        return reader_done(&r);
}

Reader cbor_open(Bytes document, unsigned depth)
{
        Reader r = reader_new(document);
        if (!cbor_check(document, depth))
                reader_fail(&r);
        return r;
}

CborType cbor_peek(const Reader *r)
{
        return r->failed || r->left == 0 ? CBOR_END : (CborType)(*r->p >> 5);
}

/* The argument of the next head, which has to be of `type`. */
static uint64_t expect(Reader *r, CborType type)
{
        if (cbor_peek(r) != type) {
                reader_fail(r);
                return 0;
        }
        Head h = read_head(r);
        return reader_ok(r) ? h.arg : 0;
}

uint64_t cbor_uint(Reader *r)
{
        return expect(r, CBOR_UINT);
}

int64_t cbor_int(Reader *r)
{
        bool negative = cbor_peek(r) == CBOR_NINT;
        uint64_t v = expect(r, negative ? CBOR_NINT : CBOR_UINT);
        if (v > INT64_MAX) {
                reader_fail(r);
                return 0;
        }
        return negative && reader_ok(r) ? -1 - (int64_t)v : (int64_t)v;
}

Bytes cbor_bytes(Reader *r)
{
        return reader_bytes(r, (size_t)expect(r, CBOR_BYTES));
}

Bytes cbor_text(Reader *r)
{
        return reader_bytes(r, (size_t)expect(r, CBOR_TEXT));
}

size_t cbor_array(Reader *r)
{
        return (size_t)expect(r, CBOR_ARRAY);
}

size_t cbor_map(Reader *r)
{
        return (size_t)expect(r, CBOR_MAP);
}

uint64_t cbor_tag(Reader *r)
{
        return expect(r, CBOR_TAG);
}

bool cbor_null(Reader *r)
{
        if (r->failed || r->left == 0 || *r->p != (CBOR_SIMPLE << 5 | SIMPLE_NULL))
                return false;
        reader_skip(r, 1);
        return true;
}

Bytes cbor_item(Reader *r)
{
        const uint8_t *start = r->p;
        for (uint64_t pending = 1; pending > 0 && reader_ok(r); pending--) {
                Head h = read_head(r);
                if (h.type == CBOR_BYTES || h.type == CBOR_TEXT)
                        reader_skip(r, (size_t)h.arg);
                else
                        pending += head_children(&h);
        }
        return reader_ok(r) ? BYTES(start, (size_t)(r->p - start)) : BYTES(NULL, 0);
}

Reader cbor_map_find(Bytes map, int64_t key)
{
        Reader r = reader_new(map);
        for (size_t n = map.len > 0 ? cbor_map(&r) : 0; n > 0; n--) {
                CborType type = cbor_peek(&r);
                bool match = (type == CBOR_UINT || type == CBOR_NINT) && reader_ok(&r);
                if (match) {
                        Reader at = r;
                        match = cbor_int(&at) == key && reader_ok(&at);
                }
                cbor_skip(&r);
                Bytes value = cbor_item(&r);
                if (match)
                        return reader_new(value);
        }
        reader_fail(&r);
        return r;
}
