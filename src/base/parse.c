/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The number, size and time formats of base/str.h. */
#include <errno.h>
#include <strings.h>

#include "base/str.h"

/* Digits only: no sign, no space, no leading zero that somebody could read as octal. `*s` moves
 * behind them. */
static int take_number(const char **s, uint64_t *ret)
{
        const char *p = *s;
        uint64_t v = 0;
        if (*p < '0' || *p > '9' || (p[0] == '0' && p[1] >= '0' && p[1] <= '9'))
                return -EINVAL;
        for (; *p >= '0' && *p <= '9'; p++)
                if (__builtin_mul_overflow(v, 10u, &v) ||
                    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
                        return -ERANGE;
        *s = p;
        *ret = v;
        return 0;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
        uint64_t v;
        int r = take_number(&s, &v);
        if (r < 0)
                return r;
        if (*s)
                return -EINVAL;
        if (v < min || v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

int parse_u32(const char *s, uint32_t min, uint32_t max, uint32_t *ret)
{
        uint64_t v;
        int r = parse_u64(s, min, max, &v);
        if (r < 0)
                return r;
        *ret = (uint32_t)v;
        return 0;
}

int parse_bool(const char *s, bool *ret)
{
        static const char *const words[][2] = {
                { "no", "yes" }, { "false", "true" }, { "off", "on" }, { "0", "1" }
        };
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                for (size_t v = 0; v < 2; v++)
                        if (strcasecmp(s, words[i][v]) == 0) {
                                *ret = v == 1;
                                return 0;
                        }
        return -EINVAL;
}

typedef struct Unit {
        const char *name;
        uint64_t factor;
} Unit;

/* The unit is all letters from `*s` on; none counts as `bare`. */
static int take_unit(const char **s, const Unit *units, size_t n, uint64_t bare, uint64_t *ret)
{
        size_t len = strspn(*s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (len == 0) {
                *ret = bare;
                return 0;
        }
        for (size_t i = 0; i < n; i++)
                if (strlen(units[i].name) == len && strncmp(*s, units[i].name, len) == 0) {
                        *s += len;
                        *ret = units[i].factor;
                        return 0;
                }
        return -EINVAL;
}

int parse_usec(const char *s, usec_t *ret)
{
        static const Unit units[] = {
                { "us", 1 },
                { "ms", USEC_PER_MSEC },
                { "s", USEC_PER_SEC },
                { "sec", USEC_PER_SEC },
                { "m", USEC_PER_MIN },
                { "min", USEC_PER_MIN },
                { "h", USEC_PER_HOUR },
                { "d", USEC_PER_DAY },
                { "w", 7 * USEC_PER_DAY },
        };
        usec_t sum = 0;
        do {
                uint64_t v, factor;
                int r = take_number(&s, &v);
                if (r < 0)
                        return r;
                if (take_unit(&s, units, ELEMENTSOF(units), USEC_PER_SEC, &factor) < 0)
                        return -EINVAL;
                /* Infinity is not a value that can be written, nor summed up to. */
                if (__builtin_mul_overflow(v, factor, &v) || __builtin_add_overflow(sum, v, &sum) ||
                    sum == USEC_INFINITY)
                        return -ERANGE;
                s += strspn(s, " ");
        } while (*s);
        *ret = sum;
        return 0;
}

int parse_size(const char *s, uint64_t *ret)
{
        static const Unit units[] = {
                { "K", UINT64_C(1) << 10 },
                { "M", UINT64_C(1) << 20 },
                { "G", UINT64_C(1) << 30 },
                { "T", UINT64_C(1) << 40 },
        };
        uint64_t v, factor;
        int r = take_number(&s, &v);
        if (r < 0)
                return r;
        if (take_unit(&s, units, ELEMENTSOF(units), 1, &factor) < 0 || *s)
                return -EINVAL;
        if (__builtin_mul_overflow(v, factor, &v))
                return -ERANGE;
        *ret = v;
        return 0;
}
