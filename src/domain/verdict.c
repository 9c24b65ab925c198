/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/verdict.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"

/* AR4SI: "no claim in this report can be believed". */
#define CRYPTO_VALIDATION_FAILED 99

/* A cut in the middle of a character would leave text that is not UTF-8. */
static void cut_character(char *s)
{
        size_t len = strlen(s);
        while (len > 0 && !utf8_valid(BYTES(s, len)))
                s[--len] = '\0';
}

void verdict_claim(Verdict *v, Ar4siClaim claim, int8_t value, const char *format, ...)
{
        va_list ap;
        int8_t *current = &v->vector.claims[claim];
        Ar4siTier tier = ar4si_claim_tier(value), had = ar4si_claim_tier(*current);

        if (tier > had || (tier == had && value > *current))
                *current = value;
        if (tier <= v->tier)
                return;
        v->tier = tier;
        va_start(ap, format);
        vsnprintf(v->reason, sizeof(v->reason), format, ap);
        va_end(ap);
        cut_character(v->reason);
}

void verdict_reject(Verdict *v, const char *reason)
{
        for (Ar4siClaim c = 0; c < _AR4SI_CLAIM_MAX; c++)
                v->vector.claims[c] = CRYPTO_VALIDATION_FAILED;
        v->tier = AR4SI_CONTRAINDICATED;
        snprintf(v->reason, sizeof(v->reason), "%s", reason);
        cut_character(v->reason);
}

void verdict_preface(Verdict *v, const char *preface)
{
        char reason[REASON_MAX];
        memcpy(reason, v->reason, sizeof(reason));
        snprintf(v->reason, sizeof(v->reason), "%s: %.*s", preface,
                 (int)(sizeof(reason) - strlen(preface) - 3), reason);
        cut_character(v->reason);
}

Posture verdict_posture(const Verdict *v)
{
        switch (v->tier) {
        case AR4SI_NONE:
                return POSTURE_UNATTESTED;
        case AR4SI_AFFIRMING:
                return POSTURE_AFFIRMING;
        case AR4SI_WARNING:
                return POSTURE_WARNING;
        case AR4SI_CONTRAINDICATED:
                return POSTURE_CONTRAINDICATED;
        }
        return POSTURE_CONTRAINDICATED;
}
