/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Whole files, bounded, and replaced in one step. Blocks: at start, in the CLI, on small files. */

#include <sys/types.h>

#include "base/bytes.h"
#include "base/util.h"

/* Reads a regular file (or a pipe) of at most `max` bytes. A NUL follows the content and is not
 * counted. The errno of the file, -EFBIG when there is more, -ENOMEM. */
int file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_len);
/* Replaces `path`: after a crash there is the old content or the new one, never a part. Writes a
 * temporary file next to it, which it removes on failure. */
int file_write_atomic(const char *path, Bytes content, mode_t mode);
