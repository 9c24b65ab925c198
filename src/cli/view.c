/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/view.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"

#define SLOTS     8
#define SLOT_SIZE 2048 /* a reason of the daemon, whole: what went wrong stands at its end */

/* A few values of one printf() at a time. */
static char *slot(void)
{
        static char slots[SLOTS][SLOT_SIZE];
        static unsigned next;
        return slots[next++ % SLOTS];
}

static bool colours(void)
{
        static int known = -1;
        if (known < 0)
                known = isatty(STDOUT_FILENO) && isempty(getenv("NO_COLOR"));
        return known;
}

Tone view_posture_tone(const char *posture)
{
        if (streq(posture, "affirming"))
                return TONE_GOOD;
        if (streq(posture, "warning"))
                return TONE_WARN;
        if (streq(posture, "contraindicated"))
                return TONE_BAD;
        return TONE_PLAIN;
}

const char *view_toned(Tone tone, const char *text)
{
        static const char *const codes[] = {
                [TONE_PLAIN] = "0", [TONE_GOOD] = "32",  [TONE_WARN] = "33",
                [TONE_BAD] = "31",  [TONE_FAINT] = "90",
        };
        if (!colours() || tone == TONE_PLAIN)
                return text;
        char *s = slot();
        snprintf(s, SLOT_SIZE, "\033[%sm%s\033[0m", codes[tone], text);
        return s;
}

void view_field(const char *name, const char *format, ...)
{
        va_list ap;
        printf("  %-10s ", name);
        va_start(ap, format);
        vprintf(format, ap);
        va_end(ap);
        putchar('\n');
}

const char *view_string(const json_t *object, const char *key, const char *otherwise)
{
        const char *text = json_string_value(json_object_get(object, key));
        if (isempty(text))
                return otherwise;
        _cleanup_free_ char *safe = str_escape(bytes_from_str(text), SLOT_SIZE / 5);
        char *s = slot();
        snprintf(s, SLOT_SIZE, "%s", strempty(safe));
        return s;
}

json_int_t view_integer(const json_t *object, const char *key)
{
        return json_integer_value(json_object_get(object, key));
}

bool view_true(const json_t *object, const char *key)
{
        return json_is_true(json_object_get(object, key));
}

const char *view_span(const json_t *object, const char *key)
{
        char text[USEC_FORMAT_MAX];
        const json_t *value = json_object_get(object, key);
        if (!json_is_number(value))
                return "";
        double seconds = json_number_value(value);
        char *s = slot();
        usec_t span = (usec_t)((seconds < 0 ? 0 : seconds) * 1e6);
        /* A person looks at it: microseconds are noise. */
        if (span >= USEC_PER_SEC)
                span -= span % USEC_PER_SEC;
        else if (span >= USEC_PER_MSEC)
                span -= span % USEC_PER_MSEC;
        snprintf(s, SLOT_SIZE, "%s", span == 0 ? "0s" : usec_format_span(span, text));
        return s;
}

const char *view_ago(const json_t *object, const char *key)
{
        char span[USEC_FORMAT_MAX];
        snprintf(span, sizeof(span), "%s", view_span(object, key));
        if (isempty(span))
                return "never";
        char *s = slot();
        snprintf(s, SLOT_SIZE, "%s ago", span);
        return s;
}

const char *view_size(json_int_t bytes)
{
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
        double value = (double)bytes;
        size_t unit = 0;
        for (; value >= 1024 && unit + 1 < ELEMENTSOF(units); unit++)
                value /= 1024;
        char *s = slot();
        snprintf(s, SLOT_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
        return s;
}

int view_json(const json_t *value)
{
        if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
                return -EIO;
        putchar('\n');
        return 0;
}
