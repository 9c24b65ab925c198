/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/coap.h"

#include <string.h>

#include "base/util.h"

static const struct {
        int format;
        const char *type;
} formats[] = {
        { 0, "text/plain;charset=utf-8" },
        { COAP_FORMAT_LINK, "application/link-format" },
        { 41, "application/xml" },
        { 42, "application/octet-stream" },
        { 47, "application/exi" },
        { 50, "application/json" },
        { COAP_FORMAT_CBOR, "application/cbor" },
        { 61, "application/cwt" },
        { 62, "application/multipart-core" },
        { 63, "application/cbor-seq" },
        { 110, "application/senml+json" },
        { 111, "application/sensml+json" },
        { 112, "application/senml+cbor" },
        { 113, "application/sensml+cbor" },
        { 114, "application/senml-exi" },
        { 115, "application/sensml-exi" },
        { 310, "application/senml+xml" },
        { 311, "application/sensml+xml" },
        { 11542, "application/vnd.oma.lwm2m+tlv" },
        { 11543, "application/vnd.oma.lwm2m+json" },
        { 11544, "application/vnd.oma.lwm2m+cbor" },
};

const char *coap_media_type(int content_format)
{
        for (size_t i = 0; i < ELEMENTSOF(formats); i++)
                if (formats[i].format == content_format)
                        return formats[i].type;
        return NULL;
}

const char *coap_topic_outcome_to_string(CoapTopicOutcome o)
{
        switch (o) {
        case COAP_TOPIC_OK:
                return "The topic is good.";
        case COAP_TOPIC_EMPTY:
                return "The path names no topic, or has an empty segment.";
        case COAP_TOPIC_TOO_LONG:
                return "The topic is too long or too deep.";
        case COAP_TOPIC_INVALID:
                return "The topic holds wildcards, slashes, \".\", \"..\" or characters that are "
                       "not allowed.";
        case COAP_TOPIC_RESERVED:
                return "Topics below rats and cmd are reserved.";
        }
        return NULL;
}

static CoapTopicOutcome check_segment(Bytes segment)
{
        if (segment.len == 0)
                return COAP_TOPIC_EMPTY;
        /* RFC 7252 section 5.10.1: a Uri-Path is never "." or "..". */
        if (bytes_equal(segment, BYTES_LITERAL(".")) || bytes_equal(segment, BYTES_LITERAL("..")))
                return COAP_TOPIC_INVALID;
        if (memchr(segment.data, '/', segment.len) || !topic_name_valid(segment))
                return COAP_TOPIC_INVALID;
        return COAP_TOPIC_OK;
}

CoapTopicOutcome coap_topic_from_path(const Bytes *segments, size_t n,
                                      char ret[static TOPIC_BYTES_MAX + 1])
{
        if (n == 0)
                return COAP_TOPIC_EMPTY;
        if (bytes_equal(segments[0], BYTES_LITERAL("rats")) ||
            bytes_equal(segments[0], BYTES_LITERAL("cmd")))
                return COAP_TOPIC_RESERVED;
        char topic[TOPIC_BYTES_MAX + 1];
        size_t len = 0;
        for (size_t i = 0; i < n; i++) {
                CoapTopicOutcome o = check_segment(segments[i]);
                if (o != COAP_TOPIC_OK)
                        return o;
                if (segments[i].len + 1 > TOPIC_BYTES_MAX - len)
                        return COAP_TOPIC_TOO_LONG;
                if (i > 0)
                        topic[len++] = '/';
                memcpy(topic + len, segments[i].data, segments[i].len);
                len += segments[i].len;
        }
        if (!topic_within_bounds(BYTES(topic, len)))
                return COAP_TOPIC_TOO_LONG;
        memcpy(ret, topic, len);
        ret[len] = '\0';
        return COAP_TOPIC_OK;
}
