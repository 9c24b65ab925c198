/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the vector tests share: files and keys from the folders beside this one. */

#include "unit/unit.h"

#include "base/bytes.h"
#include "base/util.h"
#include "platform/crypto.h"

typedef struct File {
        uint8_t *data;
        size_t len;
} File;

/* Fails the test when the file is not there. */
File file_load(const char *path);
void file_done(File *f);
#define _cleanup_file_ _cleanup_(file_done)
static inline Bytes file_bytes(const File *f)
{
        return BYTES(f->data, f->len);
}

PublicKey *key_load(const char *path);
/* An EC point or an Ed25519 key as a SubjectPublicKeyInfo. `curve`: "P-256", "P-384", "P-521",
 * "Ed25519". */
PublicKey *key_from_point(const char *curve, Bytes x, Bytes y);
/* CoseVerify over a PublicKey. */
int verify_with_key(const void *key, int alg, Bytes message, Bytes signature, void *userdata);
int sha256(Bytes data, uint8_t *ret);
