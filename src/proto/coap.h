/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What of CoAP is a matter of bytes and words: topics from paths, media types from content
 * formats. */

#include "base/bytes.h"
#include "proto/topic.h"

/* IANA registry "CoAP Content-Formats". */
#define COAP_FORMAT_LINK    40
#define COAP_FORMAT_CBOR    60
#define COAP_FORMAT_PROBLEM 257 /* application/concise-problem-details+cbor, RFC 9290 */
#define COAP_FORMAT_EAT_JWT 264 /* application/eat+jwt, RFC 9782 */

/* The media type, or NULL for a number that is not known here. */
const char *coap_media_type(int content_format);

typedef enum CoapTopicOutcome {
        COAP_TOPIC_OK,
        COAP_TOPIC_EMPTY,    /* no segment, or an empty one */
        COAP_TOPIC_TOO_LONG, /* longer or deeper than a topic may be */
        COAP_TOPIC_INVALID,  /* not UTF-8, a control character, a wildcard, a slash, "." or ".." */
        COAP_TOPIC_RESERVED, /* begins with what belongs to attestation or commands */
} CoapTopicOutcome;
/* A sentence for the peer. */
const char *coap_topic_outcome_to_string(CoapTopicOutcome o);

/* The topic that the path segments `segments` name, NUL-terminated; `ret` is untouched unless the
 * outcome is COAP_TOPIC_OK. */
CoapTopicOutcome coap_topic_from_path(const Bytes *segments, size_t n,
                                      char ret[static TOPIC_BYTES_MAX + 1]);
