/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Trouble between the enforcer and the kernel, from netlink's socket on. */

#include <stdbool.h>
#include <stdint.h>

void fault_none(void);
/* What adds an element with `address` to `set` is spoilt on its way: the kernel refuses the batch.
 */
void fault_refuse(const char *set, const uint8_t address[static 4]);
/* The next `n` batches fail with `error`: they are not sent, or, if `lose`, reading their answers
 * does. */
void fault_batches(bool lose, int error, uint32_t n);
void fault_interrupt(void);
