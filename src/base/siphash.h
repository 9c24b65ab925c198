/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed 64-bit hash for tables that peers fill. */

#include "base/bytes.h"

#define SIPHASH_KEY_SIZE 16

uint64_t siphash24(Bytes in, const uint8_t key[static SIPHASH_KEY_SIZE]);
