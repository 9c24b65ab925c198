/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What only a person may answer. Blocks until he does: for the CLI alone, never for the loop. */

#include <stddef.h>

/* Asks for one line on the terminal that controls this process (/dev/tty), without echo. Standard
 * input and output are left alone: they may be a pipe. A signal that ends the process finds the
 * terminal as it was. `ret` holds the line without its newline, and a NUL; who calls wipes it.
 * -ENOTTY without a terminal, -ECANCELED when the answer is an end of file, -EMSGSIZE for a line
 * of `size` or more. */
int terminal_ask_secret(const char *question, char *ret, size_t size);
