/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* How answers of the daemon look on a terminal: fields, tables, colours where there is a tty and
 * NO_COLOR is not set. Text that came from a peer is escaped. */

#include <jansson.h>

#include "base/time.h"
#include "base/util.h"

typedef enum Tone {
        TONE_PLAIN,
        TONE_GOOD,
        TONE_WARN,
        TONE_BAD,
        TONE_FAINT,
} Tone;

/* The tone of a posture's word. */
Tone view_posture_tone(const char *posture);
/* Text in a tone, as one printf-able string; holds until the eighth next call. */
const char *view_toned(Tone tone, const char *text);

/* "   name       value": one field of an answer. */
void view_field(const char *name, const char *format, ...) _printf_(2, 3);

/* A member that may be missing. */
const char *view_string(const json_t *object, const char *key, const char *otherwise);
json_int_t view_integer(const json_t *object, const char *key);
bool view_true(const json_t *object, const char *key);
/* Seconds as "2h 5min"; "" for a missing member. Holds until the eighth next call. */
const char *view_span(const json_t *object, const char *key);
/* The same as "2h 5min ago"; "never" for a missing member. */
const char *view_ago(const json_t *object, const char *key);
/* Bytes as "12.3 MiB". Holds until the eighth next call. */
const char *view_size(json_int_t bytes);

/* The answer as JSON, one document and a newline. */
int view_json(const json_t *value);
