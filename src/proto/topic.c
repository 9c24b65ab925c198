/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/topic.h"

#include "base/utf8.h"

/* Control characters and the non-characters of Unicode (U+FDD0 to U+FDEF, the last two of each
 * plane). */
static bool is_unwanted(uint32_t c)
{
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xfdd0 && c <= 0xfdef) ||
               (c & 0xfffe) == 0xfffe;
}

bool mqtt_string_valid(Bytes s)
{
        while (s.len > 0) {
                uint32_t c;
                size_t n = utf8_next(s, &c);
                if (n == 0 || is_unwanted(c))
                        return false;
                s = BYTES(s.data + n, s.len - n);
        }
        return true;
}

static bool has_any(Bytes s, char a, char b)
{
        return s.len > 0 && (memchr(s.data, a, s.len) || memchr(s.data, b, s.len));
}

bool topic_name_valid(Bytes name)
{
        return name.len > 0 && mqtt_string_valid(name) && !has_any(name, '+', '#');
}

/* Splits the first level off `*rest`; false when there is none left. `*more` tells whether a slash
 * followed, so that "a/" has two levels, the second one empty. */
static bool next_level(Bytes *rest, bool *more, Bytes *ret)
{
        if (!*more)
                return false;
        const uint8_t *slash = rest->len > 0 ? memchr(rest->data, '/', rest->len) : NULL;
        size_t len = slash ? (size_t)(slash - rest->data) : rest->len;
        *ret = BYTES(rest->data, len);
        *more = slash != NULL;
        if (slash)
                *rest = BYTES(rest->data + len + 1, rest->len - len - 1);
        return true;
}

static bool level_is(Bytes level, char c)
{
        return level.len == 1 && level.data[0] == (uint8_t)c;
}

static bool filter_levels_valid(Bytes filter)
{
        bool more = true;
        Bytes level;
        if (filter.len == 0)
                return false;
        while (next_level(&filter, &more, &level)) {
                if (level_is(level, '+') || (level_is(level, '#') && !more))
                        continue;
                if (has_any(level, '+', '#'))
                        return false;
        }
        return true;
}

Bytes topic_first_level(Bytes topic)
{
        bool more = true;
        Bytes level = topic;
        next_level(&topic, &more, &level);
        return level;
}

bool topic_strip_level(Bytes topic, Bytes level, Bytes *ret_rest)
{
        if (topic.len <= level.len || topic.data[level.len] != '/' ||
            !bytes_equal(BYTES(topic.data, level.len), level))
                return false;
        *ret_rest = BYTES(topic.data + level.len + 1, topic.len - level.len - 1);
        return true;
}

bool topic_filter_is_shared(Bytes filter, Bytes *ret_filter)
{
        Bytes rest, name;
        bool more = true;
        if (!topic_strip_level(filter, BYTES_LITERAL("$share"), &rest))
                return false;
        next_level(&rest, &more, &name);
        if (ret_filter)
                *ret_filter = more ? rest : BYTES(NULL, 0);
        return true;
}

/* [MQTT-4.8.2-1], [MQTT-4.8.2-2] */
static bool share_valid(Bytes filter)
{
        Bytes rest = { 0 }, name = { 0 };
        bool more = true;
        topic_strip_level(filter, BYTES_LITERAL("$share"), &rest);
        next_level(&rest, &more, &name);
        return more && name.len > 0 && !has_any(name, '+', '#') && filter_levels_valid(rest);
}

bool topic_filter_valid(Bytes filter)
{
        if (!mqtt_string_valid(filter))
                return false;
        return topic_filter_is_shared(filter, NULL) ? share_valid(filter)
                                                    : filter_levels_valid(filter);
}

bool topic_within_bounds(Bytes topic)
{
        size_t levels = 1;
        if (topic.len > TOPIC_BYTES_MAX)
                return false;
        for (size_t i = 0; i < topic.len; i++)
                levels += topic.data[i] == '/';
        return levels <= TOPIC_LEVELS_MAX;
}

bool topic_matches(Bytes filter, Bytes name)
{
        bool filter_more = true, name_more = true;
        Bytes f, n;
        if (name.len > 0 && name.data[0] == '$' && has_any(BYTES(filter.data, 1), '+', '#'))
                return false;
        while (next_level(&filter, &filter_more, &f)) {
                if (level_is(f, '#')) /* the parent level too: "a/#" matches "a" */
                        return true;
                if (!next_level(&name, &name_more, &n))
                        return false;
                if (!level_is(f, '+') && !bytes_equal(f, n))
                        return false;
        }
        return !name_more;
}

bool topic_filter_covers(Bytes outer, Bytes inner)
{
        bool outer_more = true, inner_more = true;
        Bytes o, i;
        /* A name is not empty: here the parent level is none, and one more level has to be. */
        if (bytes_equal(inner, BYTES_LITERAL("#")))
                inner = BYTES_LITERAL("+/#");
        else if (bytes_equal(inner, BYTES_LITERAL("/#")))
                inner = BYTES_LITERAL("/+/#");
        if (inner.data[0] == '$' && has_any(BYTES(outer.data, 1), '+', '#'))
                return false;
        while (next_level(&outer, &outer_more, &o)) {
                if (level_is(o, '#'))
                        return true;
                if (!next_level(&inner, &inner_more, &i))
                        return false;
                if (level_is(i, '#') || (!level_is(o, '+') && !bytes_equal(o, i)))
                        return false;
        }
        return !inner_more;
}
