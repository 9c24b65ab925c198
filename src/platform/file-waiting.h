/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* file_write_atomic() for code on a fiber: a thread waits for the disk, and the loop goes on. */

#include "base/bytes.h"
#include "platform/loop.h"

/* On a fiber it yields to `loop` until the file is on disk; elsewhere it blocks. As
 * file_write_atomic(), or -EAGAIN when there is no thread to be had. */
int file_write_waiting(Loop *loop, const char *path, Bytes content, mode_t mode);
