/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the lists of a class say of each of its devices: topic filters (Publish=, Subscribe=) and
 * client identifiers with '*' and '?' (ClientIds=). In both %d is the device's name, %z that of its
 * zone, %c that of its class, and %% a '%'. */

#include "domain/device.h"
#include "proto/topic.h"

#define PATTERNS_MAX 16 /* in one list */

/* The pattern as it reads for `d`: in `buf`, or the pattern itself where nothing is replaced. Empty
 * when a '%' stands in front of something else or the text would be longer than a topic may be. */
Bytes pattern_expand(const char *pattern, const Device *d, char buf[static TOPIC_BYTES_MAX]);

/* For whatever names there may be: a filter of this server that is not shared, and that begins
 * neither with '$' nor with a level that no device can be called (cmd, gateway, rats). */
bool pattern_filter_valid(const char *pattern);
/* For whatever names there may be: something that a client identifier could match. */
bool pattern_client_id_valid(const char *pattern);

/* Whether `glob` matches all of `text`: '*' any characters, '?' one, all else itself. Takes at most
 * glob.len times text.len steps. */
bool pattern_matches(Bytes glob, Bytes text);
