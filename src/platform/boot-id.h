/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Which boot of this host this is: a random number of the kernel's. */

#include <stdint.h>

#define BOOT_ID_SIZE 16

/* Zeroes, with a warning, when the kernel does not tell. */
void boot_id_read(uint8_t ret[static BOOT_ID_SIZE]);
