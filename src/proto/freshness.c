/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/freshness.h"

#include <errno.h>
#include <jansson.h>

#include "base/str.h"
#include "proto/cbor-writer.h"
#include "proto/cbor.h"

static void json_unref(json_t **j)
{
        json_decref(*j);
}

static bool read_cbor(Bytes request, uint64_t *ret)
{
        Reader r = cbor_open(request, CBOR_DEPTH);
        uint64_t len = *ret;
        for (size_t n = cbor_map(&r); n > 0 && reader_ok(&r); n--) {
                if (bytes_equal(cbor_text(&r), BYTES_LITERAL("len")))
                        len = cbor_uint(&r);
                else
                        cbor_skip(&r);
        }
        if (!cbor_done(&r))
                return false;
        *ret = len;
        return true;
}

static bool read_json(Bytes request, uint64_t *ret)
{
        _cleanup_(json_unref) json_t *root =
                json_loadb((const char *)request.data, request.len, JSON_REJECT_DUPLICATES, NULL);
        const json_t *len = json_object_get(root, "len");
        if (!json_is_object(root))
                return false;
        if (!len)
                return true;
        if (!json_is_integer(len) || json_integer_value(len) < 0)
                return false;
        *ret = (uint64_t)json_integer_value(len);
        return true;
}

bool freshness_request_read(FreshnessForm form, Bytes request, uint64_t *ret)
{
        return form == FRESHNESS_JSON ? read_json(request, ret) : read_cbor(request, ret);
}

static int write_json(Bytes nonce, uint32_t expiry, Buf *ret)
{
        _cleanup_free_ char *text = base64url_encode_new(nonce);
        if (!text)
                return -ENOMEM;
        return buf_printf(ret, "{\"nonce\":\"%s\",\"expiry\":%u}", text, expiry);
}

static int write_cbor(Bytes nonce, uint32_t expiry, Buf *ret)
{
        CborWriter w = cbor_writer(ret);
        cbor_put_map(&w, 2);
        cbor_put_str(&w, "nonce");
        cbor_put_bytes(&w, nonce);
        cbor_put_str(&w, "expiry");
        cbor_put_uint(&w, expiry);
        return w.error;
}

int freshness_response_write(FreshnessForm form, Bytes nonce, uint32_t expiry, Buf *ret)
{
        return form == FRESHNESS_JSON ? write_json(nonce, expiry, ret)
                                      : write_cbor(nonce, expiry, ret);
}
