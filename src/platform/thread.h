/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A thread that nobody waits for, with all signals blocked: they are the loop's. 0, or a negative
 * errno (-EAGAIN). */
int thread_start(void *(*function)(void *), void *data);
