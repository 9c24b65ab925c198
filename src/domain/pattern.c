/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/pattern.h"

#include "base/utf8.h"

static const char *replacement(char c, const Device *d)
{
        switch (c) {
        case 'd':
                return d->name;
        case 'z':
                return d->zone->name;
        case 'c':
                return d->class->name;
        case '%':
                return "%";
        default:
                return NULL;
        }
}

Bytes pattern_expand(const char *pattern, const Device *d, char buf[static TOPIC_BYTES_MAX])
{
        size_t n = 0;
        if (!strchr(pattern, '%'))
                return bytes_from_str(pattern);
        for (; *pattern; pattern++) {
                const char *text = pattern;
                size_t len = 1;
                if (*pattern == '%') {
                        text = replacement(*++pattern, d);
                        if (!text)
                                return BYTES(NULL, 0);
                        len = strlen(text);
                }
                if (len > TOPIC_BYTES_MAX - n)
                        return BYTES(NULL, 0);
                memcpy(buf + n, text, len);
                n += len;
        }
        return BYTES(buf, n);
}

/* The longest names there are, of letters: what holds with them holds with all, for names have
 * nothing in them that means something in a pattern. */
static Bytes expand_longest(const char *pattern, char buf[static TOPIC_BYTES_MAX])
{
        static char name[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        _Static_assert(sizeof name == DEVICE_NAME_MAX + 1, "is as long as a name may be");
        static const Zone zone = { .name = name };
        static const Class class = { .name = name };
        static const Device device = { .name = name, .zone = &zone, .class = &class };
        return pattern_expand(pattern, &device, buf);
}

bool pattern_filter_valid(const char *pattern)
{
        char buf[TOPIC_BYTES_MAX];
        Bytes f = expand_longest(pattern, buf);
        return topic_filter_valid(f) && topic_within_bounds(f) && f.data[0] != '$' &&
               !device_name_reserved(topic_first_level(f));
}

bool pattern_client_id_valid(const char *pattern)
{
        char buf[TOPIC_BYTES_MAX];
        Bytes glob = expand_longest(pattern, buf);
        return glob.len > 0 && glob.len <= TOPIC_BYTES_MAX && mqtt_string_valid(glob);
}

/* How long the character at `at` is. */
static size_t step(Bytes s, size_t at)
{
        uint32_t c;
        size_t n = utf8_next(BYTES(s.data + at, s.len - at), &c);
        return MAX(n, (size_t)1);
}

bool pattern_matches(Bytes glob, Bytes text)
{
        size_t g = 0, t = 0;
        size_t star = SIZE_MAX, from = 0; /* behind the last '*', and where what follows it began */
        while (t < text.len) {
                if (g < glob.len && glob.data[g] == '*') {
                        star = ++g;
                        from = t;
                } else if (g < glob.len && glob.data[g] == '?') {
                        t += step(text, t);
                        g++;
                } else if (g < glob.len && glob.data[g] == text.data[t]) {
                        t++;
                        g++;
                } else if (star != SIZE_MAX) { /* it takes one more, and no '*' before it has to */
                        from += step(text, from);
                        t = from;
                        g = star;
                } else {
                        return false;
                }
        }
        while (g < glob.len && glob.data[g] == '*')
                g++;
        return g == glob.len;
}
