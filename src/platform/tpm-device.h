/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A TPM's character device as a socket that can be polled. The kernel's cannot: while a command
 * runs, its poll() and read() wait for the lock that the command holds (tpm_common_poll() in
 * drivers/char/tpm/tpm-dev-common.c), and a read() before the command has begun says that there is
 * nothing. So a thread waits for it. */

/* Opens the device. `ret` is one end of a stream socket, for commands and answers as on the
 * device; it does not block. Closing it ends the thread, once the device has answered what it was
 * asked. The device's errors are logged and close the other end. Negative errno of open() or of
 * the thread; -EBUSY: the device answers none of those who opened it before and have closed. Called
 * from one thread. */
int tpm_device_open(const char *path, int *ret);
