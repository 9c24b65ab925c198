/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/cmw.h"

#include <errno.h>
#include <jansson.h>

#include "base/str.h"

static void json_unref(json_t **j)
{
        json_decref(*j);
}

/* The type member: text with a slash, or a content format. */
static CmwOutcome read_type(const json_t *type, CmwRecord *ret)
{
        if (json_is_string(type)) {
                ret->media_type = BYTES(json_string_value(type), json_string_length(type));
                return memchr(ret->media_type.data, '/', ret->media_type.len) ? CMW_OK : CMW_E_TYPE;
        }
        json_int_t format = json_is_integer(type) ? json_integer_value(type) : -1;
        if (format < 0 || format > UINT16_MAX)
                return CMW_E_TYPE;
        ret->content_format = (uint16_t)format;
        return CMW_OK;
}

static CmwOutcome read_indicator(const json_t *indicator, CmwRecord *ret)
{
        if (!indicator)
                return CMW_OK;
        json_int_t v = json_is_integer(indicator) ? json_integer_value(indicator) : 0;
        if (v <= 0 || v > UINT32_MAX)
                return CMW_E_SHAPE;
        ret->indicator = (uint32_t)v;
        return CMW_OK;
}

/* Puts value and media type in one allocation, because the JSON tree goes away. */
static int own(CmwRecord *r, const uint8_t *value, size_t value_len, void **ret_storage)
{
        uint8_t *storage = malloc(value_len + r->media_type.len + 1);
        if (!storage)
                return -ENOMEM;
        if (value_len > 0)
                memcpy(storage, value, value_len);
        r->value = BYTES(storage, value_len);
        if (r->media_type.len > 0) {
                memcpy(storage + value_len, r->media_type.data, r->media_type.len);
                r->media_type.data = storage + value_len;
        }
        *ret_storage = storage;
        return 0;
}

int cmw_json_record_read(Bytes message, CmwRecord *ret, void **ret_storage)
{
        _cleanup_(json_unref) json_t *root =
                json_loadb((const char *)message.data, message.len, JSON_REJECT_DUPLICATES, NULL);
        _cleanup_free_ uint8_t *value = NULL;
        size_t value_len = 0;
        CmwRecord record = { 0 };

        if (!root)
                return CMW_E_MALFORMED;
        size_t n = json_array_size(root);
        if (n < 2 || n > 3 || !json_is_string(json_array_get(root, 1)))
                return CMW_E_SHAPE;
        CmwOutcome o = read_type(json_array_get(root, 0), &record);
        if (o == CMW_OK)
                o = read_indicator(json_array_get(root, 2), &record);
        if (o != CMW_OK)
                return (int)o;

        const json_t *text = json_array_get(root, 1);
        int r = base64url_decode_new(BYTES(json_string_value(text), json_string_length(text)),
                                     &value, &value_len);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return CMW_E_MALFORMED;
        r = own(&record, value, value_len, ret_storage);
        if (r < 0)
                return r;
        *ret = record;
        return CMW_OK;
}
