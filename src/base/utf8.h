/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* UTF-8, one code point at a time (RFC 3629). */

#include "base/bytes.h"

/* The length of the code point at the start of `s`, in bytes; 0 when there is no well-formed one
 * (end of `s`, overlong form, surrogate, beyond U+10FFFF). */
size_t utf8_next(Bytes s, uint32_t *ret);
