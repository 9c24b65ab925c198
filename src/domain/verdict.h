/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What an appraisal found, as AR4SI writes it, and why, for a person. The worst finding wins. */

#include "domain/device.h"
#include "domain/registry.h"
#include "proto/ear.h"

typedef struct Verdict {
        Ar4siVector vector;
        Ar4siTier tier;
        char reason[REASON_MAX]; /* one line of UTF-8 without control characters */
        bool foreign;   /* the report says it is of another identity than the enrolled one: alarm */
        bool authentic; /* the signature holds under the enrolled key */
} Verdict;

/* Notes a finding. A claim keeps its worst value, the verdict its worst tier; `format` is the
 * reason when this one is worse than all before. */
void verdict_claim(Verdict *v, Ar4siClaim claim, int8_t value, const char *format, ...)
        _printf_(4, 5);

/* A report of which nothing can be believed: every claim 99, as verifiers do for bad cryptography
 * and for staleness. `reason` is cut to fit. */
void verdict_reject(Verdict *v, const char *reason);

/* Sets "`preface`: " before the reason, which is cut to fit. */
void verdict_preface(Verdict *v, const char *preface);

/* A tier of "none" is no reason to trust: unattested. */
Posture verdict_posture(const Verdict *v);
