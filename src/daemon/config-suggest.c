/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <strings.h>

#include "base/str.h"
#include "daemon/config-load.h"

#define WORD_MAX 32

/* Levenshtein's distance without regard to case; WORD_MAX for what is too long to be meant. */
static size_t distance(const char *a, const char *b)
{
        size_t row[WORD_MAX + 1], n = strlen(b);
        if (strlen(a) > WORD_MAX || n > WORD_MAX)
                return WORD_MAX;
        for (size_t j = 0; j <= n; j++)
                row[j] = j;
        for (; *a; a++) {
                size_t corner = row[0]++;
                for (size_t j = 1; j <= n; j++) {
                        size_t replace = corner + (strncasecmp(a, &b[j - 1], 1) != 0);
                        corner = row[j];
                        row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
                }
        }
        return row[n];
}

const char *config_suggest(const char *word, const char *const *names, size_t n)
{
        const char *best = NULL;
        size_t least = 1 + strlen(word) / 3; /* as many slips as one may make in it */
        for (size_t i = 0; i < n; i++) {
                size_t d = distance(word, names[i]);
                if (d <= least && (!best || d < least)) {
                        best = names[i];
                        least = d;
                }
        }
        return best;
}
