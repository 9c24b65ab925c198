/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What is on the disk cannot be replaced by an older copy without notice: a small file says how far
 * each thing that only grows has come (its marks), dated by a counter in the TPM that goes up each
 * time the file is written, and authenticated by a key that only this TPM gives in an allowed
 * state.
 *
 * The counter is incremented after the file is on disk: what a crash leaves in between is a file
 * that is ahead by one, and that is accepted. A copy of everything that is as new as the last write
 * is not told from the original. A TPM's memory bears some hundred thousand writes: write seldom.
 */

#include "platform/identity.h"

#define ANCHOR_MARKS_MAX 8
#define ANCHOR_NAME_MAX  31

typedef struct AnchorMark {
        char name[ANCHOR_NAME_MAX + 1]; /* letters, digits and '-' */
        uint64_t value;
} AnchorMark;

typedef struct AnchorMarks {
        AnchorMark marks[ANCHOR_MARKS_MAX];
        size_t n;
} AnchorMarks;

typedef enum AnchorState {
        ANCHOR_NEW,     /* nothing was written since the identity was made */
        ANCHOR_CURRENT, /* this is what was written last */
        ANCHOR_MISSING, /* something was written, and the file is gone */
        ANCHOR_OLDER,   /* a genuine copy of earlier */
        ANCHOR_FORGED,  /* damaged, not to be read, or not by this gateway */
        _ANCHOR_STATE_MAX,
} AnchorState;
const char *anchor_state_to_string(AnchorState s);

/* -EEXIST for a name that is there, -ENOSPC, -EINVAL for a name. */
int anchor_mark(AnchorMarks *m, const char *name, uint64_t value);
const AnchorMark *anchor_find(const AnchorMarks *m, const char *name);

typedef struct Anchor Anchor;

/* Fetches the key from the TPM. Errors as of identity_sign(). `id` outlives it. On a fiber all of
 * this yields to `loop` while it waits for TPM or disk; elsewhere it blocks. */
int anchor_new(Identity *id, Loop *loop, const char *path, Anchor **ret, Reason *reason);
Anchor *anchor_free(Anchor *a);
DEFINE_CLEANUP(Anchor, anchor_free)

/* `ret` is empty unless the state is ANCHOR_CURRENT or ANCHOR_OLDER. An error is one of the TPM, or
 * that memory or descriptors are short: not one of the file. */
int anchor_read(Anchor *a, AnchorState *ret_state, AnchorMarks *ret, Reason *reason);
/* Replaces the file, then increments. */
int anchor_write(Anchor *a, const AnchorMarks *m, Reason *reason);
