/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A name and password in a file of its owner's alone: one line, NAME:PASSWORD. */

#include "platform/reason.h"

/* `ret` is wiped by user_file_free(). -EPERM: others may read or write the file, or it is neither
 * root's nor ours; -EBADMSG: it holds something else; the errno of the file. */
int user_file_read(const char *path, char **ret, Reason *reason);
char *user_file_free(char *user);
DEFINE_CLEANUP(char, user_file_free)
