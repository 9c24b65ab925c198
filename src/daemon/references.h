/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* From the paths in the configuration to a set of reference values. */

#include "domain/reference.h"

/* Each path is a file, or a directory of which every *.cbor is taken in order of name. An unsigned
 * file is trusted for its permissions: it and its directory must belong to root or to this daemon's
 * user and be writable for nobody else. Blocks: at start and on reload. 0, or a negative errno that
 * was logged with the file and what is wrong. */
int references_load(const char *const *paths, size_t n, ReferenceSet **ret);
