/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The reference values in force: an immutable set of CoRIM files. A new set is loaded whole or not
 * at all; who appraises holds a reference to the set it began with. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "proto/corim.h"

typedef struct ReferenceFile {
        const char *name; /* for messages */
        Bytes content;
} ReferenceFile;

typedef struct ReferenceSet ReferenceSet;

#define REFERENCE_ERROR_MAX 256

/* Reads `n` files. `trust` says who may sign them (see corim_read()); `sha256` returns 0 or a
 * negative errno. 0; -EBADMSG with the file and what is wrong with it in `error`; -ENOMEM, -EIO.
 * `now` is CLOCK_REALTIME: a signed file outside its validity is refused. */
int reference_set_load(const ReferenceFile *files, size_t n, const CorimTrust *trust,
                       int (*sha256)(Bytes data, uint8_t *ret), usec_t now, ReferenceSet **ret,
                       char error[static REFERENCE_ERROR_MAX]);
ReferenceSet *reference_set_ref(ReferenceSet *s);
ReferenceSet *reference_set_unref(ReferenceSet *s);
DEFINE_CLEANUP(ReferenceSet, reference_set_unref)

/* Names this very set: "ni:///sha-256;…" over all of its files in order (RFC 6920). */
const char *reference_set_id(const ReferenceSet *s);
/* For the log: reference and key triples taken, parts of the files that were skipped because this
 * program does not know them. */
size_t reference_set_references(const ReferenceSet *s);
size_t reference_set_keys(const ReferenceSet *s);
size_t reference_set_skipped(const ReferenceSet *s);

/* The references of an implementation id (32 bytes) that are in validity at `now`, one a call:
 * start with `*i` = 0; NULL at the end. */
const CorimReference *reference_set_next(const ReferenceSet *s, Bytes implementation_id, usec_t now,
                                         size_t *i);
/* DER SubjectPublicKeyInfo enrolled for an instance id by a CoRIM attest-key triple; empty when
 * there is none, or two that differ. Holds as long as the set. */
Bytes reference_set_attest_key(const ReferenceSet *s, Bytes instance_id, usec_t now);
