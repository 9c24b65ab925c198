/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/user-file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>

#define USER_MAX ((size_t)512)

static int check_owner(int fd, const char *path, Reason *reason)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return reason_set(reason, -errno, "Cannot read %s: %s", path, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return reason_set(reason, -EBADMSG, "%s is no file", path);
        if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 077) != 0)
                return reason_set(reason, -EPERM,
                                  "%s is open to others: it has to be root's, with mode 0600",
                                  path);
        return 0;
}

static bool line_valid(const char *line)
{
        for (const char *c = line; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        return false;
        const char *colon = strchr(line, ':');
        return colon && colon > line && colon[1];
}

int user_file_read(const char *path, char **ret, Reason *reason)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return reason_set(reason, -errno, "Cannot read %s: %s", path, strerror(errno));
        int r = check_owner(fd, path, reason);
        if (r < 0)
                return r;
        _cleanup_(user_file_freep) char *line = calloc(1, USER_MAX + 1);
        if (!line)
                return reason_set(reason, -ENOMEM, "Out of memory");
        ssize_t n = read(fd, line, USER_MAX);
        if (n < 0)
                return reason_set(reason, -errno, "Cannot read %s: %s", path, strerror(errno));
        size_t len = strlen(line);
        if (len > 0 && line[len - 1] == '\n')
                line[--len] = '\0';
        if ((size_t)n == USER_MAX || (size_t)n > len + 1 || !line_valid(line))
                return reason_set(reason, -EBADMSG, "%s does not hold one line NAME:PASSWORD",
                                  path);
        *ret = TAKE_PTR(line);
        return 0;
}

char *user_file_free(char *user)
{
        if (user)
                OPENSSL_cleanse(user, strlen(user));
        free(user);
        return NULL;
}
