/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* MQTT topic names and topic filters (MQTT 5.0 section 4.7). */

#include "base/bytes.h"

/* What this server takes; the protocol itself stops at 65535 bytes. Matching is linear in both. */
#define TOPIC_BYTES_MAX  1024
#define TOPIC_LEVELS_MAX 32

/* A string as MQTT 5.0 section 1.5.4 allows it: UTF-8 without surrogates and U+0000, and also
 * without the control characters and non-characters that a receiver may refuse. Brokers upstream
 * do refuse them, and one such topic would then hold up everything behind it. */
bool mqtt_string_valid(Bytes s);

/* At least one character and no wildcard. */
bool topic_name_valid(Bytes name);
/* At least one character; '#' alone in the last level, '+' alone in its level. A filter that
 * begins with "$share/" needs a share name without wildcards and a filter after it (4.8.2). */
bool topic_filter_valid(Bytes filter);
/* A valid name or filter that is short and flat enough for this server. */
bool topic_within_bounds(Bytes topic);

/* Whether a valid filter that is not shared matches a valid name. Wildcards in the first level do
 * not match names that begin with '$' (4.7.2-1). */
bool topic_matches(Bytes filter, Bytes name);

/* Whether `outer` matches every name that `inner` matches; both are valid and not shared. Linear in
 * both, like the match itself. */
bool topic_filter_covers(Bytes outer, Bytes inner);

/* "$share/<name>/<filter>": true, with the filter in `ret_filter` (may be NULL). */
bool topic_filter_is_shared(Bytes filter, Bytes *ret_filter);

/* What stands in front of the first slash: all of it where there is none. */
Bytes topic_first_level(Bytes topic);
/* True when `topic` begins with the level `level`; `ret_rest` is what follows the slash. */
bool topic_strip_level(Bytes topic, Bytes level, Bytes *ret_rest);
